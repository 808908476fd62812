"""The configurations of a pipeline's components, and what they imply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import lcm
from pathlib import Path
from typing import Any

FILES = ("config.json", "scheduler_config.json", "tokenizer_config.json")
DENOISERS = ("Transformer", "UNet", "DiT", "Prior")
"""Substrings of the class names of denoisers."""
AUTOENCODERS = ("vae", "vqvae", "movq", "vqgan")


class Configurations(Mapping[str, Mapping[str, Any]]):
    """The configurations, by component."""

    def __init__(self, folder: Path) -> None:
        """Read the configurations of a folder in diffusers layout."""
        self.index = _read(folder / "model_index.json")
        names = [name for name, what in self.index.items() if isinstance(what, list) and what[0] is not None]
        self._components = {name: _first(folder / name) for name in names if not name.startswith("_")}

    def __getitem__(self, component: str) -> Mapping[str, Any]:
        return self._components[component]

    def __iter__(self) -> Any:
        return iter(self._components)

    def __len__(self) -> int:
        return len(self._components)

    @property
    def denoiser_name(self) -> str:
        """The first component whose class is a denoiser's."""
        kinds = {name: str(config.get("_class_name")) for name, config in self.items()}
        return next((name for name, kind in kinds.items() if any(part in kind for part in DENOISERS)), "transformer")

    @property
    def denoiser(self) -> Mapping[str, Any]:
        return self.get(self.denoiser_name, {})

    @property
    def vae(self) -> Mapping[str, Any]:
        return next((self[name] for name in AUTOENCODERS if name in self), {})

    @property
    def follows_flow(self) -> bool:
        scheduler = self.get("scheduler", {})
        flowing = scheduler.get("use_flow_sigmas") or scheduler.get("prediction_type") == "flow_prediction"
        return bool(flowing) or str(scheduler.get("_class_name")).startswith("FlowMatch")

    @property
    def vae_factor(self) -> int:
        """The pixels of a side that one latent stands for."""
        named = (self.vae.get(name) for name in ("spatial_compression_ratio", "scale_factor_spatial"))
        levels = self.vae.get("encoder_block_out_channels") or self.vae.get("block_out_channels") or ()
        return int(next(filter(None, named), 0) or 2 ** max(len(levels) - 1, 0))

    @property
    def multiple_px(self) -> int:
        """The number that both sides must be multiples of."""
        patch = self.denoiser.get("patch_size") or 1
        side = patch[-1] if isinstance(patch, list) else int(patch)
        # Each level of a UNet halves its input.
        halved = 2 ** max(len(self.denoiser.get("down_block_types") or ()) - 1, 0)
        return lcm(16, self.vae_factor * side, self.vae_factor * halved)

    @property
    def frames_multiple(self) -> int:
        """The number of a video's frames is one more than a multiple of this."""
        if self.fixed_frames:
            return self.fixed_frames - 1
        named = (self.vae.get(name) for name in ("temporal_compression_ratio", "scale_factor_temporal"))
        usual = 1 if self.vae.get("_class_name") == "AutoencoderKL" else 4
        return int(next(filter(None, named), usual))

    def trained_px(self, side: str) -> int | None:
        """Return the width or height that the denoiser was trained on, if its configuration says."""
        size = self.denoiser.get(f"sample_{side}") or self.denoiser.get("sample_size")
        latents = (size[-1] if side == "width" else size[0]) if isinstance(size, list) else size
        return latents and int(latents) * self.vae_factor

    @property
    def trained_frames(self) -> int | None:
        return self.denoiser.get("sample_frames")

    @property
    def fixed_frames(self) -> int | None:
        """The only number of frames that the denoiser can generate, if it is fixed."""
        return self.denoiser.get("video_length")


def _first(folder: Path) -> Mapping[str, Any]:
    return next((_read(folder / name) for name in FILES if (folder / name).is_file()), {})


def _read(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read
