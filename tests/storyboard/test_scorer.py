"""The CLIP scorer: what it computes, for whom, how its server batches, and what is said when it is away."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from core.errors import Busy, LoadFailed
from models.catalogue.catalogue import full_catalogue
from models.catalogue.sources import Source
from models.miniature.captions import plain_caption
from models.miniature.concepts import held_out_pairs
from models.miniature.evaluate import CHECKPOINT, draw, to_images
from models.miniature.evaluate import load as load_miniature
from settings.sections.stories import StoryOptions
from storyboard.scoring.client import ScorerClient
from storyboard.scoring.clip_host import ClipHost
from storyboard.scoring.clip_model import Clip
from storyboard.scoring.pairs import Pair, Scorer
from storyboard.scoring.scorers import OPENAI_CLIP, OPENAI_THRESHOLD, OWN_THRESHOLD, STRANGER_THRESHOLD, Scorers
from tests.support.serving import ROOT, free_port, photo, wait_for
from tests.tiny.clip import tiny_clip

MINIATURE = Source(path=CHECKPOINT / "clip")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return Source(path=tiny_clip(tmp_path_factory.mktemp("clip")))


def noise(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


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
    def test_agrees_with_transformers(self, tiny: Source, text: str) -> None:
        """Also for pictures that are no squares, and texts that are cut."""
        for source, tokenizer in ((tiny, tiny.path), (MINIATURE, CHECKPOINT / "tokenizer")):
            assert source.path is not None
            assert tokenizer is not None
            picture = noise(1, 80, 48)
            expected = plain_cosine(source.path, tokenizer, picture, text)
            assert Clip.load(source, "cpu").cosines([(picture, text)]) == pytest.approx([expected], abs=1e-5)

    def test_a_pair_scores_the_same_in_every_company(self, tiny: Source) -> None:
        clip = Clip.load(tiny, "cpu")
        pairs: list[Pair] = [(noise(1), "a"), (noise(2, 90), noise(3)), (noise(4), "a longer text"), (noise(4), "b")]
        alone = [clip.cosines([pair])[0] for pair in pairs]
        assert clip.cosines(pairs) == pytest.approx(alone, abs=1e-5)
        assert len({round(score, 4) for score in alone}) == len(pairs)

    def test_a_picture_is_like_itself(self, tiny: Source) -> None:
        assert Clip.load(tiny, "cpu").cosines([(photo(), photo())]) == pytest.approx([1.0])

    def test_all_pictures_share_a_forward_and_all_texts_another(self, tiny: Source) -> None:
        clip = Clip.load(tiny, "cpu")
        batches: list[tuple[str, int]] = []
        for name in ("vision_model", "text_model"):
            getattr(clip._model, name).register_forward_hook(
                lambda _, __, output, name=name: batches.append((name, len(output.pooler_output)))
            )
        clip.cosines([(noise(1), "a"), (noise(2), "b"), (noise(3), noise(4))])
        assert sorted(batches) == [("text_model", 2), ("vision_model", 4)]

    def test_pickles_are_not_read(self, tiny: Source, tmp_path: Path) -> None:
        assert tiny.path is not None
        folder = shutil.copytree(tiny.path, tmp_path / "clip")
        torch.save({}, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        with pytest.raises(LoadFailed, match="is a pickle"):
            Clip.load(Source(path=folder), "cpu")


class TestTheMiniaturesClip:
    def test_the_right_prompt_scores_above_the_threshold_and_others_below(self) -> None:
        pairs = held_out_pairs()[::9]
        drawn = to_images(draw(load_miniature(CHECKPOINT), pairs, seed=40).images)
        clip = Clip.load(MINIATURE, "cpu")
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

    async def test_in_this_process(self, tiny: Source) -> None:
        scorers = Scorers(StoryOptions(story_clip_model=str(tiny.path)), ClipHost("cpu").compare)
        scorer: Scorer = scorers.of(full_catalogue(None).get("miniature"))
        assert await scorer.likeness(photo(), photo()) == pytest.approx(1)
        assert await scorer.score(photo(), "a") == pytest.approx(Clip.load(tiny, "cpu").cosines([(photo(), "a")])[0])


SERVICE = """
import bentoml
from storyboard.scoring.service import scorer_service

Worker = scorer_service("cpu")

@bentoml.service
class Front:
    worker = bentoml.depends(Worker)

    @bentoml.api
    def address(self) -> str:
        return Worker.url
