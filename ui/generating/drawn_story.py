"""A story that has been drawn: its files, and how to draw one of its frames again."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from PIL import Image

from ui.generating.story_progress_display import StoryProgressDisplay
from ui.image_parameters import parameters_of
from ui.temporary_files import new_folder

KEPT = (
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "num_inference_steps",
    "guidance_scale",
    "scheduler",
    "loras",
    "step_cache",
)
"""Parameters of a frame that are kept when it is drawn again."""


@dataclass(frozen=True)
class DrawnStory:
    prompt: str
    model: str
    frames: list[Path]
    captions: list[str]
    follows: Mapping[int, Sequence[str]]
    """By a frame's place among these, from 1: the characters whose references it follows."""
    named: Mapping[str, Path] = field(default_factory=dict)
    """References by their characters' names."""
    common: Sequence[Path] = ()
    """References that every frame follows."""

    @classmethod
    def of(cls, asked: Mapping[str, Any], files: Sequence[Path], display: StoryProgressDisplay) -> tuple[Self, Path]:
        """Return the story and its sheet; `files` are the frames, the sheet, and the references that were drawn."""
        # The sheet has the story's own seed.
        at = next(place for place, file in enumerate(files) if file.stem.endswith(f"-{asked['seed']}"))
        frames, sheet, drawn = list(files[:at]), files[at], files[at + 1 :]
        names = [each["name"] for each in asked.get("characters") or ()]
        references = [*map(Path, asked.get("images") or ()), *drawn]
        # Some frames may be missing after a deadline.
        numbers = sorted(display.frames) if len(display.frames) == len(frames) else list(range(1, len(frames) + 1))
        said = {scene["frame_number"]: scene["caption"] for scene in display.scenes}
        captions = [said.get(number, "") for number in numbers]
        follows = {
            place: display.follows[number] for place, number in enumerate(numbers, 1) if number in display.follows
        }
        named = dict(zip(names, references, strict=False))
        common = () if names else references or frames[:1]
        return cls(asked["prompt"], asked["model"], frames, captions, follows, named, common), sheet

    def again(self, number: int) -> tuple[str, dict[str, Any]]:
        """Return the API and the request of a frame, without its seed."""
        used = parameters_of(self.frames[number - 1]) or {}
        kept = {name: used[name] for name in KEPT if used.get(name) is not None} | {"model": self.model}
        if used.get("task") == "edit":
            return "edit", kept | {"images": list(map(str, self._followed(number)))}
        if used.get("reference_scale") is not None and number > 1:
            kept |= {"reference_image": self.frames[0], "reference_scale": used["reference_scale"]}
        return "text_to_image", kept

    def with_frame(self, number: int, file: Path) -> Self:
        frames = [file if place == number else other for place, other in enumerate(self.frames, 1)]
        return replace(self, frames=frames)

    def to_keep(self, sheet: Path | None) -> list[Path]:
        """Write a zip of all files, and a PDF with a page for each, the sheet first; return both, after the sheet."""
        folder = new_folder()
        archive, document = folder / "story.zip", folder / "story.pdf"
        named = {f"frame_{number:03d}{file.suffix}": file for number, file in enumerate(self.frames, 1)}
        named |= {"sheet.png": sheet} if sheet else {}
        with zipfile.ZipFile(archive, "w") as files:
            for name, file in named.items():
                files.write(file, name)
        first, *others = [Image.open(file).convert("RGB") for file in ([sheet] if sheet else []) + self.frames]
        first.save(document, save_all=True, append_images=others)
        return [*([sheet] if sheet else []), archive, document]

    def _followed(self, number: int) -> list[Path]:
        if not self.named:
            return list(self.common)
        # If the connection was lost, who is in the frame is unknown; the first is the main character.
        return [self.named[name] for name in self.follows.get(number) or list(self.named)[:1]]
