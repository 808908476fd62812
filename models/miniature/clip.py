"""The CLIP model: its text tower conditions the UNet, and the whole model scores pictures against words."""

import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from .captions import plain_caption, random_caption
from .concepts import all_pairs, held_out_pairs, training_pairs
from .data import READER_PLACEMENT, Sprites, composite, spoil
from .loop import Schedule, Trainer, autocast, load_trained
from .tokenizer import TEXT_LENGTH, build_tokenizer, tokenize
from .vae import to_tensor

IMAGE_PX = 64
MEAN, STD = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]
BATCH, SPOILT = 112, 32
SCHEDULE = Schedule(steps=1000, learning_rate=1e-3)


def build_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """A fresh CLIP: 128 wide, three text and four vision layers."""
    width = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4, "projection_dim": 128}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {"vocab_size": len(tokenizer), "num_hidden_layers": 3, "max_position_embeddings": TEXT_LENGTH}
    vision = {"num_hidden_layers": 4, "image_size": IMAGE_PX, "patch_size": 8}
    return CLIPModel(
        CLIPConfig(
            text_config=width | ends | text | {"pad_token_id": tokenizer.pad_token_id},
            vision_config=width | vision,
            projection_dim=128,
        )
    )


def shrink(images: Tensor) -> Tensor:
    """Resize 128x128 pictures to the input size of CLIP and the judge."""
    return functional.interpolate(images, size=(IMAGE_PX, IMAGE_PX), mode="area")


def contrastive_loss(clip: CLIPModel, ids: Tensor, images: Tensor) -> Tensor:
    """CLIP's loss for B captions and at least B images, of which the first B match their caption.

    The further images are spoilt pictures, which no caption may match.
    """
    with autocast(images.device):
        # No mask: the text tower is causal, and the pipelines give none.
        output = clip(input_ids=ids, pixel_values=shrink(images))
    logits = output.logits_per_text.float()  # (B, B + spoilt)
    target = torch.arange(len(ids), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits[:, : len(ids)].T, target)) / 2


def train_clip(work: Path, sprites: Sprites, device: torch.device, schedule: Schedule = SCHEDULE) -> None:
    """Train CLIP on distinct training pairs and spoilt pictures of them; resumes from ``work/clip.pt``."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    clip = build_clip(tokenizer).to(device)
    pairs = training_pairs()

    def loss_of(step: int) -> Tensor:
        rng, words_rng = np.random.default_rng((2, step)), random.Random(step)
        chosen = [pairs[i] for i in rng.choice(len(pairs), size=BATCH, replace=False)]
        pictures = [composite(sprites, pair, rng, READER_PLACEMENT) for pair in chosen]
        # Spoilt copies of pictures whose captions are in this batch are the hardest negatives.
        pictures += [spoil(picture, rng) for picture in pictures[:SPOILT]]
        captions = [random_caption(concept, colour, words_rng) for concept, colour in chosen]
        return contrastive_loss(clip, tokenize(tokenizer, captions).to(device), to_tensor(pictures, device))

    Trainer(clip, work / "clip.pt", schedule).run(loss_of)
    print(
        f"CLIP: {held_out_accuracy(clip.eval(), tokenizer, sprites, device):.1%} of held-out composites find their pair"
    )


def load_clip(work: Path) -> tuple[CLIPModel, CLIPTokenizer]:
    """The trained CLIP of a work folder, without gradients, and its tokenizer."""
    tokenizer = build_tokenizer()
    return load_trained(build_clip(tokenizer), work / "clip.pt"), tokenizer


@torch.no_grad()
def held_out_accuracy(clip: CLIPModel, tokenizer: CLIPTokenizer, sprites: Sprites, device: torch.device) -> float:
    """Share of held-out composites whose caption scores highest among the captions of all pairs."""
    rng = np.random.default_rng(8)
    held_out, pairs = held_out_pairs(), all_pairs()
    images = to_tensor([composite(sprites, pair, rng, READER_PLACEMENT) for pair in held_out], device)
    ids = tokenize(tokenizer, [plain_caption(*pair, 0) for pair in pairs]).to(device)
    found = clip(input_ids=ids, pixel_values=shrink(images)).logits_per_image.argmax(1).tolist()
    right: list[bool] = [pairs[i] == pair for i, pair in zip(found, held_out, strict=True)]
    return sum(right) / len(right)
