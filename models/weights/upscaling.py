"""Super-resolution models: files of the architectures that `spandrel` knows, such as ESRGAN, SPAN, DAT and HAT."""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from core.errors import LoadFailed
from core.pixels.tiles import TILE_PX, TILES_A_PASS
from models.catalogue.pointing.model_cache import model_cache
from models.catalogue.pointing.pointers import pointer
from models.catalogue.sources import Source
from models.weights.describing.url_files import downloaded
from models.weights.devices import resolve_device
from models.weights.fetching.explanations import explained
from models.weights.fetching.fetch import local_path
from settings import settings

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

log = logging.getLogger("jubako.loading")

SAFETENSORS = ".safetensors"
TENSORS_ONLY = (".pth", ".pt", ".ckpt", ".bin")
"""Pickles, from which torch loads only tensors (`weights_only`); most of these models come in no other format."""
_TORCHVISION = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
_BORROWED = ("InterpolationMode", "normalize", "rotate")


def configured_upscaler(device: str) -> UpscalingModel:
    """Load the model of JUBAKO_UPSCALER, downloading it where needed. Blocks. Raises as `UpscalingModel.load` does."""
    chosen = settings()
    found = pointer(chosen.upscaler) if chosen.upscaler else None
    if found is None:
        raise LoadFailed("JUBAKO_UPSCALER names no model here; a runner on a machine of its own needs it too")
    source = found.source or downloaded(str(found.url), model_cache(chosen.model_cache).folder / "downloads")
    return UpscalingModel.load(source, device)


class UpscalingNet(torch.nn.Module):
    """The model as a module for the engine: (B, 3, h, w), 0 to 1, becomes (B, 3, scale * h, scale * w)."""

    def __init__(self, model: ImageModelDescriptor[Any]) -> None:
        super().__init__()
        self.network = model.model
        self._model = model

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def device(self) -> torch.device:
        device: torch.device = self._model.device
        return device

    def forward(self, pixels: Tensor) -> Tensor:
        # spandrel returns inference tensors, which cannot be used outside of inference mode.
        larger: Tensor = self._model(pixels)
        return larger.clone()


class UpscalingModel:
    """Computes in float32 on every device, so that what shares a batch changes an image by at most one shade."""

    def __init__(self, model: ImageModelDescriptor[Any]) -> None:
        self._model = model.eval()

    @property
    def net(self) -> UpscalingNet:
        return UpscalingNet(self._model)

    @classmethod
    def load(cls, source: Source, device: str = "auto") -> Self:
        """Load a file, or the only one in a folder or repository. Blocks.

        Raises LoadFailed with what to do, LoadInterrupted, or InvalidRequest for a device that does not exist.
        """
        device = resolve_device(device)
        file = _only_file(local_path(source))
        with explained(source):
            model = _described(_state_of(file), file.name)
        if model.purpose != "SR" or model.scale < 2 or (model.input_channels, model.output_channels) != (3, 3):
            raise LoadFailed(f"{file.name} makes no colour image larger: it is a model for {model.purpose}")
        log.info("%s is a %s model that upscales %d times", file.name, model.architecture.name, model.scale)
        return cls(model.to(torch.device(device)))

    @torch.inference_mode()
    def upscaled(self, images: Sequence[Image.Image], factor: int) -> list[Image.Image]:
        """Return RGB images of equal size, `factor` times wider and higher, in one pass. Blocks.

        A model with a smaller factor is applied repeatedly, and a result that is too large is reduced.
        """
        size = images[0].height * factor, images[0].width * factor
        pixels = torch.stack([_tensor(image) for image in images]).to(self._model.device)  # (N, 3, h, w)
        while pixels.shape[-2:] < size:
            pixels = self._larger(pixels)
        if pixels.shape[-2:] != size:
            pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True)
        rounded = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
        return [Image.fromarray(each.numpy()) for each in rounded.permute(0, 2, 3, 1).cpu()]

    def _larger(self, pixels: Tensor) -> Tensor:
        """Run the model once, in passes of at most TILES_A_PASS tiles' pixels: its input may be enlarged already."""
        most = max(1, TILES_A_PASS * TILE_PX**2 // (pixels.shape[2] * pixels.shape[3]))
        return torch.cat([self._model(part) for part in pixels.split(most)])


def _tensor(image: Image.Image) -> Tensor:
    """Return an image as (3, h, w), 0 to 1."""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, 3).permute(2, 0, 1).float() / 255


def _only_file(path: Path) -> Path:
    if path.is_file():
        return path
    files = [file for file in path.iterdir() if file.suffix in (SAFETENSORS, *TENSORS_ONLY)]
    if len(files) != 1:
        raise LoadFailed(f"{len(files)} files of weights are in {path.name}; name one in JUBAKO_UPSCALER")
    return files[0]


def _state_of(file: Path) -> dict[str, Any]:
    if file.suffix == SAFETENSORS:
        return load_file(file)
    if file.suffix not in TENSORS_ONLY:
        raise LoadFailed(
            f"{file.name} is not a file of weights; those end in {SAFETENSORS} or {', '.join(TENSORS_ONLY)}"
        )
    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError) as error:
        raise LoadFailed(f"{file.name} holds more than tensors, which could run code, or is damaged") from error
    if not isinstance(state, dict):
        raise LoadFailed(f"{file.name} holds no named tensors")
    return state


def _described(state: dict[str, Any], name: str) -> ImageModelDescriptor[Any]:
    with _without_torchvision():
        import spandrel
    try:
        model = spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(state))
    except spandrel.UnsupportedModelError as error:
        raise LoadFailed(f"{name} is of no architecture that spandrel {spandrel.__version__} knows") from error
    if not isinstance(model, spandrel.ImageModelDescriptor):
        raise LoadFailed(f"{name} makes no image larger: it is a model for {model.purpose}")
    return model


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Let spandrel be imported if torchvision is missing or built for another torch.

    Only two of its forty architectures use a function of torchvision, and neither of them upscales.
    """
    try:
        import torchvision.transforms.functional  # noqa: F401  # whether it works
    except (ImportError, RuntimeError):
        before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torchvision"}
        modules = {name: ModuleType(name) for name in _TORCHVISION}
        vars(modules[_TORCHVISION[-1]]).update(dict.fromkeys(_BORROWED))
        sys.modules.update(modules)
        try:
            yield
        finally:
            for name in modules:
                del sys.modules[name]
            sys.modules.update(before)
    else:
        yield
