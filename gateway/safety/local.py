"""Safety checks in this process, for use without a server."""

from __future__ import annotations

import asyncio

from PIL import Image

from gateway.safety.blocked_words import read_blocked_words
from gateway.safety.content_policy import ContentPolicy
from gateway.safety.detection import as_seen, worst
from gateway.safety.service import label_scores, refuse_missing_detector
from settings.sections.safety import SafetyOptions


def policy_here(options: SafetyOptions) -> ContentPolicy:
    """Return the policy that the settings ask for. Raises StartError when the word list or the detector is missing."""
    words = read_blocked_words(options.blocked_words) if options.checks_prompts else None
    return ContentPolicy(words, LocalCheck(options.safety_threshold) if options.checks_images else None)


class LocalCheck:
    """The detector in this process."""

    def __init__(self, threshold: float) -> None:
        refuse_missing_detector()
        from nudenet import NudeDetector

        self._detector = NudeDetector()
        self._threshold = threshold

    async def refuses(self, images: list[Image.Image]) -> bool:
        """Whether one of the images must not be shown."""
        return await asyncio.to_thread(self._worst, images) >= self._threshold

    def _worst(self, images: list[Image.Image]) -> float:
        return worst(label_scores(self._detector.onnx_session, self._detector.input_name, as_seen(images)))
