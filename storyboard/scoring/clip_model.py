"""A CLIP that measures how well pictures show what texts say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from models.catalogue.sources import Source
from models.weights.build_lock import build_lock
from models.weights.devices import resolve_device
from models.weights.fetching.explanations import explained
from models.weights.fetching.fetch import local_path, refuse_pickles
from storyboard.scoring.pairs import ImageTextPair


class ClipScoringModel:
    """Computes in single precision on every device, so that a score does not depend on the rest of its batch."""

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizer, pixels: CLIPImageProcessorPil) -> None:
        self._model: Any = model.eval().requires_grad_(False)
        self._tokenizer: Any = tokenizer
        self._pixels: Any = pixels
        self._max_tokens: int = model.config.text_config.max_position_embeddings

    @classmethod
    def load(cls, source: Source, device: str = "auto") -> Self:
        """Load from a folder or the hub; the tokenizer is in the same folder, or in `tokenizer` beside it. Blocks.

        Raises LoadFailed with what to do, or InvalidRequest for a device that is not there.
        """
        device = resolve_device(device)
        folder = local_path(source)
        refuse_pickles(folder)
        with explained(source):
            with build_lock:
                model = CLIPModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
            tokenizer = CLIPTokenizer.from_pretrained(_tokenizer_folder(folder))
            return cls(model.to(device), tokenizer, CLIPImageProcessorPil.from_pretrained(folder))

    @torch.no_grad()
    def cosines(self, pairs: Sequence[ImageTextPair]) -> list[float]:
        """Return the cosine of each pair, -1 to 1: one forward for all pictures, one for all texts. Blocks."""
        images, texts = zip(*pairs, strict=True)
        cosines: list[float] = (self.embed_images(images) * self._embed_texts(texts)).sum(-1).tolist()
        return cosines

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Return vectors of length 1, (images, C). Blocks."""
        pixels = self._pixels(images=[image.convert("RGB") for image in images], return_tensors="pt").pixel_values
        embedded = self._model.get_image_features(pixel_values=pixels.to(self._model.device)).pooler_output
        return torch.nn.functional.normalize(embedded, dim=-1)

    def _embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return vectors of length 1, (texts, C); texts longer than the model's limit are cut off."""
        # No mask: the tower is causal, so what follows a text's end does not change it.
        ids = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).input_ids
        embedded = self._model.get_text_features(input_ids=ids.to(self._model.device)).pooler_output
        return torch.nn.functional.normalize(embedded, dim=-1)


def _tokenizer_folder(clip: Path) -> Path:
    """Return the tokenizer's folder: the CLIP's own, or that of the pipeline beside it."""
    return clip if (clip / "tokenizer_config.json").exists() else clip.parent / "tokenizer"