"""


@contextmanager
def scorer_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Run the scorer behind a front, as on a server; yield its address and the pid of the whole."""
    (folder / "scoring_bento.py").write_text(SERVICE)
    port = free_port()
    environment = os.environ | {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bentoml", "serve", "scoring_bento:Front", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    front = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _is_ready(front), timeout_s=120)
        yield httpx.post(f"{front}/address", json={}).text.strip('"'), server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def scorer_process(server_pid: int) -> psutil.Process:
    processes = psutil.Process(server_pid).children(recursive=True)
    return next(process for process in processes if "runner-scorer" in process.cmdline())


@asynccontextmanager
async def client(url: str) -> AsyncIterator[ScorerClient]:
    client = ScorerClient(url)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with scorer_server(tmp_path_factory.mktemp("scorer")) as server:
        yield server


class TestTheServer:
    async def test_is_small_until_it_is_needed(self, served: tuple[str, int]) -> None:
        """First of its class: the others need it."""
        modules = [Path(file.path).name for file in scorer_process(served[1]).memory_maps()]
        assert not [name for name in modules if name.startswith("libtorch")]

    async def test_scores_as_here_and_calls_of_all_stories_share_batches(
        self, served: tuple[str, int], tiny: Source
    ) -> None:
        pairs: list[Pair] = [(noise(seed), f"text {seed}") for seed in range(40)]
        async with client(served[0]) as one, client(served[0]) as other:
            for pair in pairs[:14]:  # BentoML learns from so many how long a batch takes; they are run one by one.
                await one.compare(tiny, pair)
            before = await batches(served[0])
            stories = [(one if number % 2 else other).compare(tiny, pair) for number, pair in enumerate(pairs)]
            scores = await asyncio.gather(*stories)
            assert scores == pytest.approx(Clip.load(tiny, "cpu").cosines(pairs), abs=1e-5)
            calls, passes = (now - then for now, then in zip(await batches(served[0]), before, strict=True))
        assert calls == len(pairs)
        assert passes <= len(pairs) / 2

    async def test_several_clips_are_kept_apart(self, served: tuple[str, int], tiny: Source) -> None:
        pair = (photo(), "a red apple")
        async with client(served[0]) as scorer:
            scores = await asyncio.gather(*(scorer.compare(source, pair) for source in (tiny, MINIATURE) * 8))
        for place, source in enumerate((tiny, MINIATURE)):
            assert scores[place::2] == pytest.approx([Clip.load(source, "cpu").cosines([pair])[0]] * 8, abs=1e-5)

    async def test_says_why_a_clip_is_not_there(self, served: tuple[str, int], tmp_path: Path) -> None:
        async with client(served[0]) as scorer:
            with pytest.raises(LoadFailed, match=r"cannot be compared.*no-such-folder"):
                await scorer.compare(Source(path=tmp_path / "no-such-folder"), (photo(), "a"))

    async def test_is_busy_while_it_is_away_and_is_back_by_itself(self, served: tuple[str, int], tiny: Source) -> None:
        async with client(served[0]) as scorer:
            before = await scorer.compare(tiny, (photo(), "a"))
            scorer_process(served[1]).kill()
            with pytest.raises(Busy):
                await scorer.compare(tiny, (photo(), "a"))
            # The next call waits for the new process, which has nothing loaded.
            assert await scorer.compare(tiny, (photo(), "a")) == pytest.approx(before)


async def test_a_scorer_that_is_not_there_is_busy(tiny: Source) -> None:
    async with client(f"http://127.0.0.1:{free_port()}") as scorer:
        with pytest.raises(Busy, match="try again later"):
            await scorer.compare(tiny, (photo(), "a"))


async def batches(url: str) -> tuple[float, float]:
    """Calls and passes so far, by BentoML's own histogram."""
    transport = httpx.AsyncHTTPTransport(uds=url.removeprefix("file://") if url.startswith("file") else None)
    async with httpx.AsyncClient(transport=transport, base_url="http://scorer") as http:
        text = (await http.get("/metrics")).text
    return _total(text, "sum"), _total(text, "count")


def _total(text: str, kind: str) -> float:
    found = re.findall(rf"adaptive_batch_size_{kind}\{{[^}}]*\}} (\S+)", text)
    return sum(float(value) for value in found)
