"""What the page `/ui` keeps of a request with files, and how it writes one as code."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.openai.forms import MAX_N
from ui.reuse import Requests, left_out, made_together, missing
from ui.snippets import SNIPPETS
from ui.snippets.said import LAYERS, Said


def test_a_clip_is_made_again_with_the_image_that_it_ends_with_or_with_none_of_its_images(tmp_path: Path) -> None:
    files = {name: str(tmp_path / f"{name}.png") for name in ("image", "last_image")}
    for file in files.values():
        Path(file).touch()
    requests, fields = Requests(), {"task": "image-to-video", "prompt": "a red apple"}
    requests.keep("job", {**fields, **files})
    assert requests.files_of("job") == files
    assert missing({**fields, **files}) == left_out({**fields, **files}, ["prompt"]) == []
    Path(files["last_image"]).unlink()
    assert requests.files_of("job") == {}
    assert missing(fields) == ["image"]


@pytest.mark.parametrize("way", SNIPPETS)
def test_code_for_a_clip_says_what_it_ends_with(way: str) -> None:
    given = {"prompt": "a red apple", "seed": 1, "image": "/tmp/first.png", "last_image": "/tmp/last.png"}
    code = SNIPPETS[way](Said("http://localhost:3000", "image_to_video", given))
    assert "/tmp" not in code
    assert "last.png" in code or "last_image" in code


def test_layers_are_made_again_together() -> None:
    assert (made_together({"num_images": 4}, layered=True), made_together({}, layered=True)) == (4, 1)
    assert made_together({"num_images": 4}, layered=False) == 1


@pytest.mark.parametrize("way", SNIPPETS)
def test_code_for_layers_is_one_request_with_a_file_for_each(way: str) -> None:
    given = {"prompt": "a red apple", "seed": 5, "images": ["/tmp/a.png"], "num_images": 4}
    code = SNIPPETS[way](Said("http://localhost:3000", "edit", given, layered=True))
    if way in ("curl", "BentoML"):
        assert code == LAYERS
    else:
        assert {"OpenAI": "    n=4,", "jubako": "-n 4"}[way] in code
        assert {"OpenAI": "edit-{image.seed}-{number}.png", "jubako": "--seed 5"}[way] in code
    one = SNIPPETS[way](Said("http://localhost:3000", "edit", {**given, "num_images": 1}, layered=True))
    assert one == SNIPPETS[way](Said("http://localhost:3000", "edit", {**given, "num_images": 1}))


def test_code_for_more_images_than_openai_has_points_to_our_command() -> None:
    given = {"prompt": "a red apple", "seed": 5, "num_images": MAX_N}
    assert f"    n={MAX_N}," in SNIPPETS["OpenAI"](Said("http://localhost:3000", "text_to_image", given))
    more = Said("http://localhost:3000", "text_to_image", {**given, "num_images": MAX_N + 1})
    assert SNIPPETS["OpenAI"](more) == "# OpenAI's API makes at most 10 images at once; jubako makes all 11."
