"""Conversations as forms of the Images API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from starlette.requests import Request

from api.http.requests.parsing import read_body
from api.openai.chat.forms import MAX_MODALITIES, MAX_TOOLS, ImageParameters, StreamOptions
from api.openai.chat.turns import Turn, turn_of
from api.openai.foreign_fields import NAMES
from api.openai.forms import EditForm, GenerationForm
from api.openai.image_references import data_url
from api.openai.naming import entry_for, stand_in_hint
from api.openai.reading import form_from, form_of
from core.errors import InvalidRequest, fields_named
from core.generation.hints import header_text
from core.generation.request import Task
from models.catalogue.catalogue import Catalogue
from settings import settings

KindT = TypeVar("KindT", list[Any], dict[str, Any])
TOOL = "image_generation"
_OF_IMAGES = (ImageParameters.model_fields.keys() | NAMES.keys()) - {"response_format", "stream"}
"""Fields beside a conversation that are about images. Chat's `response_format` is about text."""
_OF_CHAT = {"messages", "model", "stream", "modalities", "image_config", "stream_options"}
_OF_RESPONSES = {"input", "model", "stream", "tools", "tool_choice"}
_OF_TOOLS = {"type", "action", "input_image_mask", "partial_images", "input_fidelity", "markup"}
_REPLAYED = ("previous_response_id", "conversation", "prompt")
"""Fields that refer to earlier responses, which are not kept here."""


@dataclass(frozen=True)
class ChatImageRequest:
    """The image that a conversation asks for, and how to answer."""

    form: GenerationForm | EditForm
    stream: bool
    with_usage: bool = False


async def read_chat(request: Request, catalogue: Catalogue) -> ChatImageRequest:
    """Read a chat. Raises InvalidRequest or UnknownModel."""
    body = await read_body(request)
    _check_modalities(_given(body, "modalities", list))
    turn = turn_of(body.get("messages"), "messages", settings().max_prompt_chars)
    fields = {name: value for name, value in body.items() if name in _OF_IMAGES and name != "partial_images"}
    config = _given(body, "image_config", dict)
    if config.get("aspect_ratio") is not None:
        fields["aspect_ratio"] = config["aspect_ratio"]
    form = await _form(turn, fields, catalogue, _ignored(body.keys() - fields.keys() - _OF_CHAT))
    options = form_from(_given(body, "stream_options", dict), StreamOptions)
    return ChatImageRequest(form, _streams(body), options.include_usage)


async def read_response(request: Request, catalogue: Catalogue) -> ChatImageRequest:
    """Read a request for a response. Raises InvalidRequest or UnknownModel."""
    body = await read_body(request)
    for name in _REPLAYED:
        if body.get(name) is not None:
            raise InvalidRequest(name, "is not supported: no responses are kept here; send the whole input")
    turn, tool = turn_of(body.get("input"), "input", settings().max_prompt_chars), _tool(_given(body, "tools", list))
    stream = _streams(body)
    if any(number not in (None, 1) for number in (body.get("n"), tool.get("n"))):
        raise InvalidRequest("n", "must be 1: a response has one image")
    known = {name: body[name] for name in _OF_IMAGES & body.keys()}
    fields = known | {name: value for name, value in tool.items() if name in _OF_IMAGES | {"input_fidelity", "markup"}}
    if not stream:
        fields.pop("partial_images", None)
    # If the tool names a model, the conversation's own model is one that writes text.
    fields["model"] = tool.get("model") or body.get("model")
    ignored = (body.keys() - known.keys() - _OF_RESPONSES) | (tool.keys() - _OF_IMAGES - _OF_TOOLS)
    turn = _by_action(turn, tool.get("action"))
    mask = tool.get("input_image_mask")
    if mask is not None:
        fields["mask"] = data_url("tools.input_image_mask", mask)
    return ChatImageRequest(await _form(turn, {**fields, "stream": stream}, catalogue, _ignored(ignored)), stream)


async def _form(
    turn: Turn, fields: Mapping[str, Any], catalogue: Catalogue, ignored: str | None
) -> GenerationForm | EditForm:
    name = fields.get("model")
    if name is not None and not isinstance(name, str):
        raise InvalidRequest("model", "must be a text")
    tasks = {Task.EDIT, Task.IMAGE_TO_IMAGE} if turn.images else {Task.TEXT_TO_IMAGE}
    entry = entry_for(catalogue, name, tasks)
    images = turn.images or (turn.earlier if Task.EDIT in entry.tasks else ())
    own = {**fields, "model": entry.id, "prompt": turn.prompt, **({"image": list(images)} if images else {})}
    if not images:
        if "mask" in own:
            raise InvalidRequest("tools.input_image_mask", "belongs to an image, and the input has none")
        own = {name: value for name, value in own.items() if name not in ("fit", "input_fidelity")}
    conversation = turn.place.partition("[")[0]
    names = {"prompt": turn.place, "image": conversation, "mask": "tools.input_image_mask"}
    form: GenerationForm | EditForm
    with fields_named(names):
        form = await form_of(own, EditForm) if images else await form_of(own, GenerationForm)
    unread = None if turn.is_alone else "of the messages only the last one of the user is read"
    hints = (stand_in_hint(catalogue, name, entry), ignored, unread)
    return form.named(names).hinted(*filter(None, hints))


def _given(body: Mapping[str, Any], name: str, kind: type[KindT]) -> KindT:
    """Return a field of the given type, or an empty value if it is missing. Raises InvalidRequest for another type."""
    value = body.get(name)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise InvalidRequest(name, "must be a list" if kind is list else "must be an object")
    return value


def _check_modalities(modalities: list[Any]) -> None:
    if len(modalities) > MAX_MODALITIES:
        raise InvalidRequest("modalities", f"has {len(modalities)} items; at most {MAX_MODALITIES} are allowed")
    if modalities and "image" not in modalities:
        raise InvalidRequest("modalities", "must have image: this server answers with images, and writes nothing")


def _tool(tools: list[Any]) -> Mapping[str, Any]:
    if len(tools) > MAX_TOOLS:
        raise InvalidRequest("tools", f"has {len(tools)} items; at most {MAX_TOOLS} are allowed")
    for tool in tools:
        if isinstance(tool, dict) and tool.get("type") == TOOL:
            return tool
    raise InvalidRequest("tools", f"must have {TOOL}: this server answers with images, and writes nothing")


def _by_action(turn: Turn, action: Any) -> Turn:
    match action:
        case None | "auto":
            return turn
        case "generate":
            return replace(turn, images=(), earlier=())
        case "edit" if turn.images or turn.earlier:
            return replace(turn, images=turn.images or turn.earlier, earlier=())
        case "edit":
            raise InvalidRequest("tools.action", "is edit, but the input has no image")
        case _:
            raise InvalidRequest("tools.action", "must be auto, generate or edit")


def _streams(body: Mapping[str, Any]) -> bool:
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidRequest("stream", "must be true or false")
    return bool(stream)


def _ignored(fields: set[str]) -> str | None:
    names = header_text(", ".join(sorted(fields)))
    return f"ignored, since nothing is written here: {names}" if fields else None
