"""A drawn story on the page: which files are which, and what each frame is drawn again from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ui.generating.drawn_story import DrawnStory
from ui.generating.story_progress_display import StoryProgressDisplay

SEED = 7
ASKED: dict[str, Any] = {"prompt": "A fox meets an owl", "model": "tiny", "seed": SEED}
SCENES = [{"frame_number": number, "caption": f"Part {number}", "prompt": "a fox"} for number in (1, 2)]


def file(folder: Path, seed: int, **parameters: Any) -> Path:
    info = PngInfo()
    info.add_text("parameters", json.dumps({"prompt": "a fox", "width": 64, "seed": seed, **parameters}))
    path = folder / f"tiny-{seed}.png"
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def drawn(folder: Path, task: str, references: list[Path], **asked: Any) -> DrawnStory:
    frames = [file(folder, seed, task=task) for seed in (107, 17)]
    display = StoryProgressDisplay(scenes=SCENES, follows={2: ["owl", "fox"]})
    story, sheet = DrawnStory.of({**ASKED, **asked}, (*frames, file(folder, SEED), *references), display)
    assert (story.frames, sheet.name, story.captions) == (frames, "tiny-7.png", ["Part 1", "Part 2"])
    return story


def test_a_frame_that_is_an_edit_is_one_again_of_those_it_follows(tmp_path: Path) -> None:
    given, owl = file(tmp_path, 1), file(tmp_path, 2)
    cast = [{"name": "fox", "prompt": ""}, {"name": "owl", "prompt": ""}]
    story = drawn(tmp_path, "edit", [owl], characters=cast, images=[str(given)])
    kept = {"prompt": "a fox", "width": 64, "model": "tiny"}
    assert story.again(2) == ("edit", {**kept, "images": [str(owl), str(given)]})
    assert story.again(1) == ("edit", {**kept, "images": [str(given)]}), "nothing is known of it: the main character"


def test_frames_that_are_missing_leave_others_their_captions_and_characters(tmp_path: Path) -> None:
    cast = [{"name": name, "prompt": ""} for name in ("fox", "owl")]
    fox, owl, frame = (file(tmp_path, seed, task="edit") for seed in (1, 2, 17))
    display = StoryProgressDisplay(scenes=SCENES, frames={2: "data:"}, follows={2: ["owl"]})
    asked = {**ASKED, "characters": cast, "images": [str(fox), str(owl)]}
    story, _ = DrawnStory.of(asked, (frame, file(tmp_path, SEED)), display)
    assert story.captions == ["Part 2"]
    assert story.again(1)[1]["images"] == [str(owl)]


def test_without_characters_it_is_one_of_all_references_or_of_the_first_frame(tmp_path: Path) -> None:
    reference = file(tmp_path, 3)
    assert drawn(tmp_path, "edit", [reference]).again(1)[1]["images"] == [str(reference)]
    story = drawn(tmp_path, "edit", [])
    assert story.again(2)[1]["images"] == [str(story.frames[0])]
    assert drawn(tmp_path, "text-to-image", []).again(2)[0] == "text_to_image"


def test_what_is_kept_has_the_new_frame_and_the_new_sheet(tmp_path: Path) -> None:
    story = drawn(tmp_path, "text-to-image", [])
    changed, sheet = story.with_frame(2, file(tmp_path, 9)), file(tmp_path, 10)
    first, archive, document = changed.to_keep(sheet)
    assert (first, document.suffix) == (sheet, ".pdf")
    with ZipFile(archive) as kept:
        assert kept.namelist() == ["frame_001.png", "frame_002.png", "sheet.png"]
        assert kept.read("frame_002.png") == (tmp_path / "tiny-9.png").read_bytes()
