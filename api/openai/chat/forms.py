"""What a client may send to the chat routes: conversations, and parameters of images beside them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from api.openai.forms import ImagesForm
from core.generation.draft import FitChoice
from core.generation.tuning import Tuning

MAX_MESSAGES = 10_000
MAX_TOOLS = 128
MAX_MODALITIES = 10
Conversation = Annotated[list[dict[str, Any]], Field(max_length=MAX_MESSAGES)]


class ImageParameters(Tuning, ImagesForm):
    """The image parameters of chats and responses; never used by itself."""

    fit: FitChoice = None
    response_format: Any = Field(default=None, description="Ignored: it is about text.")


class StreamOptions(BaseModel):
    include_usage: bool = False


class ImageConfig(BaseModel):
    """OpenRouter's."""

    aspect_ratio: str | None = Field(default=None, description="WIDTH:HEIGHT, in place of size.")


class ChatForm(ImageParameters):
    """`POST /v1/chat/completions`; fields that are about text are ignored."""

    messages: Conversation = Field(
        description="The user's last message is the prompt, with the images to edit. If it has none and the model can "
        "edit, the images of the assistant's last answer with any are edited.",
    )
    modalities: list[str] | None = Field(default=None, max_length=MAX_MODALITIES, description="With `image`, if given.")
    image_config: ImageConfig | None = None
    stream_options: StreamOptions | None = None


class ResponseForm(ImageParameters):
    """`POST /v1/responses`; fields that are about text are ignored."""

    input: str | Conversation = Field(
        description="The prompt, or a conversation: as `messages` of a chat, with `image_generation_call` items."
    )
    tools: list[dict[str, Any]] = Field(
        max_length=MAX_TOOLS,
        description="One must be of type `image_generation`; its fields are the image's parameters.",
    )
