"""What an operator can set about safety; `settings.Settings` has these fields too."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field


class SafetyOptions(BaseModel):
    """Fields of the settings."""

    safety: Literal["off", "prompt", "image", "both"] = Field(
        default="off",
        description="What is checked: prompts by the words of JUBAKO_BLOCKED_WORDS, uploaded and generated images by "
        "a nudity detector (needs the extra `safety`), both, or nothing.",
    )
    blocked_words: Path | None = Field(
        default=None,
        description="A file of words and phrases that prompts must not contain, one per line; # starts a comment.",
    )
    safety_threshold: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="How sure the detector must be, 0 to 1, for an image to be refused.",
    )

    @property
    def checks_prompts(self) -> bool:
        return self.safety in ("prompt", "both")

    @property
    def checks_images(self) -> bool:
        return self.safety in ("image", "both")
