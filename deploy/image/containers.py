"""The container image: `bentoml containerize`, with whatever builder there is."""

from __future__ import annotations

import shutil
import subprocess
import sys

from core.errors import StartError

BACKENDS = ("docker", "podman", "buildah")
"""In the order in which they are looked for; `bentoml containerize` knows more."""


def build_image(bento: str, image: str, backend: str | None = None) -> str:
    """Build the image of a Bento; return a line with its name and size.

    Raises StartError where there is no builder, and CalledProcessError where it fails and has printed the reason.
    """
    found = backend_of(backend)
    command = [sys.executable, "-m", "bentoml", "containerize", bento, "--backend", found, "--image-tag", image]
    subprocess.run(command, check=True)
    return f"{image} is with {found}; {_size(image, found)}"


def backend_of(wanted: str | None) -> str:
    """Return the program that has or builds images: the one that is wanted, or the first that works here."""
    found = wanted or next((name for name in BACKENDS if shutil.which(name) and _works(name)), None)
    if found is None:
        raise StartError(f"none of {', '.join(BACKENDS)} works here; images are built with one of them")
    return found


def _works(backend: str) -> bool:
    """Docker's client may be there without its daemon."""
    return subprocess.run([backend, "info"], capture_output=True, check=False).returncode == 0


def _size(image: str, backend: str) -> str:
    # Docker and Podman know what an image takes unpacked; Buildah has no other place for it than its list.
    listing = [backend, "images", "--format", "{{.Size}}", image]
    return subprocess.run(listing, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().split("\n")[0]
