"""Scenes by a language model, through any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import INTERNAL_SERVER_ERROR, TOO_MANY_REQUESTS
from typing import Any

import openai
from openai import AsyncOpenAI

from core.errors import PlanningFailed
from settings.sections.stories import StoryOptions
from storyboard.planning.outline import Outline, Unusable, outline_of, repair_of
from storyboard.scenes import Plan, PlanRequest

OPENAI_URL = "https://api.openai.com/v1"
MAX_RETRIES = 1
"""Retries by the client itself when an endpoint is away or busy, within the time for one answer."""
RETRY_S = 5
"""When our callers may retry while an endpoint is away or busy."""
OPTIONAL = ("temperature", "seed", "response_format")
"""Parameters that some endpoints and models refuse, and that planning can do without."""

log = logging.getLogger("jubako.storyboard")


class LanguageModelPlanner:
    """A `storyboard.scenes.Planner`. An unusable answer is sent back once, with what is wrong with it."""

    def __init__(self, options: StoryOptions) -> None:
        self._options = options

    async def plan(self, request: PlanRequest) -> Plan:
        """Ask for scenes. Raises PlanningFailed."""
        outline = outline_of(request)
        messages = outline.messages()
        wanted = {"temperature": request.temperature, "seed": request.seed, "response_format": _format(outline)}
        # A new client for every story: its connections belong to the event loop on which it is first used.
        async with self._client() as client:
            answer = await self._answer(client, messages, wanted)
            try:
                scenes = outline.read(answer)
            except Unusable as wrong:
                log.info("the language model's scenes are sent back: %s", wrong)
                answer = await self._answer(client, [*messages, *repair_of(answer, wrong)], wanted)
                scenes = self._read(outline, answer)
        return Plan(self._options.llm_model, tuple(scenes))

    def _client(self) -> AsyncOpenAI:
        options = self._options
        return AsyncOpenAI(
            # Endpoints without keys ignore it; the client insists on one.
            api_key=options.llm_key or "none",
            base_url=options.llm_url or OPENAI_URL,
            timeout=options.llm_timeout_s,
            max_retries=MAX_RETRIES,
        )

    def _read(self, outline: Outline, answer: str) -> list[Any]:
        try:
            return list(outline.read(answer))
        except Unusable as wrong:
            raise PlanningFailed(
                f"the language model {self._options.llm_model} gives no usable scenes, even after a correction: {wrong}"
            ) from wrong

    async def _answer(self, client: AsyncOpenAI, messages: list[dict[str, str]], wanted: dict[str, Any]) -> str:
        with self._failures():
            async with asyncio.timeout(self._options.llm_timeout_s):
                while True:
                    try:
                        return await self._complete(client, messages, wanted)
                    except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                        refused = [name for name in OPTIONAL if name in wanted and name in str(error)]
                        if not refused:
                            raise
                        log.warning("the language model's endpoint takes no %s; left out", " and ".join(refused))
                        for name in refused:
                            del wanted[name]

    async def _complete(self, client: AsyncOpenAI, messages: list[dict[str, str]], wanted: dict[str, Any]) -> str:
        completions: Any = client.chat.completions
        return _text_of(await completions.create(model=self._options.llm_model, messages=messages, **wanted))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Explain failures in our words, since the client's may contain the key."""
        try:
            yield
        except (TimeoutError, openai.APITimeoutError) as error:
            limit_s = self._options.llm_timeout_s
            raise PlanningFailed(f"the language model did not answer within {limit_s:g} s", RETRY_S) from error
        except openai.APIConnectionError as error:
            raise PlanningFailed("the language model's endpoint cannot be reached", RETRY_S) from error
        except openai.APIStatusError as error:
            log.warning("the language model's endpoint answers %d", error.status_code)
            passing = error.status_code == TOO_MANY_REQUESTS or error.status_code >= INTERNAL_SERVER_ERROR
            raise PlanningFailed(self._refusal(error.status_code), RETRY_S if passing else None) from error
        except openai.OpenAIError as error:
            raise PlanningFailed("the language model's endpoint does not answer with a chat completion") from error

    def _refusal(self, status: int) -> str:
        model = self._options.llm_model
        meanings = {
            400: "refuses the request",
            401: "does not accept this server's key",
            403: "does not accept this server's key",
            404: f"has no model {model}, or is not an OpenAI-compatible endpoint",
            422: "refuses the request",
            429: "has no quota or capacity left for this server",
        }
        return f"the language model's endpoint {meanings.get(status, 'failed')} ({status})"


def _format(outline: Outline) -> dict[str, Any]:
    schema = {"name": "storyboard", "strict": True, "schema": outline.schema}
    return {"type": "json_schema", "json_schema": schema}


def _text_of(completion: Any) -> str:
    """Return the first choice's text; empty for anything else that an endpoint sends with status 200."""
    # The client accepts any JSON as a completion, without checking types.
    try:
        text = completion.choices[0].message.content
    except (AttributeError, LookupError, TypeError):
        return ""
    return text if isinstance(text, str) else ""
