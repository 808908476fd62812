"""The IP-Adapter's training data: pairs of pictures that share a character, and captions that may not name it.

The two pictures of a pair have different backgrounds, so that the adapter learns to supply the character and leave
the rest to the caption. Some characters are recoloured, so that it learns their look, not just their name.
"""

import random
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from .captions import open_caption
from .concepts import COLOURS, CONCEPTS, Pair, training_pairs
from .data import READER_PLACEMENT, PixelArray, Sprites, composite
from .evaluate import through_vae
from .latents import captions_of
from .lora import embed
from .unet import BATCH
from .vae import to_tensor

Look = tuple[int, int, int]

LOOKS: tuple[Look, ...] = ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (1, 0, 2), (2, 1, 0))
"""Orders of the colour channels for drawing a character; the first is its natural look."""
NATURAL = 0.85  # share of samples in which a character has its own look
NATURAL_COPIES = 5  # pictures of a pair in its own look; of every other look there is one
NAME_TOKENS = 8
OPEN_CAPTIONS = 24  # of each colour
OPEN, EMPTY = 0.7, 0.07  # shares of captions that name no concept, and nothing at all
WITHOUT_REFERENCE = 0.08  # share of samples, whatever their caption


class Recoloured(Sprites):
    """Sprites with permuted colour channels."""

    def __init__(self, sprites: Sprites, look: Look):
        self._natural, self._order = sprites, [*look, 3]

    def get(self, concept: str, side_px: int) -> np.ndarray:
        return self._natural.get(concept, side_px)[..., self._order]


@dataclass(frozen=True)
class ReferenceSet:
    """Tensors of P pairs in K pictures each, float16; ``looks`` says which of the K show which look."""

    latents: Tensor  # (P, K, 8, 16, 16) of the targets
    states: Tensor  # (P, K, tokens, 128) of the references
    no_reference: Tensor  # (tokens, 128)
    texts: Tensor  # (P, captions, TEXT_LENGTH, 128)
    open_texts: Tensor  # (colours, OPEN_CAPTIONS, TEXT_LENGTH, 128)
    names: Tensor  # (concepts, NAME_TOKENS, 128): the word and what follows it
    empty_text: Tensor  # (TEXT_LENGTH, 128)
    looks: Tensor  # (K)


@torch.no_grad()
def encode_references(pipeline: StableDiffusionPipeline, pictures: list[PixelArray]) -> tuple[Tensor, Tensor]:
    """The pipeline's inputs of the adapter for references, (B, tokens, 128), and for none, of the same shape."""
    images = [Image.fromarray(picture) for picture in pictures]
    states: tuple[Tensor, Tensor] = pipeline.encode_image(images, pipeline.device, 1, output_hidden_states=True)
    return states


@torch.no_grad()
def build_references(pipeline: StableDiffusionPipeline, sprites: Sprites) -> ReferenceSet:
    """Draw and encode everything for a pipeline with an ``image_encoder``; a few minutes on one core."""
    looks = [0] * NATURAL_COPIES + list(range(1, len(LOOKS)))
    drawn = [Recoloured(sprites, LOOKS[look]) for look in looks]
    rng = np.random.default_rng(11)
    latents, states, texts = [], [], []
    for pair in tqdm(training_pairs(), "references", mininterval=10):
        targets = to_tensor([composite(own, pair, rng) for own in drawn], pipeline.device)
        latents.append(pipeline.vae.encode(targets).latent_dist.mode().half())
        states.append(encode_references(pipeline, seen(pipeline, drawn, pair, rng))[0].half())
        texts.append(embed(pipeline, captions_of(pair)).half())
    words = random.Random(12)
    return ReferenceSet(
        latents=torch.stack(latents),
        states=torch.stack(states),
        no_reference=encode_references(pipeline, [np.zeros((128, 128, 3), np.uint8)])[1][0].half(),
        texts=torch.stack(texts),
        open_texts=torch.stack(
            [embed(pipeline, [open_caption(colour, words) for _ in range(OPEN_CAPTIONS)]).half() for colour in COLOURS]
        ),
        names=embed(pipeline, list(CONCEPTS))[:, 1 : 1 + NAME_TOKENS].half(),
        empty_text=embed(pipeline, [""])[0].half(),
        looks=torch.tensor(looks),
    )


def seen(
    pipeline: StableDiffusionPipeline, drawn: list[Recoloured], pair: Pair, rng: np.random.Generator
) -> list[PixelArray]:
    """References, every second one softened to look like the model's own pictures."""
    pictures = np.stack([composite(own, pair, rng, READER_PLACEMENT) for own in drawn])
    pictures[::2] = (through_vae(pipeline, pictures[::2] / 255.0) * 255).round().astype(np.uint8)
    return list(pictures)


@dataclass(frozen=True)
class ReferenceBatch:
    latents: Tensor  # (BATCH, 8, 16, 16)
    texts: Tensor  # (BATCH, TEXT_LENGTH, 128)
    states: Tensor  # (BATCH, tokens, 128)


class Sampler:
    """Chooses targets, references and captions of the training pairs."""

    def __init__(self, data: ReferenceSet):
        pairs = training_pairs()
        names, colours = list(CONCEPTS), list(COLOURS)
        self._data = data
        self._colours = torch.tensor([colours.index(colour) for _, colour in pairs])
        concepts = torch.tensor([names.index(concept) for concept, _ in pairs])
        others = (concepts[:, None] == concepts) & ~torch.eye(len(pairs), dtype=torch.bool)
        self._references = others.float()  # (P, P): which pairs show the same concept on another colour
        natural = data.looks == 0
        self._copies = torch.where(natural, NATURAL / natural.sum(), (1 - NATURAL) / (~natural).sum())  # (K)
        self._alike = (data.looks[:, None] == data.looks).float()  # (K, K)

    def batch(self, generator: torch.Generator) -> ReferenceBatch:
        data = self._data

        def draw(high: int) -> Tensor:
            return torch.randint(high, (BATCH,), generator=generator)

        pair = draw(len(data.latents))
        copy = torch.multinomial(self._copies, BATCH, replacement=True, generator=generator)
        other = torch.multinomial(self._references[pair], 1, generator=generator)[:, 0]
        other_copy = torch.multinomial(self._alike[copy], 1, generator=generator)[:, 0]
        kind = torch.rand(BATCH, generator=generator)[:, None, None]
        texts = data.texts[pair, draw(data.texts.shape[1])]
        texts = torch.where(kind < OPEN, data.open_texts[self._colours[pair], draw(OPEN_CAPTIONS)], texts)
        texts = torch.where(kind > 1 - EMPTY, data.empty_text, texts)
        dropped = torch.rand(BATCH, generator=generator)[:, None, None] < WITHOUT_REFERENCE
        states = torch.where(dropped, data.no_reference, data.states[other, other_copy])
        return ReferenceBatch(data.latents[pair, copy].float(), texts.float(), states.float())
