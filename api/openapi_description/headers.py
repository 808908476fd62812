"""The headers of answers, as OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_TEXT, _NUMBER, _TRUTH = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
DESCRIBED: dict[str, tuple[dict[str, str], str]] = {
    "X-Jubako-Model": (_TEXT, "The model that generated the file."),
    "X-Jubako-Seed": (_NUMBER, "The seed that was used: the same request with it gives the same file."),
    "X-Jubako-Queue-Ms": (_NUMBER, "Milliseconds that the request waited."),
    "X-Jubako-Run-Ms": (_NUMBER, "Milliseconds that generating took after that."),
    "X-Jubako-Skipped-Steps": (_NUMBER, "Denoising steps that were predicted instead of computed, of all images."),
    "X-Jubako-Tiled": (_TRUTH, "Whether it was decoded in tiles for want of memory, so that pixels may differ."),
    "X-Jubako-Sound": (_TRUTH, "Whether a video has sound. Absent for images."),
    "X-Jubako-Upscaler": (_TEXT, "What upscaled the image: a model, or Lanczos. Absent where nothing did."),
    "X-Jubako-Hint": (_TEXT, "What the model ignored of the request, such as words it does not know. Mostly absent."),
    "X-Jubako-Frames": (_NUMBER, "The frames of a storyboard that is answered as a file."),
    "X-Jubako-Error": (_TEXT, "Why such a storyboard is incomplete. Mostly absent."),
    "X-Request-ID": (_TEXT, "The answer's name in the server's log."),
    "Retry-After": (_NUMBER, "Seconds after which to try again; absent where that is no use."),
} | {
    f"X-RateLimit-{name}-{what}": (_NUMBER, f"{says} {what.lower()}{unit}; sent to callers that have such a limit.")
    for what in ("Requests", "Megapixels", "Steps")
    for name, says, unit in (
        ("Limit", "The limit of", " a minute"),
        ("Remaining", "What remains of the limit of", ""),
        ("Reset", "Seconds until there is more room for", ""),
    )
}
REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "description": "A name for this request, repeated in its answer and in the server's log.",
    "schema": {"type": "string", "pattern": r"^[A-Za-z0-9._:-]{1,128}$"},
}
FILE_HEADERS = tuple(
    f"X-Jubako-{name}"
    for name in ("Model", "Seed", "Queue-Ms", "Run-Ms", "Skipped-Steps", "Tiled", "Sound", "Upscaler", "Hint")
)
UPSCALED_HEADERS = ("X-Jubako-Upscaler", "X-Jubako-Hint")
RATE_HEADERS = tuple(name for name in DESCRIBED if name.startswith("X-RateLimit-"))


def header_components() -> dict[str, Any]:
    """Return the components that `header_references` lead to."""
    return {name: {"description": text, "schema": dict(schema)} for name, (schema, text) in DESCRIBED.items()}


def header_references(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
