"""`generate_inpainting`: the environment decides where to generate, as the inpainting server's document says.

1. `TOKENOPT_RUNPOD_URL` is set: on that server, `POST /generate-inpainting`.
2. `TOKENOPT_ENABLE_GPU=1`: in this process, which must find Jubako itself on its path.
3. Otherwise, or with `TOKENOPT_USE_DUMMY_GENERATION=1` and no GPU enabled: dummy images.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import httpx

from ..files import ImageSource, read_image
from .dummy import dummy_images
from .outputs import outputs_folder, write_all

DEFAULT_TIMEOUT_S = "600"
InpaintingResult = Mapping[str, str]
"""One of the contract's `results`: filename, content_type, and data in base64."""


class GenerationError(Exception):
    """Nothing was generated; the message says why. `status` is that of the server's answer, if there was one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Way(Enum):
    REMOTE = "remote"
    LOCAL = "local"
    DUMMY = "dummy"


@dataclass(frozen=True)
class Generated:
    filename: str
    content_type: str
    data: bytes
    path: Path | None
    """Where the image was saved, if there is a job."""


def chosen_way(environment: Mapping[str, str] = os.environ) -> Way:
    """Return where images are generated."""
    if environment.get("TOKENOPT_RUNPOD_URL", "").strip():
        return Way.REMOTE
    return Way.LOCAL if environment.get("TOKENOPT_ENABLE_GPU", "").strip() == "1" else Way.DUMMY


def generate_inpainting(
    prompt: str,
    input_image: ImageSource,
    mask_image: ImageSource,
    num_generations: int = 1,
    *,
    job_id: int | str | None = None,
    jobs_root: str | None = None,
    **options: Any,
) -> list[Generated]:
    """Repaint the white part of the mask, and save the images if they belong to a job.

    With a `job_id` they are saved to `job_<id>/outputs` under `jobs_root`, by default the environment variable
    TTO_JOBS_ROOT_ABSOLUTE. `options` are the other fields of `POST /generate-inpainting`. Blocks.
    Raises GenerationError, and ValueError for a job without a root or with an impossible id.
    """
    folder = None if job_id is None else outputs_folder(_root(jobs_root), job_id)
    fields = {"prompt": prompt, "num_generations": num_generations, **options}
    fields = {name: value for name, value in fields.items() if value is not None}
    generate = {Way.REMOTE: _remote, Way.LOCAL: _local, Way.DUMMY: _dummy}[chosen_way()]
    results = generate(fields, read_image(input_image), read_image(mask_image))
    files = [(result["filename"], base64.b64decode(result["data"])) for result in results]
    paths = [None] * len(files) if folder is None else write_all(folder, files)
    return [
        Generated(Path(result["filename"]).name, result["content_type"], data, path)
        for result, (_, data), path in zip(results, files, paths)  # noqa: B905 - equal by construction
    ]


def _root(jobs_root: str | None) -> str:
    root = jobs_root or os.environ.get("TTO_JOBS_ROOT_ABSOLUTE")
    if not root:
        raise ValueError("job_id: needs jobs_root, or TTO_JOBS_ROOT_ABSOLUTE in the environment")
    return root


def _remote(fields: Mapping[str, Any], image: bytes, mask: bytes) -> list[InpaintingResult]:
    url = os.environ["TOKENOPT_RUNPOD_URL"].strip().rstrip("/")
    key = os.environ.get("TOKENOPT_API_KEY")
    try:
        response = httpx.post(
            f"{url}/generate-inpainting",
            data={name: str(value) for name, value in fields.items()},
            files={"input_image": ("original.png", image), "mask_image": ("mask.png", mask)},
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=float(os.environ.get("TOKENOPT_RUNPOD_TIMEOUT", DEFAULT_TIMEOUT_S)),
        )
    except httpx.HTTPError as error:
        raise GenerationError(f"{url} cannot be reached: {error or type(error).__name__}") from error
    if not response.is_success:
        raise GenerationError(f"{url} answers {response.status_code}: {response.text[:500]}", response.status_code)
    results: list[InpaintingResult] = response.json()["results"]
    return results


def _local(fields: Mapping[str, Any], image: bytes, mask: bytes) -> list[InpaintingResult]:
    try:
        from standalone.in_process import inpaint
    except ImportError as error:
        raise GenerationError(
            "TOKENOPT_ENABLE_GPU=1 generates in this process, which needs Jubako on its path (PYTHONPATH) and its "
            f"dependencies; {error}"
        ) from error
    try:
        return list(inpaint({**fields, "input_image": image, "mask_image": mask}))
    # The site gets every failure as one kind of error.
    except Exception as error:
        raise GenerationError(str(error)) from error


def _dummy(fields: Mapping[str, Any], image: bytes, mask: bytes) -> list[InpaintingResult]:
    files = dummy_images(fields["prompt"], image, mask, fields["num_generations"], fields.get("seed"))
    return [
        {
            "filename": f"generation_{number}.png",
            "content_type": "image/png",
            "data": base64.b64encode(file).decode(),
        }
        for number, file in enumerate(files, start=1)
    ]
