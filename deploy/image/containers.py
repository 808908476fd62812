"""The container image: `bentoml containerize`, with whatever builder there is."""

from __future__ import annotations

import shutil
import subprocess
import sys

from errors import StartError

BACKENDS = ("docker", "podman", "buildah")
"""In the order in which they are looked for; `bentoml containerize` knows more."""


def build_image(bento: str, image: str, backend: str | None = None) -> str:
    """Build the image of a Bento; say what it is called and how large it is.

    Raises StartError where there is no builder, and CalledProcessError where it fails; it has said why.
    """
    found = backend or next((name for name in BACKENDS if shutil.which(name)), None)
    if found is None:
        raise StartError(f"none of {', '.join(BACKENDS)} is installed; images are built with one of them")
    command = [sys.executable, "-m", "bentoml", "containerize", bento, "--backend", found, "--image-tag", image]
    subprocess.run(command, check=True)
    return f"{image} is with {found}; {_size(image, found)}"


def _size(image: str, backend: str) -> str:
    # Docker and Podman know what an image takes unpacked; Buildah has no other place for it than its list.
    listing = [backend, "images", "--format", "{{.Size}}", image]
    return subprocess.run(listing, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().split("\n")[0]
