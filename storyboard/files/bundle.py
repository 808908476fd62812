"""A storyboard as files: a description, the frames, and the sheet; together as a zip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from storyboard.files.answer import answer_with, frame_file
from storyboard.files.sheet import contact_sheet
from storyboard.frames import Storyboard


@dataclass(frozen=True)
class BundledFile:
    name: str
    data: bytes
    media_type: str
    seed: int
    """Of the frame, or of the story."""
    skipped_steps: int = 0
    """Of the frame."""


def files_of(board: Storyboard) -> Iterator[BundledFile]:
    """Make `story.json`, whose `image` fields name the files of the frames, those, and `sheet.png`. Takes time."""
    output_format, seed = board.story.output_format, board.story.seed
    names = [f"frame_{frame.scene.number:03d}.{output_format}" for frame in board.frames]
    description = answer_with(board, names).model_dump_json(indent=2)
    yield BundledFile("story.json", description.encode(), "application/json", seed)
    for name, frame in zip(names, board.frames, strict=True):
        data = frame_file(frame, output_format)
        yield BundledFile(name, data, f"image/{output_format}", frame.picture.seed, frame.picture.skipped_steps)
    yield BundledFile("sheet.png", sheet_file(board), "image/png", seed)


def sheet_file(board: Storyboard) -> bytes:
    """Write the contact sheet as a PNG."""
    buffer = BytesIO()
    contact_sheet(board).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(board: Storyboard) -> bytes:
    """Write all files into a zip. Pictures are compressed already."""
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:
        for file in files_of(board):
            # A date of its own would make equal stories unequal files.
            archive.writestr(ZipInfo(file.name), file.data)
    return buffer.getvalue()
