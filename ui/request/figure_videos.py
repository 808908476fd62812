"""The videos that move the figure in an image: their labels, and which of them a model needs."""

from __future__ import annotations

from collections.abc import Collection

from client.results import Animation

LABELS = {
    "pose_video": "Poses",
    "face_video": "Face",
    "background_video": "Background",
    "mask_video": "Mask of the background",
}


def lacking(animation: Animation, given: Collection[str]) -> str | None:
    """Return a message about videos that a model needs beside those given; None if none is missing."""
    needed = [name for name in animation.needed if name not in given]
    if needed:
        return f"This model moves a figure as videos say. Still to be chosen: {_named(needed)}."
    other = [name for name in animation.together if name not in given]
    if other and len(other) < len(animation.together):
        return f"{_named(animation.together)} go together. Still to be chosen: {_named(other)}."
    return None


def _named(videos: Collection[str]) -> str:
    return " and ".join(LABELS[name] for name in videos)
