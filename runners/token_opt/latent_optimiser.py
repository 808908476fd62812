"""Inpainting without a generator: the latents of the image autoencoder are optimised until CLIP sees the prompt.

The loss is the CLIP distance between the prompt and views of the image, plus the distance to the input outside of the
mask, plus a weak pull of the latents towards the unit normal. The idea is test-time optimisation of image tokens (Lao
Beyer et al., "Highly Compressed Tokenizer Can Generate Without Training", 2025), here with continuous latents. It
needs gradients, so it works on copies of the model's modules and in a thread other than the engine's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel

from core.generation.request import GenerationRequest
from core.pixels.upload import pixels_of
from models.catalogue.addons import TokenOptSpec
from models.weights.build_lock import build_lock
from models.weights.loading import LoadedModel

LEARNING_RATE, LAST_RATE = 0.1, 0.01
VIEWS = 4
"""The number of views that CLIP sees in each iteration; a single one could be satisfied by adversarial noise."""
SHIFT, SCALE = 0.1, 0.1
"""How far a view may be shifted and zoomed, as shares of the image."""
VIEW_NOISE = 0.02
SIMILARITY_WEIGHT, KEEPING_WEIGHT, PRIOR_WEIGHT = 5.0, 5.0, 0.05
START_NOISE = 0.7
"""Standard deviation of the noise in the masked latents at the start, which makes seeds differ."""


@dataclass(frozen=True)
class IterationDone:
    """Emitted after each iteration, which is 1-based."""

    iteration: int


class LatentOptimiser:
    """An autoencoder and a CLIP that generate together; one thread at a time may use it."""

    def __init__(self, vae: Any, clip: Any, tokenizer: Any, pixels: Any, device: torch.device) -> None:
        """`pixels` is the CLIP's `preprocessor_config.json`."""
        self._vae, self._clip, self._tokenizer, self._device = vae, clip, tokenizer, device
        self._mean, self._std = (
            torch.tensor(pixels[name], device=device).view(1, 3, 1, 1) for name in ("image_mean", "image_std")
        )
        self._side_px: int = clip.config.vision_config.image_size
        self._scale: int = 2 ** (len(vae.config.block_out_channels) - 1)

    @classmethod
    def of(cls, model: LoadedModel, spec: TokenOptSpec) -> LatentOptimiser:
        """Copy the needed modules from a loaded model, in float32, and load the CLIP. Blocks."""
        vae = copy.deepcopy(model.components["vae"])
        folder = str(spec.clip.path)
        with build_lock:
            clip = CLIPModel.from_pretrained(folder, dtype=torch.float32)
        if vae.dtype is not torch.float32:
            vae = vae.float()
        for module in (vae, clip):
            module.to(model.device).eval().requires_grad_(False)
        pixels = json.loads(Path(folder, "preprocessor_config.json").read_text(encoding="utf-8"))
        return cls(vae, clip, model.components["tokenizer"], pixels, model.device)

    def generate(self, request: GenerationRequest, seed: int) -> Iterator[IterationDone | Image.Image]:
        """Yield after each iteration, so that a caller may stop there, and the image at the end."""
        assert request.image is not None
        assert request.mask is not None
        generator = torch.Generator().manual_seed(seed)
        image = self._to_tensor(pixels_of(request.image)) * 2 - 1  # (1, 3, h, w) in -1..1
        mask = self._to_tensor(pixels_of(request.mask)).round()  # (1, 1, h, w), 1 = repaint
        with torch.enable_grad():
            text = self._embed_text(request.prompt)
            latents = self._start(image, mask, generator).requires_grad_()
            optimizer = torch.optim.Adam([latents], lr=LEARNING_RATE)
            for iteration in range(request.iterations):
                (latents.grad,) = torch.autograd.grad(self._loss(latents, image, mask, text, generator), latents)
                optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - iteration / request.iterations) + LAST_RATE
                optimizer.step()
                yield IterationDone(iteration + 1)
        with torch.no_grad():
            yield self._to_image(self._composite(self._vae.decode(latents).sample, image, mask))

    def _loss(self, latents: Tensor, image: Tensor, mask: Tensor, text: Tensor, generator: torch.Generator) -> Tensor:
        decoded = self._vae.decode(latents).sample
        views = self._views(self._composite(decoded, image, mask), generator)
        similarity = (self._embed_images(views) @ text.T).mean()
        kept = 1 - mask
        keeping = ((decoded - image).abs() * kept).sum() / (3 * kept.sum()).clamp(min=1)
        prior: Tensor = latents.square().mean()
        loss: Tensor = KEEPING_WEIGHT * keeping - SIMILARITY_WEIGHT * similarity + PRIOR_WEIGHT * prior
        return loss

    @torch.no_grad()
    def _start(self, image: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Encode the input with its masked part in the mean colour of the rest, and add noise there."""
        kept = 1 - mask
        mean = (image * kept).sum((2, 3), keepdim=True) / kept.sum().clamp(min=1)
        latents: Tensor = self._vae.encode(image * kept + mean * mask).latent_dist.mode()
        masked = functional.max_pool2d(mask, self._scale)
        noise = torch.randn(latents.shape, generator=generator).to(self._device)
        return latents * (1 - masked / 2) + START_NOISE * masked * noise

    def _composite(self, decoded: Tensor, image: Tensor, mask: Tensor) -> Tensor:
        return decoded * mask + image * (1 - mask)

    def _views(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Return random shifts and zooms of the image, at CLIP's size: (VIEWS, 3, side, side)."""
        chosen = torch.rand(VIEWS, 3, generator=generator) * 2 - 1
        moves = torch.zeros(VIEWS, 2, 3)
        moves[:, 0, 0] = moves[:, 1, 1] = 1 + SCALE * chosen[:, 0]
        moves[:, :, 2] = 2 * SHIFT * chosen[:, 1:]
        many = image.expand(VIEWS, -1, -1, -1)
        grid = functional.affine_grid(moves.to(self._device), list(many.shape), align_corners=False)
        moved = functional.grid_sample(many, grid, padding_mode="border", align_corners=False)
        small = functional.interpolate(moved, size=(self._side_px, self._side_px), mode="area")
        return small + VIEW_NOISE * torch.randn(small.shape, generator=generator).to(self._device)

    def _embed_images(self, images: Tensor) -> Tensor:
        seen = self._clip.get_image_features(pixel_values=((images + 1) / 2 - self._mean) / self._std)
        embedded: Tensor = functional.normalize(seen.pooler_output, dim=-1)  # (B, width)
        return embedded

    @torch.no_grad()
    def _embed_text(self, prompt: str) -> Tensor:
        ids = self._tokenizer(
            prompt,
            padding="max_length",
            max_length=self._tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        read = self._clip.get_text_features(input_ids=ids.to(self._device))
        embedded: Tensor = functional.normalize(read.pooler_output, dim=-1)  # (1, width)
        return embedded

    def _to_tensor(self, image: Image.Image) -> Tensor:
        """Return an image as (1, channels, h, w) in 0..1."""
        values = torch.from_numpy(np.atleast_3d(np.asarray(image)).copy())
        return values.permute(2, 0, 1)[None].to(self._device, torch.float32) / 255

    def _to_image(self, pixels: Tensor) -> Image.Image:
        values = ((pixels[0].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0)
        return Image.fromarray(values.to("cpu", torch.uint8).numpy())
