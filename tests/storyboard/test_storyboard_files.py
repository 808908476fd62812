"""Storyboards as pictures and files, without any model; and records of jobs from before there were stories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from core.generation.events import Picture
from core.generation.request import GenerationRequest, Task
from jobs.job import GENERATION, Job
from storyboard.files.bundle import files_of, zipped
from storyboard.files.lettering import font_for, lines_of
from storyboard.files.pdf import pdf
from storyboard.files.sheet import BADGE_PX, CELL_PX, PAPER, columns_for, contact_sheet
from storyboard.frames import Frame, Storyboard
from storyboard.scenes import Plan, Scene
from storyboard.story import Story
from tests.support.engine.drawing import request

RED = (200, 30, 30)


def board(count: int = 8, caption: str = "He rides across the steppe", size: tuple[int, int] = (64, 48)) -> Storyboard:
    frames = tuple(frame(number, caption, size) for number in range(1, count + 1))
    plan = Plan("builtin", tuple(frame.scene for frame in frames))
    return Storyboard(Story(prompt="A story of a rider"), "tiny", plan, frames, 12.34)


def frame(number: int, caption: str, size: tuple[int, int]) -> Frame:
    scene = Scene(number, "a rider", caption)
    wanted: GenerationRequest = request(Task.TEXT_TO_IMAGE)
    return Frame(scene, wanted, Picture(0, number, Image.new("RGB", size, RED)), 0.5, 1)


@pytest.mark.parametrize(("frames", "columns"), [(1, 1), (5, 3), (6, 3), (7, 4), (8, 4), (9, 3), (10, 5)])
def test_grids_are_neither_tall_nor_wide(frames: int, columns: int) -> None:
    assert columns_for(frames) == columns


@pytest.mark.parametrize("count", [1, 6, 7, 8, 9, 10])
def test_a_sheet_has_every_frame(count: int) -> None:
    sheet = contact_sheet(board(count))
    red = sum(number for number, colour in sheet.getcolors(sheet.width * sheet.height) or () if colour == RED)
    of_one = CELL_PX * CELL_PX * 48 // 64
    assert count * (of_one - 2 * BADGE_PX**2) < red <= count * of_one
    assert sheet.getpixel((0, 0)) == Image.new("RGB", (1, 1), PAPER).getpixel((0, 0))


def test_a_caption_that_no_font_can_show_is_left_out() -> None:
    unknown = "\U0010fffe\U0010fffc"
    assert font_for(unknown, 20) is None
    assert contact_sheet(board(caption=unknown)).size == contact_sheet(board()).size


def test_captions_are_cut_to_their_lines() -> None:
    font = font_for("word", 17)
    assert font is not None
    lines = lines_of("word " * 60, font, 200, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(font.getlength(line) <= 200 for line in lines)
    assert lines_of("one two", font, 200, 3) == ["one two"]


def test_equal_storyboards_are_equal_zips() -> None:
    assert zipped(board()) == zipped(board())


def test_its_description_names_its_files() -> None:
    description, *others = files_of(board(6))
    told = json.loads(description.data)
    assert [frame["image"] for frame in told["frames"]] == [file.name for file in others[:-1]]
    assert (told["num_frames"], told["generation_time_seconds"]) == (6, 12.3)


def test_a_pdf_is_the_sheet_and_the_frames(tmp_path: Path) -> None:
    assert b"/Count 9" in pdf(board(8))


def test_records_of_earlier_releases_are_of_pictures() -> None:
    record = Job(request={"model": "tiny", "task": "text-to-image"}, output_format="png").model_dump(mode="json")
    del record["kind"]
    job = Job.model_validate(record)
    assert (job.kind, job.model, job.task) == (GENERATION, "tiny", "text-to-image")
