"""What a conversation asks for: the last message of its user, and the images before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.openai.chat.forms import MAX_MESSAGES
from api.openai.image_references import data_url
from core.errors import InvalidRequest
from gateway.media.reading.decoding import MAX_IMAGES, check_count

_TEXTS = ("text", "input_text")
_IMAGES = ("image_url", "input_image")
_CALL = "image_generation_call"


@dataclass(frozen=True)
class Turn:
    place: str
    """Where the body has it."""
    prompt: str
    images: tuple[str, ...]
    """The message's images, as data URLs or base64."""
    earlier: tuple[str, ...]
    """The images of the last answer before it that has any, which the user may want to change."""
    is_alone: bool
    """Whether the conversation has no other message."""


def turn_of(items: Any, field: str, max_chars: int) -> Turn:
    """Return the turn of a list of messages and calls, or of a text; its prompt has `max_chars` characters at most.

    Raises InvalidRequest, which names the place.
    """
    if isinstance(items, str):
        return Turn(field, _checked_text(items, field, max_chars), (), (), is_alone=True)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidRequest(field, "must be a list of messages")
    if len(items) > MAX_MESSAGES:
        raise InvalidRequest(field, f"has {len(items)} messages; at most {MAX_MESSAGES} are allowed")
    number = next((number for number in reversed(range(len(items))) if items[number].get("role") == "user"), None)
    if number is None:
        raise InvalidRequest(field, "has no message of the user, which says what to generate")
    place = f"{field}[{number}].content"
    parts = list(_parts(items[number].get("content"), place))
    images = tuple(image for _, image in parts if image is not None)
    check_count(place, len(images), MAX_IMAGES)
    return Turn(
        place=place,
        prompt=_checked_text("\n".join(text for text, _ in parts if text is not None), place, max_chars),
        images=images,
        earlier=_last_images(items[:number], field),
        is_alone=len(items) == 1,
    )


def _parts(content: Any, place: str) -> Iterator[tuple[str | None, str | None]]:
    """Yield a message's parts as pairs (text, image), one of which is None."""
    if isinstance(content, str):
        yield content, None
        return
    if not isinstance(content, list):
        raise InvalidRequest(place, "must be text, or a list of texts and images")
    for number, part in enumerate(content):
        at = f"{place}[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _TEXTS and isinstance(part.get("text"), str):
            yield part["text"], None
        elif kind in _IMAGES:
            yield None, _image(part, at)
        else:
            raise InvalidRequest(at, "must be a text or an image; nothing else is understood here")


def _checked_text(text: str, place: str, max_chars: int) -> str:
    if len(text) > max_chars:
        raise InvalidRequest(place, f"has {len(text)} characters; at most {max_chars} are allowed")
    return text


def _image(part: Mapping[str, Any], place: str) -> str:
    value = part.get("image_url")
    # Chat has an object there, and responses have the address itself.
    address = value.get("url") if isinstance(value, dict) else value
    url: str = data_url(place, {"image_url": address, "file_id": part.get("file_id")})
    return url


def _last_images(items: Sequence[Mapping[str, Any]], field: str) -> tuple[str, ...]:
    for number in reversed(range(len(items))):
        item, place = items[number], f"{field}[{number}]"
        if item.get("type") == _CALL:
            if not isinstance(item.get("result"), str):
                raise InvalidRequest(f"{place}.result", "is missing: no images are kept here; send the image itself")
            return (item["result"],)
        images = item.get("images") if item.get("role") == "assistant" else None
        if isinstance(images, list) and images:
            check_count(f"{place}.images", len(images), MAX_IMAGES)
            return tuple(_image(image if isinstance(image, dict) else {}, f"{place}.images") for image in images)
    return ()
