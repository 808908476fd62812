"""A real `bentoml serve` for tests, and how to talk to it."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import httpx
import psutil
import yaml
from PIL import Image

from tests.support.servers.forked import ServerProcess, forked_server
from tests.support.web import WEB
from tests.tiny.conditions import tiny_ip_adapter
from tests.tiny.controlnets import tiny_controlnets
from tests.tiny.images.stable_diffusion import tiny_stable_diffusion, tiny_stable_diffusion_xl
from tests.tiny.videos.wan import tiny_wan_ti2v

ROOT = Path(__file__).parents[3]
START_TIMEOUT_S = 300.0
"""Generous: four processes import torch, maybe on a busy machine."""
MAX_UPLOAD_BYTES = 2**20
SIZE_PX = 64
CATALOGUE = "catalogue.yaml"
STORAGE = "storage"
"""The server's storage folder, beside its catalogue."""
FRESH = True
"""Of a server that imports its libraries itself, and is no fork of a process that has."""

DEFAULTS = {
    "width": SIZE_PX,
    "height": SIZE_PX,
    "num_inference_steps": 4,
    "guidance_scale": 3.0,
    "strength": 0.75,
    "scheduler": "ddim",
}
LIMITS = {
    "min_px": 32,
    "max_px": 128,
    "max_pixels": 128 * 64,
    "multiple_px": 16,
    "max_steps": 900,
    "guidance_scale": [0.0, 20.0],
}
ENTRY_FIELDS = {
    "title": "Random weights",
    "dtype": "float32",
    "licence": "none",
    "defaults": DEFAULTS,
    "limits": LIMITS,
    "memory_gib": 0.1,
    "batch_tokens": 1024,
    "preview": {"weight": [[0.25, 0.25, 0.25]] * 4},
}
EDITING_ENTRY = {
    **ENTRY_FIELDS,
    "family": "flux2-klein",
    "source": {"path": "klein"},
    "tasks": {"edit": None},
    "defaults": {**DEFAULTS, "scheduler": "flow_euler"},
    "limits": {**LIMITS, "max_images": 4},
}
"""A model that edits several images and does nothing else."""
VIDEO_ENTRY = {
    **ENTRY_FIELDS,
    "family": "wan-ti2v",
    "source": {"path": "wan"},
    "defaults": {**DEFAULTS, "scheduler": "unipc", "num_frames": 5, "fps": 8},
    "limits": {**LIMITS, "multiple_px": 32, "max_frames": 17},
    "preview": {"weight": [[0.02, 0.02, 0.02]] * 48},
}


ANIMATE_ENTRY = {
    **ENTRY_FIELDS,
    "family": "wan-animate",
    "source": {"path": "animate"},
    "defaults": {**DEFAULTS, "scheduler": "unipc", "num_inference_steps": 2, "guidance_scale": 1.0, "num_frames": 5},
    "limits": {**LIMITS, "max_frames": 17},
    "preview": {"weight": [[0.02, 0.02, 0.02]] * 16},
}
"""A model that moves a figure as videos say."""


def write_tiny_catalogue(folder: Path) -> Path:
    """Write a catalogue of `tiny`, `tiny-xl` and `tiny-video`, with their checkpoints; return its file."""
    sd = tiny_stable_diffusion(folder / "sd")
    controlnets = {kind: net.model_dump(mode="json") for kind, net in tiny_controlnets(sd, folder).items()}
    tiny_stable_diffusion_xl(folder / "sdxl")
    tiny_wan_ti2v(folder / "wan")
    (folder / "words.json").write_text(json.dumps({"words": ["a", "red", "apple", "on", "blue"]}))
    entries = {
        "tiny": {
            **ENTRY_FIELDS,
            "family": "stable-diffusion",
            "source": {"path": "sd"},
            "vocabulary": "words.json",
            "controlnets": controlnets,
            "ip_adapter": tiny_ip_adapter(sd, folder).model_dump(mode="json"),
        },
        "tiny-xl": {**ENTRY_FIELDS, "family": "stable-diffusion-xl", "source": {"path": "sdxl"}},
        "tiny-video": {
            **ENTRY_FIELDS,
            "family": "wan-ti2v",
            "source": {"path": "wan"},
            "defaults": {**DEFAULTS, "scheduler": "unipc", "num_frames": 5, "fps": 8},
            "limits": {**LIMITS, "multiple_px": 32, "max_frames": 17},
            "preview": {"weight": [[0.02, 0.02, 0.02]] * 48},
        },
    }
    file = folder / CATALOGUE
    file.write_text(yaml.safe_dump(entries))
    return file


