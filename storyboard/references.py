"""The reference images of a story, and which of them a frame follows. Knows no gateway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from core.generation.events import Picture
from core.generation.request import GenerationRequest
from storyboard.scenes import Scene


@dataclass(frozen=True)
class WantedReference:
    """A reference that a story needs."""

    name: str
    """The character's name; empty if the story has no characters, so that it is for all frames."""
    prompt: str
    """The prompt to draw it from if there is no image."""
    image: Image.Image | None = None
    """The caller's own."""


def worth_of(clip_score: float | None) -> float:
    """Return the value by which tries are compared: any scored try is better than an unscored one."""
    return -2.0 if clip_score is None else clip_score


@dataclass(frozen=True)
class DrawnReference:
    """A reference that was drawn for the story, the best of its tries."""

    name: str
    request: GenerationRequest
    picture: Picture
    clip_score: float | None
    """Cosine of picture and prompt; None when nothing could score it."""

    @property
    def worth(self) -> float:
        return worth_of(self.clip_score)


@dataclass(frozen=True)
class SceneReferences:
    """What the frame of one scene follows."""

    images: tuple[Image.Image, ...]
    names: tuple[str, ...] = ()
    """Names of the characters that they show."""
    legend: str = ""
    """Text before the prompt that says which image shows whom, if there are several."""
    hints: tuple[str, ...] = ()


@dataclass(frozen=True)
class References:
    """All references of a story, each with its character's name; without any, frames are drawn from text only."""

    named: tuple[tuple[str, Image.Image], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.named)

    @property
    def images(self) -> tuple[Image.Image, ...]:
        return tuple(image for _, image in self.named)

    def for_scene(self, scene: Scene, most: int) -> SceneReferences:
        """Return what a frame follows: its characters' images, as many as the model takes.

        A frame without characters follows the first character. Without names, all frames follow all images.
        """
        if not any(name for name, _ in self.named):
            return SceneReferences(self.images)
        there = [(name, image) for name, image in self.named if name in scene.characters]
        chosen, left_out = (there or list(self.named[:1]))[:most], there[most:]
        hints = []
        if not there:
            hints.append(f"characters: the scene names none of them, so it follows {chosen[0][0]}")
        if left_out:
            unseen = ", ".join(name for name, _ in left_out)
            hints.append(f"characters: the model takes {_counted(most)}, so it does not see {unseen}")
        names = tuple(name for name, _ in chosen)
        return SceneReferences(tuple(image for _, image in chosen), names, _legend(names), tuple(hints))


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    shown = ", ".join(f"image {number} is {name}" for number, name in enumerate(names, 1))
    return f"{shown[0].upper()}{shown[1:]}. "


def _counted(images: int) -> str:
    return "1 image" if images == 1 else f"{images} images"
