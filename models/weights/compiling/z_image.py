"""Z-Image with prompts padded to a few lengths, so that it need not be compiled for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ZImageTransformer2DModel

from models.weights.compiling.shapes import bucket_of


class BucketedZImage(ZImageTransformer2DModel):  # type: ignore[misc]
    """The model itself pads prompts to multiples of 32 with a learnt token, which affects the image, and masks further
    padding in batches of several lengths. Here that masked padding always goes up to a bucket.
    """

    text_buckets: Sequence[int]

    @classmethod
    def pad(cls, transformer: ZImageTransformer2DModel, text_buckets: Sequence[int]) -> None:
        """Make a transformer pad prompts to these lengths from now on."""
        transformer.__class__ = cls
        transformer.text_buckets = text_buckets

    def _prepare_sequence(
        self, feats: Any, pos_ids: Any, inner_pad_mask: Any, pad_token: Any, *rest: Any
    ) -> tuple[Any, ...]:
        prepared = super()._prepare_sequence(feats, pos_ids, inner_pad_mask, pad_token, *rest)
        if pad_token is not self.cap_pad_token:
            return tuple(prepared)
        sequence, freqs, mask, *others = prepared
        return *_masked(sequence, freqs, mask, bucket_of(sequence.shape[1], self.text_buckets)), *others

    def _build_unified_sequence(
        self,
        x: Any,
        x_freqs: Any,
        x_seqlens: Any,
        x_noise_mask: Any,
        cap: Any,
        cap_freqs: Any,
        cap_seqlens: Any,
        *rest: Any,
    ) -> tuple[Any, ...]:
        sequence, freqs, mask, noise_mask = super()._build_unified_sequence(
            x, x_freqs, x_seqlens, x_noise_mask, cap, cap_freqs, cap_seqlens, *rest
        )
        length = max(x_seqlens) + bucket_of(max(cap_seqlens), self.text_buckets)
        return *_masked(sequence, freqs, mask, length), noise_mask


def _masked(
    sequence: torch.Tensor, freqs: torch.Tensor, mask: torch.Tensor | None, length: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pad (B, S, D), the rotations (B, S, d) and the mask (B, S) to a length with masked positions."""
    if mask is None:
        mask = torch.ones(sequence.shape[:2], dtype=torch.bool, device=sequence.device)
    missing = length - sequence.shape[1]
    return F.pad(sequence, (0, 0, 0, missing)), F.pad(freqs, (0, 0, 0, missing)), F.pad(mask, (0, missing))
