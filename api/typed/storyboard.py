"""The typed API that makes storyboards, with the storyboard contract's fields and errors."""

from __future__ import annotations

from typing import Self

from PIL import Image
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from api.http.requests.parsing import read_fields
from api.http.responses.disconnects import unless_disconnected
from api.storyboard.answers import answer, story_refusal
from api.storyboard.forms import FILES, Shape, story_of
from api.typed.forms import TypedCall, TypedForm
from core.errors import JubakoError
from settings import settings
from storyboard.characters import MOST_CHARACTERS
from storyboard.maker import Maker
from storyboard.story import REFERENCES, Story


class StoryForm(TypedForm, Story):
    """A story, and how to illustrate it."""

    # BentoML finds files in lists.
    images: list[Image.Image] = Field(default=[], max_length=MOST_CHARACTERS, description=REFERENCES)  # type: ignore[assignment]

    @classmethod
    async def _read(cls, request: Request) -> Self:
        fields = await read_fields(request, files=FILES)
        return cls.model_validate(dict(await story_of(fields, settings().max_image_px, Story)))

    @property
    def story(self) -> Story:
        return Story(**dict(self))


async def answer_with_storyboard(maker: Maker, call: TypedCall[StoryForm]) -> Response:
    """Make a storyboard; answer with it, or with the error."""
    try:
        return await unless_disconnected(call.request, answer(maker, call.form.story, Shape.JSON))
    except JubakoError as error:
        return story_refusal(error)
