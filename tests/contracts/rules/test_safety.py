"""Checks of prompts and pictures: the real detector, and real servers that use it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from core.errors import ContentPolicyViolation, StartError
from core.generation.events import Clip, Picture
from core.generation.request import GenerationRequest, Task
from gateway.safety.blocked_words import BlockedWords, read_blocked_words
from gateway.safety.content_policy import ContentPolicy
from gateway.safety.detection import LABELS, as_seen, worst
from gateway.safety.local import policy_here
from gateway.safety.service import label_scores, safety_services
from settings.sections.safety import SafetyOptions
from tests.support.servers.serving import parse_events, photo, png, serving, wait_for, write_tiny_catalogue
from tests.support.web import client_of

nudenet = pytest.importorskip("nudenet", reason="needs the extra `safety`")

RED_APPLE = {"prompt": "a red apple", "seed": 7}
EVERYTHING = "0.000001"
"""A threshold that every picture passes."""


class TestWords:
    words = BlockedWords.of(["# a comment", "", "Grüne Birne", "naked", "裸体"])

    @pytest.mark.parametrize(
        ("prompt", "blocked"),
        [
            ("a red apple", False),
            ("a NAKED tree", True),
            ("nákéd", True),
            ("na\u200bked", True),
            ("ＮＡＫＥＤ", True),
            ("a naked_tree", True),
            ("half-naked.", True),
            ("a nakedness", False),
            ("eine grune,  birne", True),
            ("eine grüne Birnenhecke", False),
            ("一幅裸体画", True),
            ("a comment", False),
        ],
    )
    def test_whole_words_are_found_however_they_are_written(self, prompt: str, blocked: bool) -> None:
        assert self.words.are_in(prompt) is blocked

    def test_a_check_without_words_stops_the_start(self, tmp_path: Path) -> None:
        empty = tmp_path / "words"
        empty.write_text("# nothing\n")
        for file in (None, tmp_path / "none", empty):
            with pytest.raises(StartError, match="JUBAKO_BLOCKED_WORDS"):
                read_blocked_words(file)


class Detector:
    """The real detector in this process; refuses what has a face in place of what is refused otherwise."""

    def __init__(self) -> None:
        detector = nudenet.NudeDetector()
        self.run = detector.onnx_session, detector.input_name

    def faces(self, images: list[Image.Image]) -> list[float]:
        scores = label_scores(*self.run, as_seen(images))
        found: list[float] = scores[:, LABELS.index("FACE_FEMALE")].tolist()
        return found

    async def refuses(self, images: list[Image.Image]) -> bool:
        return max(self.faces(images)) > 0.5


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    """A photograph of Grace Hopper that comes with matplotlib."""
    cbook = pytest.importorskip("matplotlib.cbook", reason="needs the extra `bench`")
    return Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


class TestTheDetector:
    def test_its_labels_are_ours(self) -> None:
        assert tuple(vars(nudenet.nudenet)["__labels"]) == LABELS

    def test_it_sees_a_face_where_there_is_one(self, detector: Detector, portrait: Image.Image) -> None:
        with_face, without = detector.faces([portrait, photo()])
        assert with_face > 0.7
        assert without < 0.1

    def test_pictures_are_prepared_as_it_prepares_them(self) -> None:
        picture = Image.effect_noise((320, 200), 80).convert("RGB")
        blob = nudenet.nudenet._read_image(np.asarray(picture), 320)[0]
        # Its double swap of channels leaves the order of the array.
        np.testing.assert_allclose(blob[0].transpose(1, 2, 0), as_seen([picture])[0] / 255, atol=1e-6)

    def test_only_what_is_refused_counts(self) -> None:
        scores = np.zeros((2, len(LABELS)), np.float32)
        scores[1, LABELS.index("FACE_FEMALE")] = 0.9
        assert worst(scores) == 0
        scores[1, LABELS.index("BUTTOCKS_EXPOSED")] = 0.75
        assert worst(scores) == 0.75


class TestThePolicy:
    @staticmethod
    def request(**fields: Any) -> GenerationRequest:
        usual = {"width": 64, "height": 64, "num_inference_steps": 1, "guidance_scale": 1, "seed": 0}
        return GenerationRequest.model_validate(
            {"model": "tiny", "task": Task.EDIT, "prompt": "", "scheduler": "ddim", **usual, **fields}
        )

    async def test_a_negative_prompt_may_name_what_it_keeps_out(self) -> None:
        policy = ContentPolicy(BlockedWords.of(["naked"]))
        await policy.check_request(self.request(prompt="a tree", negative_prompt="naked"))
        with pytest.raises(ContentPolicyViolation, match="prompt: is refused"):
            await policy.check_request(self.request(prompt="a naked tree"))

    @pytest.mark.parametrize("field", ["image", "images", "last_image", "control_image", "reference_image"])
    async def test_every_upload_is_looked_at(self, field: str, detector: Detector, portrait: Image.Image) -> None:
        policy = ContentPolicy(pictures=detector)
        await policy.check_request(self.request(**{field: (photo(),) if field == "images" else photo()}))
        with pytest.raises(ContentPolicyViolation, match=f"{field}: is refused"):
            await policy.check_request(self.request(**{field: (photo(), portrait) if field == "images" else portrait}))

    async def test_every_frame_is_looked_at(self, detector: Detector, portrait: Image.Image) -> None:
        policy = ContentPolicy(pictures=detector)
        await policy.check_result(Clip(0, 7, (photo(), photo()), 8))
        for result in (Picture(0, 7, portrait), Clip(0, 7, (photo(), portrait), 8)):
            with pytest.raises(ContentPolicyViolation, match="the result"):
                await policy.check_result(result)


async def test_a_process_without_a_server_checks_as_well(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("naked\n")
    options = SafetyOptions(safety="both", blocked_words=tmp_path / "words", safety_threshold=float(EVERYTHING))
    with pytest.raises(ContentPolicyViolation, match="prompt"):
        await policy_here(options).check_request(TestThePolicy.request(prompt="a naked tree"))
    with pytest.raises(ContentPolicyViolation, match="image"):
        await policy_here(options).check_request(TestThePolicy.request(image=photo()))
    await policy_here(SafetyOptions()).check_request(TestThePolicy.request(prompt="a naked tree", image=photo()))


def test_nothing_is_started_when_pictures_are_not_checked() -> None:
    assert safety_services(SafetyOptions()) == {}
    assert safety_services(SafetyOptions(safety="prompt")) == {}
    assert len(safety_services(SafetyOptions(safety="image"))) == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("safety")
    (folder / "words").write_text("naked\n")
    return folder


@pytest.fixture(scope="module")
def strict(folder: Path) -> Iterator[httpx.Client]:
    """A server that refuses every picture, so that what happens then can be seen."""
    settings = {"models": "tiny", "safety": "image", "safety_threshold": EVERYTHING}
    with (
        serving(write_tiny_catalogue(folder), folder / "log", **settings) as url,
        client_of(url) as client,
    ):
        yield client


class TestARefusedPicture:
    def test_is_an_error_of_each_contract(self, strict: httpx.Client) -> None:
        answer = strict.post("/text_to_image", json=RED_APPLE)
        assert answer.status_code == 400
        assert answer.json()["code"] == "content_policy_violation"
        openai = strict.post("/v1/images/generations", json={**RED_APPLE, "model": "tiny"})
        assert (openai.status_code, openai.json()["error"]["code"]) == (400, "content_policy_violation")
        messages = [{"role": "user", "content": "a red apple"}]
        chat = strict.post("/v1/chat/completions", json={"model": "tiny", "messages": messages})
        assert (chat.status_code, chat.json()["error"]["code"]) == (400, "content_policy_violation")
        inference = strict.post("/models/tiny", json={"inputs": "a red apple"})
        assert (inference.status_code, inference.json()["code"]) == (400, "content_policy_violation")

    def test_does_not_get_into_a_stream(self, strict: httpx.Client) -> None:
        events = parse_events(strict.post("/stream", json={**RED_APPLE, "preview_every": 1}).iter_text())
        assert not {"preview", "image", "done"} & {event.name for event in events}
        assert events[-1].data["code"] == "content_policy_violation"
        response = {"model": "tiny", "input": "a red apple", "tools": [{"type": "image_generation"}], "stream": True}
        failed = parse_events(strict.post("/v1/responses", json=response).iter_text())[-1]
        assert (failed.name, failed.data["response"]["output"]) == ("response.failed", [])
        assert "content policy" in failed.data["response"]["error"]["message"]

    def test_fails_a_job_with_the_reason(self, strict: httpx.Client) -> None:
        session = strict.post("/api/tiny/t2i", json=RED_APPLE).json()["session_id"]
        wait_for(lambda: strict.get(f"/api/{session}/status").json()["status"] == "failed")
        status = strict.get(f"/api/{session}/status").json()
        assert "content policy" in status["error"]
        assert status["result_url"] is None

    def test_is_not_drawn_on(self, strict: httpx.Client) -> None:
        answer = strict.post("/image_to_image", data=RED_APPLE, files={"image": png(photo())})
        assert answer.status_code == 400
        assert (answer.json()["code"], answer.json()["field"]) == ("content_policy_violation", "image")


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[httpx.Client]:
    own = tmp_path_factory.mktemp("usual")
    settings = {"models": "tiny", "safety": "both", "blocked_words": str(folder / "words")}
    with (
        serving(write_tiny_catalogue(own), own / "log", **settings) as url,
        client_of(url) as client,
    ):
        yield client


class TestACheckingServer:
    def test_a_blocked_word_is_refused_and_not_repeated(self, usual: httpx.Client) -> None:
        answer = usual.post("/text_to_image", json={"prompt": "a Náked tree"})
        assert answer.status_code == 400
        assert (answer.json()["code"], answer.json()["field"]) == ("content_policy_violation", "prompt")
        assert "naked" not in answer.text.casefold()
        assert usual.post("/api/tiny/t2i", json={"prompt": "a naked tree"}).status_code == 400

    def test_what_is_allowed_is_drawn(self, usual: httpx.Client) -> None:
        answer = usual.post("/image_to_image", data=RED_APPLE, files={"image": png(photo())})
        assert answer.headers["content-type"] == "image/png"

    def test_previews_are_withheld(self, usual: httpx.Client) -> None:
        asked = {**RED_APPLE, "preview_every": 1, "progress": True}
        names = [event.name for event in parse_events(usual.post("/stream", json=asked).iter_text())]
        assert names.count("step") == 4
        assert "preview" not in names
        assert names[-2:] == ["image", "done"]

    def test_many_at_once_are_all_checked(self, usual: httpx.Client) -> None:
        """BentoML's dispatcher gives up what it expects to be late; nothing may be."""
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: usual.post("/text_to_image", json=RED_APPLE), range(24)))
        assert {answer.status_code for answer in answers} == {200}
