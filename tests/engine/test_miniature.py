"""The embedded model, through the engine: it draws what a prompt says, also for pairs it never saw."""

from __future__ import annotations

import numpy as np
import torch

from models.catalogue.catalogue import full_catalogue
from models.miniature.captions import plain_caption
from models.miniature.concepts import held_out_pairs
from models.miniature.evaluate import border_colour
from models.miniature.judge import load_judge, name_concepts
from models.weights.loading import load
from runners.engine.engine import Engine, EngineLimits
from settings import settings
from tests.support.drawing import draw_together, pictures, request


async def test_held_out_pairs_are_drawn() -> None:
    entry = full_catalogue(settings().catalogue).get("miniature")
    pairs = held_out_pairs()[::6]
    engine = Engine(load(entry, "cpu"), EngineLimits(entry.batch_tokens))
    try:
        wanted = [
            request(
                prompt=plain_caption(*pair, 0),
                seed=seed,
                width=entry.defaults.width,
                height=entry.defaults.height,
                num_inference_steps=entry.defaults.num_inference_steps,
                guidance_scale=entry.defaults.guidance_scale,
                scheduler=entry.defaults.scheduler,
            )
            for seed, pair in enumerate(pairs)
        ]
        drawn = [pictures(events)[0].image for events in await draw_together(engine, wanted)]
    finally:
        engine.close()
    images = np.stack([np.asarray(image, dtype=np.float32) / 255 for image in drawn])
    named = name_concepts(load_judge(), torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1)
    wrong = [pair for pair, name in zip(pairs, named, strict=True) if name != pair[0]]
    assert len(wrong) <= 1, wrong
    assert [border_colour(image) for image in images] == [colour for _, colour in pairs]
