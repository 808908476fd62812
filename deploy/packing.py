"""How the Bento is packed: one bentofile for CPU and CUDA images, selected by `bentoml build --arg variant=...`.

Both images are a slim Python with our locked dependencies, and nothing that could build or install more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, cast

from _bentoml_sdk.service.factory import Service
from bentoml.images import Image
from pydantic import BaseModel, ConfigDict, field_validator

if TYPE_CHECKING:
    from bentoml import Bento

BASE_IMAGE = "python:3.11.17-slim-trixie@sha256:45037981b62b34b44602584fccbc4d884d5f7dc92c7ee86bb38a698a79fe1e51"
"""Docker's official image, by the digest of its index.

`docker buildx imagetools inspect python:3.11-slim-trixie` prints the current digest.
"""
UV = "uv==0.13.9"
"""Used by BentoML to install packages; unpinned, it would be the latest release."""
DATA = "/data"
"""The home folder in the image (bentofile.yaml): weights, results and jobs, all below `~`, are in this one volume."""
BENTOML_FOLDERS = tuple(f"/home/bentoml/{name}" for name in ("bentos", "models", "envs", "tmp"))
"""BentoML creates them at its start if they are missing, which a read-only root filesystem does not allow."""
EXTRAS = {"upscale": "constraints-upscale.txt"}
"""Optional dependencies of images, with their locks, each complete together with constraints.txt."""


class BuildArguments(BaseModel):
    """The arguments of `bentoml build --arg NAME=VALUE`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: Literal["cpu", "cuda"] = "cuda"
    """PyPI's torch brings CUDA's libraries and also runs on CPUs; the CPU build is a tenth of its size."""
    base: str = BASE_IMAGE
    """An image with Python 3.11 and pip in /usr/local, like Docker's official ones."""
    extras: str = ""
    """Names of EXTRAS, separated by commas."""

    @property
    def extra_names(self) -> list[str]:
        return self.extras.replace(",", " ").split()

    @field_validator("extras")
    @classmethod
    def _known(cls, extras: str) -> str:
        if unknown := set(extras.replace(",", " ").split()) - EXTRAS.keys():
            raise ValueError(f"{min(unknown)} is not one of {', '.join(EXTRAS)}")
        return extras


def image_of(arguments: BuildArguments) -> Image:
    """Return the image that `bentoml containerize` builds."""
    # "none", since BentoML adds a compiler and git to the distributions it knows.
    image = Image(base_image=arguments.base, distro="none", python_version="3.11", lock_python_packages=False)
    # For deploy/image/setup.
    locks = [EXTRAS[extra] for extra in arguments.extra_names]
    image.build_include("constraints-ui.txt", *locks)
    image.commands += [
        f"printf '{_lines(locks)}' > /etc/jubako-extras",
        f"install --directory --owner bentoml --group bentoml {DATA} {' '.join(BENTOML_FOLDERS)}",
        f"command -v uv || pip install --no-cache-dir {UV}",
        # A site with a mirror provides its own file, in the base image or mounted during the build.
        f"mkdir -p /etc/uv && test -e /etc/uv/uv.toml || printf '{_uv_settings(arguments)}' > /etc/uv/uv.toml",
    ]
    return image


def _lines(names: Iterable[str]) -> str:
    """Return lines as printf writes them."""
    return "".join(name + "\\n" for name in names)


def _uv_settings(arguments: BuildArguments) -> str:
    """The lock does not name torch's build; the CPU build comes from PyTorch's own index, all else from PyPI."""
    return '[pip]\\ntorch-backend = "cpu"\\n' if arguments.variant == "cpu" else ""


def _on_load_bento(self: Service[Any], bento: Bento) -> None:
    for service in self.all_services().values():
        service.bento = bento


def allow_other_models() -> None:
    """Let a Bento be served with other models than those it was built with: the settings decide on the services.

    BentoML 1.4.39 looks up each service in the Bento, only to pin versions of hub models, which none of ours declares,
    and ends with StopIteration if it finds none.
    """
    cast(Any, Service).on_load_bento = _on_load_bento
