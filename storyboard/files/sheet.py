"""A storyboard as one picture: the frames in a grid, each with its number and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from PIL import Image, ImageDraw

from storyboard.files.lettering import font_for, lines_of
from storyboard.frames import Frame, Storyboard

CELL_PX = 320
"""Width of a frame on the sheet, whatever size it was generated in."""
GAP_PX = 28
MARGIN_PX = 44
CAPTION_PX, CAPTION_LINES, CAPTION_LEADING_PX = 17, 3, 23
TITLE_PX, TITLE_LINES, TITLE_LEADING_PX = 26, 3, 36
BADGE_PX = 34
PAPER, INK, FAINT = "#faf8f3", "#22242a", "#6d6f78"
MOST_COLUMNS = 5


@dataclass(frozen=True)
class Cell:
    """One frame on a sheet."""

    image: Image.Image
    number: int
    caption: str


def contact_sheet(board: Storyboard) -> Image.Image:
    """Draw the sheet of a storyboard. Takes time."""
    return sheet_with(board.story.prompt, [_cell(frame) for frame in board.frames])


def sheet_with(text: str, cells: Sequence[Cell]) -> Image.Image:
    """Draw a sheet with a title: RGB, as wide as its columns need. Takes time."""
    columns = columns_for(len(cells))
    picture_px = picture_height_px(*cells[0].image.size)
    cell_px = picture_px + CAPTION_LINES * CAPTION_LEADING_PX + 10
    width = 2 * MARGIN_PX + columns * CELL_PX + (columns - 1) * GAP_PX
    title = _Title(text, width - 2 * MARGIN_PX)
    rows = ceil(len(cells) / columns)
    top = MARGIN_PX + title.height_px
    sheet = Image.new("RGB", (width, top + rows * cell_px + (rows - 1) * GAP_PX + MARGIN_PX // 2), PAPER)
    draw = ImageDraw.Draw(sheet)
    title.draw(draw)
    for place, cell in enumerate(cells):
        row, column = divmod(place, columns)
        left = MARGIN_PX + column * (CELL_PX + GAP_PX)
        _paste(sheet, draw, cell, (left, top + row * (cell_px + GAP_PX), picture_px))
    return sheet


def columns_for(frames: int) -> int:
    """Return the number of columns for two rows, or three where two rows would be too wide."""
    rows = 3 if frames == 9 else 2
    return max(1, min(MOST_COLUMNS, ceil(frames / rows)))


class _Title:
    def __init__(self, text: str, width_px: int) -> None:
        self._font = font_for(text, TITLE_PX)
        self._lines = lines_of(text, self._font, width_px, TITLE_LINES) if self._font else []

    @property
    def height_px(self) -> int:
        return len(self._lines) * TITLE_LEADING_PX + (16 if self._lines else 0)

    def draw(self, draw: ImageDraw.ImageDraw) -> None:
        for number, line in enumerate(self._lines):
            draw.text((MARGIN_PX, MARGIN_PX + number * TITLE_LEADING_PX - 8), line, fill=INK, font=self._font)


def _cell(frame: Frame) -> Cell:
    return Cell(frame.picture.image, frame.scene.number, frame.scene.caption or frame.scene.prompt)


def picture_height_px(width: int, height: int) -> int:
    """Return the height of all frames on a sheet, given the size of the first one."""
    return round(CELL_PX * height / width)


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, place: tuple[int, int, int]) -> None:
    left, top, height = place
    sheet.paste(cell.image.resize((CELL_PX, height), Image.Resampling.LANCZOS), (left, top))
    draw.rectangle((left - 1, top - 1, left + CELL_PX, top + height), outline=FAINT)
    _number(draw, cell.number, left + 8, top + 8)
    if (font := font_for(cell.caption, CAPTION_PX)) is not None:
        for number, line in enumerate(lines_of(cell.caption, font, CELL_PX, CAPTION_LINES)):
            draw.text((left, top + height + 8 + number * CAPTION_LEADING_PX), line, fill=INK, font=font)


def _number(draw: ImageDraw.ImageDraw, number: int, left: int, top: int) -> None:
    draw.ellipse((left, top, left + BADGE_PX, top + BADGE_PX), fill=PAPER, outline=INK)
    font = font_for(str(number), CAPTION_PX)
    draw.text((left + BADGE_PX / 2, top + BADGE_PX / 2), str(number), fill=INK, font=font, anchor="mm")
