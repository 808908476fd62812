"""Text on sheets and pages: finds a font with the letters, and breaks lines.

Pillow comes with one font, for English. Others are taken from the system if it has them. A text that no font can show
is left out, since boxes in place of letters say nothing.
"""

from __future__ import annotations

from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
)
"""Fonts to look for in the system's folders, in this order."""
NO_LETTER = "\U0010fffd"
"""A private-use character that no font has, so it is drawn as the font's mark for missing letters."""


def font_for(text: str, size_px: int) -> Font | None:
    """Return a font that has every letter of a text; None when there is none."""
    return next((font for font in _fonts(size_px) if _knows(font, text)), None)


def lines_of(text: str, font: Font, width_px: int, most: int) -> list[str]:
    """Break a text into at most `most` lines of this width; a text that is cut off ends in an ellipsis."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < most:
        count = _fitting(words, font, width_px)
        lines.append(" ".join(words[:count]))
        words = words[count:]
    if words:
        lines[-1] = _shortened(lines[-1], font, width_px)
    return lines


def _fitting(words: list[str], font: Font, width_px: int) -> int:
    """Return how many of the words fit on a line, at least one."""
    count = 1
    while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width_px:
        count += 1
    return count


def _shortened(line: str, font: Font, width_px: int) -> str:
    # A shortcut for long lines: no letter is narrower than a pixel.
    line = line[:width_px]
    while line and font.getlength(f"{line}…") > width_px:
        line = line[:-1].rstrip()
    return f"{line}…"


@cache
def _fonts(size_px: int) -> tuple[Font, ...]:
    own = ImageFont.load_default(size_px)
    assert isinstance(own, Font), "Pillow is built with FreeType"
    return (own, *(font for name in SYSTEM_FONTS if (font := _system_font(name, size_px)) is not None))


def _system_font(name: str, size_px: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size_px)
    except OSError:
        return None


def _knows(font: Font, text: str) -> bool:
    missing = bytes(font.getmask(NO_LETTER))
    return not any(bytes(font.getmask(letter)) == missing for letter in set(text) if not letter.isspace())
