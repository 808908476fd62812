"""Errors of storyboards, beside `core.errors.PlanningFailed`."""

from __future__ import annotations

from core.errors import LoadFailed
from core.wording import without_folders


class NotInitialized(LoadFailed):
    """The model or the character's LoRA that the operator chose cannot be used; `reason` says why."""

    code = "not_initialized"
    documented = "Generator not initialized. Set LORA_PATH environment variable."

    def __init__(self, reason: str) -> None:
        super().__init__(f"{self.documented} ({reason})")
        self.reason = without_folders(reason)
