"""What a language model is asked for, and the form of its answer. Knows no client."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from storyboard.planning.vocabulary import Vocabulary, vocabulary_of
from storyboard.planning.vocabulary_prompts import Pictured, VocabularyPrompts
from storyboard.scenes import MAX_FRAMES, MIN_FRAMES, PlanRequest, Scene

MAX_TEXT_CHARS = 300
"""Limit for prompts and captions; the text encoders of most models read 77 tokens."""

_TASK = """\
You break a story into the scenes of a storyboard: {count} scenes that tell it from beginning to end.
Each scene becomes one picture. Its caption tells, in the language of the story, what happens in it.
{manner}
Answer with JSON alone, of this schema:
{schema}"""
_FREE = """\
Each scene's prompt, in English, is all that the painter sees: at most 40 words on who does what and where, then the
shot and the viewpoint, such as "Aldar standing in marketplace, front-facing". Name the main character in every prompt,
describe the same character and place in the same words, vary shots and viewpoints, and let no two prompts be equal."""
_NAMES = "The painter knows these characters by their names; write them exactly so: {names}."
_FEW_WORDS = """\
The painter can draw one thing on a background of one colour: each scene's concept and colour. Let one concept play the
main character in all scenes but those about another thing; let colours show place and mood, and differ from one scene
to the next."""
_REPAIR = "That cannot be used. {mistakes}. Answer again with the whole JSON, corrected."


class Unusable(Exception):
    """An answer is not an outline; the message tells the language model and the client why."""


def _written(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        raise ValueError("is empty")
    if len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"has {len(text)} characters; at most {MAX_TEXT_CHARS} are allowed")
    return text


def _all_different(scenes: Sequence[FreeScene]) -> Sequence[FreeScene]:
    prompts = [scene.prompt.casefold() for scene in scenes]
    if len(set(prompts)) < len(prompts):
        raise ValueError("two prompts are equal")
    return scenes


# Not `max_length`: strict structured output does not support lengths of texts.
Text = Annotated[str, AfterValidator(_written)]


class FreeScene(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompt: Text
    caption: Text


class Outline(Protocol):
    """Of one story."""

    @property
    def schema(self) -> dict[str, Any]: ...

    def messages(self) -> list[dict[str, str]]: ...

    def read(self, answer: str) -> list[Scene]:
        """Return the scenes. Raises Unusable."""


class _Outline:
    """What both kinds have in common: the task, the schema, and the parsing of JSON."""

    def __init__(self, request: PlanRequest, scenes: Any, manner: str) -> None:
        few, many = (request.num_frames,) * 2 if request.num_frames else (MIN_FRAMES, MAX_FRAMES)
        bounded = Annotated[scenes, Field(min_length=few, max_length=many)]
        self._model = create_model("Storyboard", __config__=ConfigDict(extra="forbid"), scenes=(bounded, ...))
        self._request = request
        self._manner = manner
        self._count = f"exactly {few}" if few == many else f"{few} to {many}"

    @property
    def schema(self) -> dict[str, Any]:
        return self._model.model_json_schema()

    def messages(self) -> list[dict[str, str]]:
        task = _TASK.format(count=self._count, manner=self._manner, schema=json.dumps(self.schema))
        return [{"role": "system", "content": task}, {"role": "user", "content": self._request.story}]

    def _scenes(self, answer: str) -> list[Any]:
        try:
            found: Any = self._model.model_validate_json(json_in(answer))
        except ValidationError as error:
            raise Unusable("; ".join(_said(each) for each in error.errors()[:5])) from error
        return list(found.scenes)


class FreeOutline(_Outline):
    """For models that take free words."""

    def __init__(self, request: PlanRequest) -> None:
        names = f"\n{_NAMES.format(names=', '.join(request.characters))}" if request.characters else ""
        super().__init__(request, Annotated[list[FreeScene], AfterValidator(_all_different)], _FREE + names)

    def read(self, answer: str) -> list[Scene]:
        trigger = self._request.trigger
        return [
            Scene(number, f"{trigger}, {scene.prompt}" if trigger else scene.prompt, scene.caption)
            for number, scene in enumerate(self._scenes(answer), 1)
        ]


class CastOutline(_Outline):
    """For models that can draw one thing on one colour; the language model may only name those."""

    def __init__(self, request: PlanRequest, vocabulary: Vocabulary) -> None:
        # With a trigger, every picture shows its character.
        concepts = (request.trigger,) if request.trigger else vocabulary.concepts
        one_of: Any = Literal
        scene: Any = create_model(
            "Scene",
            __config__=ConfigDict(extra="forbid"),
            concept=(one_of[concepts], ...),
            colour=(one_of[vocabulary.colours], ...),
            caption=(Text, ...),
        )
        super().__init__(request, list[scene], _FEW_WORDS)
        self._prompts = VocabularyPrompts(vocabulary, "", request.story, request.trigger)

    def read(self, answer: str) -> list[Scene]:
        scenes = self._scenes(answer)
        prompts = self._prompts.said(Pictured(scene.concept, scene.colour, scene.caption) for scene in scenes)
        return [
            Scene(number, prompt, scene.caption)
            for number, (prompt, scene) in enumerate(zip(prompts, scenes, strict=True), 1)
        ]


def outline_of(request: PlanRequest) -> Outline:
    vocabulary = vocabulary_of(request.entry)
    return FreeOutline(request) if vocabulary is None else CastOutline(request, vocabulary)


def repair_of(answer: str, wrong: Unusable) -> list[dict[str, str]]:
    """Return the messages that follow an unusable answer."""
    return [
        {"role": "assistant", "content": answer},
        {"role": "user", "content": _REPAIR.format(mistakes=wrong)},
    ]


def json_in(answer: str) -> str:
    """Return the JSON in an answer, without the reasoning before it and any fence or pleasantries around it."""
    answer = re.sub(r"<think>.*?</think>", "", answer, flags=re.DOTALL)
    return answer[answer.find("{") : answer.rfind("}") + 1] or answer


def _said(error: Any) -> str:
    place = ".".join(map(str, error["loc"]))
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
