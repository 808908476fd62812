"""A storyboard as a PDF: the sheet first, then a page for each frame."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageDraw

from storyboard.files.lettering import font_for, lines_of
from storyboard.files.sheet import FAINT, INK, PAPER, contact_sheet
from storyboard.frames import Frame, Storyboard

PAGE_PX = (1684, 1190)
"""A4, landscape."""
DPI = 144
MARGIN_PX = 72
PICTURE_PX = (1540, 860)
"""The largest part of its page that a frame takes."""
CAPTION_PX, CAPTION_LEADING_PX, CAPTION_LINES = 34, 46, 2
NUMBER_PX = 22


def pdf(board: Storyboard) -> bytes:
    """Write the pages of a storyboard. Takes time."""
    pages = [_sheet_page(board), *(_frame_page(frame, len(board.frames)) for frame in board.frames)]
    buffer = BytesIO()
    pages[0].save(buffer, "PDF", save_all=True, append_images=pages[1:], resolution=DPI, title=board.story.prompt)
    return buffer.getvalue()


def _sheet_page(board: Storyboard) -> Image.Image:
    return _page_with(contact_sheet(board), (PAGE_PX[0], PAGE_PX[1]), 0)


def _frame_page(frame: Frame, count: int) -> Image.Image:
    page = _page_with(frame.picture.image, PICTURE_PX, MARGIN_PX)
    draw = ImageDraw.Draw(page)
    top = MARGIN_PX + PICTURE_PX[1] + 24
    caption = frame.scene.caption or frame.scene.prompt
    if (font := font_for(caption, CAPTION_PX)) is not None:
        for number, line in enumerate(lines_of(caption, font, PICTURE_PX[0], CAPTION_LINES)):
            place = (PAGE_PX[0] / 2, top + number * CAPTION_LEADING_PX)
            draw.text(place, line, fill=INK, font=font, anchor="ma")
    where = f"{frame.scene.number} / {count}"
    draw.text((PAGE_PX[0] / 2, PAGE_PX[1] - 40), where, fill=FAINT, font=font_for(where, NUMBER_PX), anchor="ms")
    return page


def _page_with(picture: Image.Image, room: tuple[int, int], top: int) -> Image.Image:
    """A page with a picture in the middle, as large as fits."""
    scale = min(room[0] / picture.width, room[1] / picture.height)
    size = (round(picture.width * scale), round(picture.height * scale))
    page = Image.new("RGB", PAGE_PX, PAPER)
    place = ((PAGE_PX[0] - size[0]) // 2, top + (room[1] - size[1]) // 2)
    page.paste(picture.resize(size, Image.Resampling.LANCZOS), place)
    return page
