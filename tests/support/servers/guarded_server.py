"""All contracts behind what stands in front of them, in this process, with models that never finish: what is refused,
charged, waited for and kept can be seen without weights, torch and processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import yaml
from _bentoml_impl.server.mount import PassiveMount as Mount  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.types import ASGIApp

from access.keys import Keyring, hash_of
from access.rates import RateLimiter
from api.contracts import CONTRACTS
from api.http import context
from api.jobs.assembly import make_desk
from api.mcp.app import endpoint
from api.middleware.paths import UnderPrefix
from api.middleware.stack import entrance, middleware_stack
from core.generation.events import Event
from core.generation.request import GenerationRequest, Task
from gateway.assembly import assemble
from gateway.safety.blocked_words import read_blocked_words
from gateway.safety.content_policy import ContentPolicy
from jobs.desk.desk import JobDesk
from jobs.job import Job, StoredResult
from models.catalogue.serving.served_models import served_catalogue
from processes.drain import Drain
from runners.state import ModelState, RunnerState
from settings import settings
from storage.client import Storage, open_storage
from storage.file_keys import result_key
from storyboard.job_kind import STORYBOARD
from storyboard.maker import Maker
from storyboard.planning.choice import planner_for
from storyboard.scoring.scorers import Scorers
from tests.support.servers.serving import ANIMATE_ENTRY, EDITING_ENTRY, ENTRY_FIELDS, VIDEO_ENTRY

NAMES = ("alice", "bob", "carol", "dave", "boss", "nobody")
ALICE, BOB, CAROL, DAVE, BOSS, WRONG = (f"jbk_{name}-0123456789abcdef" for name in NAMES)
"""Bob may ask once a minute; dave for so little that every request of his is too much, which its refusal says."""
BLOCKED = "xylophone"
MAX_UPLOAD_BYTES = 2**20
ENTRIES = {
    "tiny": {
        **ENTRY_FIELDS,
        "family": "stable-diffusion",
        "source": {"path": "sd"},
        "controlnets": {"canny": {"source": {"path": "canny"}}},
    },
    "tiny-edit": EDITING_ENTRY,
    "tiny-video": VIDEO_ENTRY,
    "tiny-animate": ANIMATE_ENTRY,
}

RECORDED = {
    "model": "tiny",
    "prompt": "a red apple",
    "seed": 7,
    "width": 64,
    "height": 64,
    "num_inference_steps": 2,
    "guidance_scale": 3.0,
    "scheduler": "ddim",
}
RECORDED_VIDEO = {"model": "tiny-video", "scheduler": "unipc", "num_frames": 5, "fps": 8}
"""Of requests as records have them."""


class Endless:
    """A runner whose model is ready, and never done."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        await asyncio.Event().wait()
        yield cast(Any, request)

    async def state(self) -> RunnerState:
        return RunnerState(model="any", state=ModelState.READY)


@dataclass(frozen=True)
class GuardedServer:
    app: ASGIApp
    drain: Drain
    desk: JobDesk
    storage: Storage

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://here", headers=headers)

    async def done(
        self,
        task: Task = Task.TEXT_TO_IMAGE,
        *files: bytes,
        owner: str = "alice",
        media_type: str = "image/png",
        **fields: Any,
    ) -> str:
        """Put a job on record that has ended with these files; return its id."""
        request = {**RECORDED, **(RECORDED_VIDEO if task.is_video else {}), "task": task, **fields}
        whole = GenerationRequest.model_validate(request).model_dump(mode="json", exclude={"image", "mask", "images"})
        return await self._kept(Job(request=whole, output_format="png", owner=owner), files, media_type)

    async def story(self) -> str:
        """Put a story of alice's on record that has ended; return its id."""
        request = {"model": "tiny", "prompt": "a story of a red apple"}
        return await self._kept(Job(kind=STORYBOARD, request=request, output_format="png", owner="alice"), (), "")

    async def _kept(self, job: Job, files: tuple[bytes, ...], media_type: str) -> str:
        keys = [result_key(job.id, job.created_at, media_type, index) for index in range(len(files))]
        for key, file in zip(keys, files, strict=True):
            await self.storage.put(key, file, media_type)
        results = tuple(StoredResult(key=key, media_type=media_type, seed=7) for key in keys)
        return (await self.desk._ledger.add(job.completed(results))).id


@asynccontextmanager
async def guarded_server(folder: Path) -> AsyncIterator[GuardedServer]:
    """Let the contracts' applications find a service of this process until the block ends."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in _environment(folder).items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        chosen = settings()
        keyring, limiter, drain, storage = Keyring.of(chosen), RateLimiter(None), Drain(10.0), open_storage(chosen)
        catalogue = served_catalogue(chosen)
        runners = {model: cast(Any, Endless()) for model in catalogue.entries}
        policy = ContentPolicy(read_blocked_words(chosen.blocked_words))
        gateway = assemble(chosen, catalogue, runners, limiter, policy)
        maker = Maker(gateway, planner_for(chosen), Scorers(chosen, cast(Any, None)), chosen)
        desk = make_desk(chosen, maker, storage, keyring)
        service = SimpleNamespace(gateway=gateway, desk=desk, storage=storage, maker=maker)
        monkeypatch.setattr(context, "get_current_service", lambda: service)
        app: Any = UnderPrefix(Starlette(routes=[Mount(path, each) for each, path in CONTRACTS.mounts]), CONTRACTS)
        in_front = (*entrance(chosen, CONTRACTS), *middleware_stack(chosen, keyring, limiter, CONTRACTS, drain))
        for middleware, options in reversed(in_front):
            app = middleware(app, **options)
        await desk.open()
        try:
            yield GuardedServer(app, drain, desk, storage)
        finally:
            await desk.close()
            await endpoint.close()
            settings.cache_clear()


def _environment(folder: Path) -> dict[str, str]:
    (folder / "catalogue.yaml").write_text(yaml.safe_dump(ENTRIES))
    (folder / "words").write_text(f"{BLOCKED}\n")
    (folder / "keys.yaml").write_text(
        f"bob: {{hash: '{hash_of(BOB)}', requests_per_min: 1}}\n"
        f"dave: {{hash: '{hash_of(DAVE)}', megapixels_per_min: 0.01, steps_per_min: 1}}\n"
    )
    own = {
        "catalogue": folder / "catalogue.yaml",
        "models": ",".join(ENTRIES),
        "device": "cpu",
        "storage": folder / "storage",
        "jobs_file": folder / "jobs.sqlite",
        "api_keys": f"alice:{ALICE},carol:{CAROL}",
        "api_keys_file": folder / "keys.yaml",
        "admin_key": BOSS,
        "safety": "prompt",
        "blocked_words": folder / "words",
        "max_upload_bytes": MAX_UPLOAD_BYTES,
        "trusted_proxies": "*",
    }
    return {f"JUBAKO_{name.upper()}": str(value) for name, value in own.items()}
