"""The content policy reads prompts as those who weigh them do."""

from __future__ import annotations

import pytest

from core.errors import ContentPolicyViolation
from core.generation.request import GenerationRequest
from gateway.safety.blocked_words import BlockedWords
from gateway.safety.content_policy import ContentPolicy
from tests.support.engine.drawing import request

POLICY = ContentPolicy(BlockedWords.of(["blocked", "old barn"]))


@pytest.mark.parametrize(
    "prompt",
    [
        "a Blocked word",
        "(bl:1.0)ocked",
        "bl[(o)]cked",
        "bl[o]cked",
        "(old:1.2) barn",
        "old BREAK barn",
        "(old)1.0 barn",
        "old++ barn--",
    ],
)
async def test_no_syntax_hides_a_word(prompt: str) -> None:
    with pytest.raises(ContentPolicyViolation):
        await POLICY.check_request(asked(prompt))


async def test_others_pass() -> None:
    await POLICY.check_request(asked("a (barn:1.2) that is [old], un(un:1)blockedly 3 well-lit doors"))


def asked(prompt: str) -> GenerationRequest:
    return request().model_copy(update={"prompt": prompt})
