"""What the page `/ui` keeps of a request with files, and how it writes one as code."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from api.openai.forms import MAX_N
from client.calls import VIDEOS
from client.results import Animation
from client.terminal.command import parser
from ui.request.figure_videos import lacking
from ui.reuse import Requests, made_together, missing, parameters_left_out
from ui.snippets import SNIPPETS
from ui.snippets.snippet_request import LAYERS, SnippetRequest


def test_a_clip_is_made_again_with_the_image_that_it_ends_with_or_with_none_of_its_images(tmp_path: Path) -> None:
    files = {name: str(tmp_path / f"{name}.png") for name in ("image", "last_image")}
    for file in files.values():
        Path(file).touch()
    requests, fields = Requests(), {"task": "image-to-video", "prompt": "a red apple"}
    requests.keep("job", {**fields, **files})
    assert requests.files_of("job") == files
    assert missing({**fields, **files}) == parameters_left_out({**fields, **files}, ["prompt"]) == []
    Path(files["last_image"]).unlink()
    assert requests.files_of("job") == {}
    assert missing(fields) == ["image"]


def test_so_is_a_clip_that_follows_videos(tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("image", *VIDEOS)}
    for file in files.values():
        Path(file).touch()
    requests, fields = Requests(), {"task": "image-to-video", "prompt": "a fox dances"}
    requests.keep("job", {**fields, **files})
    assert requests.files_of("job") == files
    assert missing({**fields, **files}) == parameters_left_out({**fields, **files}, ["prompt"]) == []
    Path(files["mask_video"]).unlink()
    assert requests.files_of("job") == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "Still to be chosen: Poses and Face."),
        (["face_video", "background_video"], "Still to be chosen: Poses."),
        (["pose_video", "face_video", "mask_video"], "go together. Still to be chosen: Background."),
        (["pose_video", "face_video"], None),
        (VIDEOS, None),
    ],
)
def test_the_page_says_which_videos_a_model_still_needs(given: Sequence[str], said: str | None) -> None:
    found = lacking(Animation(VIDEOS[:2], VIDEOS[2:], 81), given)
    assert found is None if said is None else found is not None and found.endswith(said)


@pytest.mark.parametrize("way", SNIPPETS)
def test_code_for_a_clip_that_follows_videos_has_their_files(way: str) -> None:
    given = {
        "prompt": "a fox dances",
        "seed": 1,
        "image": "/tmp/fox.png",
        **{name: f"/tmp/{name}.mp4" for name in VIDEOS},
    }
    code = SNIPPETS[way](SnippetRequest("http://localhost:3000", "image_to_video", given))
    if way == "OpenAI":
        assert code.startswith("# OpenAI's API has no pose_video, face_video, background_video, mask_video;")
        return
    assert "/tmp" not in code
    wanted = {"curl": "-F {}=@{}.mp4", "BentoML": "{}=Path('{}.mp4'),", "jubako": "--{} {}.mp4"}[way]
    for name in VIDEOS:
        option = name.replace("_", "-") if way == "jubako" else name
        assert wanted.format(option, name) in code


def test_our_command_takes_those_options() -> None:
    code = SNIPPETS["jubako"](
        SnippetRequest(
            "http://here", "image_to_video", {"prompt": "a fox", "seed": 1, "image": "fox.png", "mask_video": "m.mp4"}
        )
    )
    chosen = parser().parse_args(shlex.split(code.replace("\\\n", " "))[1:])
    assert (chosen.image, chosen.mask_video, chosen.pose_video) == (["fox.png"], "m.mp4", None)


@pytest.mark.parametrize("way", SNIPPETS)
def test_code_for_a_clip_says_what_it_ends_with(way: str) -> None:
    given = {"prompt": "a red apple", "seed": 1, "image": "/tmp/first.png", "last_image": "/tmp/last.png"}
    code = SNIPPETS[way](SnippetRequest("http://localhost:3000", "image_to_video", given))
    assert "/tmp" not in code
    assert "last.png" in code or "last_image" in code


def test_layers_are_made_again_together() -> None:
    assert (made_together({"num_images": 4}, layered=True), made_together({}, layered=True)) == (4, 1)
    assert made_together({"num_images": 4}, layered=False) == 1


@pytest.mark.parametrize("way", SNIPPETS)
def test_code_for_layers_is_one_request_with_a_file_for_each(way: str) -> None:
    given = {"prompt": "a red apple", "seed": 5, "images": ["/tmp/a.png"], "num_images": 4}
    code = SNIPPETS[way](SnippetRequest("http://localhost:3000", "edit", given, layered=True))
    if way in ("curl", "BentoML"):
        assert code == LAYERS
    else:
        assert {"OpenAI": "    n=4,", "jubako": "-n 4"}[way] in code
        assert {"OpenAI": "edit-{image.seed}-{number}.png", "jubako": "--seed 5"}[way] in code
    one = SNIPPETS[way](SnippetRequest("http://localhost:3000", "edit", {**given, "num_images": 1}, layered=True))
    assert one == SNIPPETS[way](SnippetRequest("http://localhost:3000", "edit", {**given, "num_images": 1}))


def test_code_for_more_images_than_openai_has_points_to_our_command() -> None:
    given = {"prompt": "a red apple", "seed": 5, "num_images": MAX_N}
    assert f"    n={MAX_N}," in SNIPPETS["OpenAI"](SnippetRequest("http://localhost:3000", "text_to_image", given))
    more = SnippetRequest("http://localhost:3000", "text_to_image", {**given, "num_images": MAX_N + 1})
    assert SNIPPETS["OpenAI"](more) == "# OpenAI's API makes at most 10 images at once; jubako makes all 11."
