"""The container image: `bentoml containerize`, with whatever builder is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys

from core.errors import StartError

BACKENDS = ("docker", "podman", "buildah")
"""Builders in the order in which they are tried; `bentoml containerize` knows more."""


def build_image(bento: str, image: str, backend: str | None = None) -> str:
    """Build the image of a Bento; return a line with its name and size.

    Raises StartError if there is no builder, and CalledProcessError if it fails, having printed the reason.
    """
    found = backend_of(backend)
    command = [sys.executable, "-m", "bentoml", "containerize", bento, "--backend", found, "--image-tag", image]
    subprocess.run(command, check=True)
    return f"{image} is with {found}; {_size(image, found)}"


def backend_of(wanted: str | None) -> str:
    """Return the program that builds and stores images: the one wanted, or the first that works here."""
    found = wanted or next((name for name in BACKENDS if shutil.which(name) and _works(name)), None)
    if found is None:
        raise StartError(f"none of {', '.join(BACKENDS)} works here; images are built with one of them")
    return found


def _works(backend: str) -> bool:
    """Whether a builder works: Docker's client may be installed without its daemon."""
    return subprocess.run([backend, "info"], capture_output=True, check=False).returncode == 0


def _size(image: str, backend: str) -> str:
    # From the list of images, since Buildah shows sizes nowhere else.
    listing = [backend, "images", "--format", "{{.Size}}", image]
    return subprocess.run(listing, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().split("\n")[0]