@contextmanager
def serving(catalogue: Path, log: Path, fresh: bool = False, /, **settings: str) -> Iterator[str]:
    """Run the Bento until the block ends; yields its address once `/readyz` says yes.

    `settings` in small letters get the prefix; variables of a contract's document are written as they are.
    """
    port = free_port()
    named = {name if name.isupper() else f"JUBAKO_{name.upper()}": value for name, value in settings.items()}
    environment = serving_environment(catalogue, port) | named
    server = start_server(["serve", "service:Jubako", "--port", str(port)], environment, log, fresh)
    try:
        _wait_until_ready(server, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def start_server(
    arguments: Sequence[str], environment: Mapping[str, str], log: Path, fresh: bool, namespace: str | None = None
) -> ServerProcess:
    """Start `bentoml`, with its output added to `log`; a fork may be on the network of a namespace."""
    if not fresh:
        return forked_server(arguments, environment, ROOT, log, namespace=namespace)
    with log.open("ab") as output:
        command = [sys.executable, "-m", "bentoml", *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)


def serving_environment(catalogue: Path, port: int = 0) -> dict[str, str]:
    """Return the environment of a server of the tiny models, apart from what this process was told."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("JUBAKO_")},
        "JUBAKO_ENV_FILE": os.devnull,
        "JUBAKO_CATALOGUE": str(catalogue),
        "JUBAKO_MODELS": "tiny,tiny-xl,tiny-video",
        "JUBAKO_DEVICE": "cpu",
        "JUBAKO_MAX_UPLOAD_BYTES": str(MAX_UPLOAD_BYTES),
        "JUBAKO_MAX_IMAGE_PX": str(512 * 512),
        "JUBAKO_STORAGE": str(catalogue.parent / STORAGE),
        # Servers do not share such a file; a replica that starts again has the port that it had.
        "JUBAKO_JOBS_FILE": str(catalogue.parent / f"jobs-{port}.sqlite"),
        "BENTOML_DO_NOT_TRACK": "True",
        # A server that starts empties the folder of metrics in this home, also when others are using it.
        "BENTOML_HOME": str(catalogue.parent / f"bentoml-{port}"),
        # Threads that wait for each other make tiny tensors slow on a machine that is not idle.
        "OMP_NUM_THREADS": "1",
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _wait_until_ready(server: ServerProcess, url: str, log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and server.poll() is None:
        try:
            if WEB.get(f"{url}/readyz", timeout=10).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError("the server did not start:\n" + log.read_text()[-5000:])


def wait_for(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    """Return as soon as a condition holds; fail when it does not in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a process do nothing, and answer nobody, until the block ends."""
    process = psutil.Process(pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def cancelled(url: str) -> float:
    """Return how many requests the engines of a server have given up, since nobody waited for them any more."""
    lines = WEB.get(f"{url}/metrics").text.splitlines()
    ended = [line for line in lines if line.startswith("jubako_requests_total{") and 'outcome="cancelled"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in ended)


@dataclass(frozen=True)
class ServerEvent:
    name: str
    data: dict[str, Any]

    @property
    def picture(self) -> Image.Image:
        return Image.open(BytesIO(base64.b64decode(self.data["image"])))


def parse_events(chunks: Iterable[str]) -> list[ServerEvent]:
    """Read server-sent events, however the text was cut; comments are none."""
    events = []
    for block in "".join(chunks).split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        events.append(ServerEvent(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def decoded(video: bytes) -> list[Image.Image]:
    """Return the frames of a video file."""
    with av.open(BytesIO(video), "r") as container:
        return [Image.fromarray(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def photo(width: int = SIZE_PX, height: int = SIZE_PX) -> Image.Image:
    """A picture without two equal quarters."""
    ramp = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (ramp, ramp.rotate(180), ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))


def half_mask(width: int = SIZE_PX, height: int = SIZE_PX) -> Image.Image:
    """Repaint the right half."""
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (width // 2, 0, width, height))
    return mask
