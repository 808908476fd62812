"""Adjusts PNG files for Pillow, which refuses some metadata that browsers ignore and misreads some transparency."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from gateway.media.png import SIGNATURE

MAX_METADATA_BYTES = 2**20
"""Limit for texts and profile together, unpacked, which is Pillow's for a single one. Further ones are dropped."""
_METADATA = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_FRAME_BYTES = 12
"""What surrounds a chunk's content: length, name and checksum."""
_HEADER_DEPTH_AT = 24
_EIGHT_BITS = 255


def without_bad_metadata(data: bytes) -> bytes:
    """Return a PNG file without texts and profiles that are too large or damaged; any other file as it is."""
    if not data.startswith(SIGNATURE):
        return data
    kept, at, kept_from, left_bytes = [], len(SIGNATURE), 0, MAX_METADATA_BYTES
    while at + _FRAME_BYTES <= len(data):
        length_bytes, name = struct.unpack_from(">I4s", data, at)
        end = at + _FRAME_BYTES + length_bytes
        if name in _METADATA:
            size_bytes = _unpacked_bytes(name, data[at + 4 : end], left_bytes)
            if size_bytes is None:
                kept.append(data[kept_from:at])
                kept_from = end
            else:
                left_bytes -= size_bytes
        at = end
    return b"".join((*kept, data[kept_from:])) if kept else data


def _unpacked_bytes(name: bytes, chunk: bytes, most_bytes: int) -> int | None:
    """Return the unpacked size of a chunk of metadata; None when it is damaged or has more than `most_bytes`.

    `chunk` is its name, content and checksum.
    """
    content = chunk[4:-4]
    if zlib.crc32(chunk[:-4]).to_bytes(4, "big") != chunk[-4:]:
        return None
    try:
        packed = _packed_part(name, content)
        size_bytes = len(content if packed is None else zlib.decompressobj().decompress(packed, most_bytes + 1))
    except (zlib.error, ValueError):
        return None
    return size_bytes if size_bytes <= most_bytes else None


def _packed_part(name: bytes, content: bytes) -> bytes | None:
    """Return the compressed part of a chunk, if there is one. Raises ValueError for an unknown compression."""
    if name == b"tEXt":
        return None
    _, rest = content.split(b"\0", 1)
    if name == b"iTXt":
        packed, rest = rest[:1] != b"\0", rest[1:]
        if packed:
            # After the method come the language, the translated name, and the text.
            _, _, text = rest[1:].split(b"\0", 2)
            return text
        return None
    if not rest.startswith(b"\0"):
        raise ValueError("an unknown compression")
    return rest[1:]


def scale_transparency(file: Image.Image, data: bytes) -> None:
    """Scale the transparent colour of an opened PNG to the 8 bits of its pixels.

    Pillow leaves it at the file's depth, which is only right for 16-bit grey, where it leaves the pixels too.
    """
    clear, depth = file.info.get("transparency"), data[_HEADER_DEPTH_AT]
    if file.format != "PNG" or clear is None:
        return
    if file.mode == "L" and depth in (2, 4):
        file.info["transparency"] = clear * _EIGHT_BITS // (2**depth - 1)
    elif file.mode == "RGB" and depth == 16:
        file.info["transparency"] = tuple(level >> 8 for level in clear)
