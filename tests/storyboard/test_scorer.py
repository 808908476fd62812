"""The CLIP scorer: what it computes, for whom, how its server batches, and what is said when it is away."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from core.errors import LoadFailed
from models.catalogue.catalogue import full_catalogue
from models.catalogue.sources import Source
from models.miniature.captions import plain_caption
from models.miniature.concepts import held_out_pairs
from models.miniature.evaluate import CHECKPOINT, draw, to_images
from models.miniature.evaluate import load as load_miniature
from settings.sections.stories import StoryOptions
from storyboard.scoring.clip_host import ClipHost
from storyboard.scoring.clip_model import ClipScoringModel
from storyboard.scoring.pairs import ImageTextPair
from storyboard.scoring.scorers import OPENAI_CLIP, OPENAI_THRESHOLD, OWN_THRESHOLD, STRANGER_THRESHOLD, Scorers
from tests.support.servers.serving import photo
from tests.support.storyboard.clips import MINIATURE, noise


@torch.no_grad()
def plain_cosine(clip: Path, tokenizer: Path, image: Image.Image, text: str) -> float:
    """What transformers says without us: the logit, without CLIP's temperature."""
    model: Any = CLIPModel.from_pretrained(clip, dtype=torch.float32)
    words: Any = CLIPTokenizer.from_pretrained(tokenizer)
    pixels: Any = CLIPImageProcessorPil.from_pretrained(clip)
    inputs = words([text], padding="max_length", truncation=True, return_tensors="pt")
    output = model(**inputs, **pixels(images=[image], return_tensors="pt"))
    logit: float = (output.logits_per_image / model.logit_scale.exp()).item()
    return logit


class TestClip:
    @pytest.mark.parametrize("text", ["a fox on a blue background", "fox", "a long story " * 40])
    def test_agrees_with_transformers(self, tiny_clip_source: Source, text: str) -> None:
        """Also for pictures that are no squares, and texts that are cut."""
        for source, tokenizer in ((tiny_clip_source, tiny_clip_source.path), (MINIATURE, CHECKPOINT / "tokenizer")):
            assert source.path is not None
            assert tokenizer is not None
            picture = noise(1, 80, 48)
            expected = plain_cosine(source.path, tokenizer, picture, text)
            assert ClipScoringModel.load(source, "cpu").cosines([(picture, text)]) == pytest.approx(
                [expected], abs=1e-5
            )

    def test_a_pair_scores_the_same_in_every_batch(self, tiny_clip_source: Source) -> None:
        clip = ClipScoringModel.load(tiny_clip_source, "cpu")
        pairs: list[ImageTextPair] = [
            (noise(1), "a"),
            (noise(2, 90), "c"),
            (noise(4), "a longer text"),
            (noise(4), "b"),
        ]
        alone = [clip.cosines([pair])[0] for pair in pairs]
        assert clip.cosines(pairs) == pytest.approx(alone, abs=1e-5)
        assert len({round(score, 4) for score in alone}) == len(pairs)

    def test_all_pictures_share_a_forward_and_all_texts_another(self, tiny_clip_source: Source) -> None:
        clip = ClipScoringModel.load(tiny_clip_source, "cpu")
        batches: list[tuple[str, int]] = []
        for name in ("vision_model", "text_model"):
            getattr(clip._model, name).register_forward_hook(
                lambda _, __, output, name=name: batches.append((name, len(output.pooler_output)))
            )
        clip.cosines([(noise(1), "a"), (noise(2), "b")])
        assert sorted(batches) == [("text_model", 2), ("vision_model", 2)]

    def test_pickles_are_not_read(self, tiny_clip_source: Source, tmp_path: Path) -> None:
        assert tiny_clip_source.path is not None
        folder = shutil.copytree(tiny_clip_source.path, tmp_path / "clip")
        torch.save({}, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        with pytest.raises(LoadFailed, match="is a pickle"):
            ClipScoringModel.load(Source(path=folder), "cpu")


class TestTheMiniaturesClip:
    def test_the_right_prompt_scores_above_the_threshold_and_others_below(self) -> None:
        pairs = held_out_pairs()[::9]
        drawn = to_images(draw(load_miniature(CHECKPOINT), pairs, seed=40).images)
        clip = ClipScoringModel.load(MINIATURE, "cpu")
        right = clip.cosines([(image, plain_caption(*pair, 0)) for image, pair in zip(drawn, pairs, strict=True)])
        turned = pairs[1:] + pairs[:1]
        wrong = clip.cosines([(image, plain_caption(*pair, 0)) for image, pair in zip(drawn, turned, strict=True)])
        assert all(score > other for score, other in zip(right, wrong, strict=True))
        assert sum(score >= OWN_THRESHOLD for score in right) >= len(pairs) - 1
        assert sum(score >= OWN_THRESHOLD for score in wrong) == 0


class TestWhichClip:
    def test_follows_from_the_model_unless_the_operator_says_so(self, tmp_path: Path) -> None:
        host = ClipHost("cpu")
        catalogue = full_catalogue(None)
        miniature, sdxl = catalogue.get("miniature"), catalogue.get("sdxl")
        usual = Scorers(StoryOptions(), host.compare)
        own, openai = usual.of(miniature), usual.of(sdxl)
        assert miniature.token_opt is not None
        assert (own.clip, own.threshold) == (miniature.token_opt.clip, OWN_THRESHOLD)
        assert (openai.clip, openai.threshold) == (OPENAI_CLIP, OPENAI_THRESHOLD)
        assert usual.of(miniature, "kumo").threshold == STRANGER_THRESHOLD
        assert usual.of(miniature, "a cat").threshold == OWN_THRESHOLD
        changed = StoryOptions(story_clip_model=str(tmp_path), story_clip_threshold=0.3)
        for entry in (miniature, sdxl):
            scorer = Scorers(changed, host.compare).of(entry)
            assert (scorer.clip, scorer.threshold) == (Source(path=tmp_path), 0.3)

    async def test_in_this_process(self, tiny_clip_source: Source) -> None:
        scorers = Scorers(StoryOptions(story_clip_model=str(tiny_clip_source.path)), ClipHost("cpu").compare)
        scorer = scorers.of(full_catalogue(None).get("miniature"))
        assert await scorer.score(photo(), "a") == pytest.approx(
            ClipScoringModel.load(tiny_clip_source, "cpu").cosines([(photo(), "a")])[0]
        )
