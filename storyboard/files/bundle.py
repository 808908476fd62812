"""A storyboard as files: a description, the frames, the sheet, the references; together as a zip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from PIL import Image

from storyboard.files.answer import answer_with, image_file
from storyboard.files.sheet import contact_sheet
from storyboard.frames import Storyboard


@dataclass(frozen=True)
class BundledFile:
    name: str
    data: bytes
    media_type: str
    seed: int
    """The seed of the frame or reference, or of the story."""
    skipped_steps: int = 0
    """The frame's predicted denoising steps."""


def files_of(board: Storyboard) -> Iterator[BundledFile]:
    """Yield `story.json`, in which `image` fields are file names; the frames; `sheet.png`; and the references that were
    drawn. Takes time.
    """
    output_format, seed = board.story.output_format, board.story.seed
    media_type = f"image/{output_format}"
    names = [f"frame_{frame.scene.number:03d}.{output_format}" for frame in board.frames]
    followed = [f"reference_{number:03d}.{output_format}" for number in range(1, len(board.references) + 1)]
    description = answer_with(board, names, followed).model_dump_json(indent=2)
    yield BundledFile("story.json", description.encode(), "application/json", seed)
    for name, frame in zip(names, board.frames, strict=True):
        data = image_file(frame, output_format)
        yield BundledFile(name, data, media_type, frame.picture.seed, frame.picture.skipped_steps)
    yield BundledFile("sheet.png", sheet_file(board), "image/png", seed)
    for name, reference in zip(followed, board.references, strict=True):
        yield BundledFile(name, image_file(reference, output_format), media_type, reference.picture.seed)


def sheet_file(board: Storyboard) -> bytes:
    """Write the contact sheet as a PNG."""
    return png_file(contact_sheet(board))


def png_file(sheet: Image.Image) -> bytes:
    """Write a sheet as a PNG."""
    buffer = BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def zipped(board: Storyboard) -> bytes:
    """Write all files into a zip. Pictures are compressed already."""
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:
        for file in files_of(board):
            # With the current date, equal stories would give different files.
            archive.writestr(ZipInfo(file.name), file.data)
    return buffer.getvalue()
