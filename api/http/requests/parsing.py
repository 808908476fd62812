"""Request bodies as plain dictionaries: JSON, multipart or URL-encoded, with uploads as bytes.

BentoML's own parser is not used: it would download any URL given in place of a file, and read a prompt such as
`42` as a number. Here a file is an upload or base64 text (`base64_text.py`), and no URL is ever followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.http.refusals import InvalidForm
from api.http.requests.base64_text import decoded_base64
from core.errors import InvalidRequest
from settings import settings

ModelT = TypeVar("ModelT", bound=BaseModel)

_JSON = "application/json"
_FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")
_ONE_OF_SEVERAL = re.compile(r"(\w+)\[(\d{0,4})\]")
"""How clients name several files of one field: `image[]`, or `image[0]` and `image[1]`."""


class _Repeated(list[Any]):
    """The values of a field that occurs several times in a form."""


def body_type(headers: Headers) -> str:
    """Return the media type of a body, such as `multipart/form-data`; empty if there is none."""
    return headers.get("content-type", "").split(";")[0].strip().lower()


async def read_body(request: Request) -> dict[str, Any]:
    """Return the fields of a body as they came: files of a form as uploads. Raises InvalidRequest."""
    media_type = body_type(request.headers)
    is_form = media_type in _FORM_TYPES and not await _is_json_in_disguise(request, media_type)
    return await _read_form(request) if is_form else await _read_json(request)


async def read_fields(request: Request, files: Collection[str]) -> dict[str, Any]:
    """Return the fields of a body; those named in `files` are lists of bytes. Raises InvalidRequest.

    Of a field that is repeated in a form, the last value counts; of repeated files and JSON objects, all do.
    """
    return await plain_values(await read_body(request), files)


async def read_model(request: Request, kind: type[ModelT]) -> ModelT:
    """Return a body without files as a model. Raises InvalidRequest."""
    try:
        return kind.model_validate(await read_fields(request, files=()))
    except ValidationError as error:
        raise InvalidForm(error) from error


async def _is_json_in_disguise(request: Request, media_type: str) -> bool:
    """Whether a body is JSON labelled as a form, which is what `curl -d` sends without a content type."""
    return media_type == _FORM_TYPES[1] and (await request.body()).lstrip().startswith(b"{")


async def plain_values(fields: Mapping[str, Any], files: Collection[str]) -> dict[str, Any]:
    """Return the fields that are present, files as lists of bytes. Raises InvalidRequest."""
    fields = gathered(fields, files)
    _check_encodable({name: value for name, value in fields.items() if not _holds_uploads(value)})
    return {
        name: [await _as_bytes(name, file) for file in _listed(value)] if name in files else _as_value(name, value)
        for name, value in fields.items()
        if not _is_absent(value)
    }


def gathered(fields: Mapping[str, Any], files: Collection[str]) -> dict[str, Any]:
    """Return the fields with the numbered files of each, in their order, as one list under the field's own name."""
    found = [(match, name) for name in fields if (match := _ONE_OF_SEVERAL.fullmatch(name)) and match[1] in files]
    named = dict(fields)
    for field, _, name in sorted((match[1], int(match[2] or -1), name) for match, name in found):
        before, value = named.get(field), named.pop(name)
        if not _is_absent(value):
            named[field] = [*([] if _is_absent(before) else _listed(before)), *_listed(value)]
    return named


async def _read_form(request: Request) -> dict[str, Any]:
    try:
        # Text gets the limit of the whole body too, since images come as base64.
        form = await request.form(max_part_size=settings().max_upload_bytes)
    except HTTPException as error:
        raise InvalidRequest("body", f"is not a readable form: {error.detail}") from error
    return {name: _form_field([await _form_value(name, value) for value in form.getlist(name)]) for name in form}


def _form_field(values: list[Any]) -> Any:
    present = [value for value in values if not _is_absent(value)]
    # Clients generated from our description send a list of objects like this.
    if len(present) > 1 and all(isinstance(value, str) and value.startswith("{") for value in present):
        return f"[{','.join(present)}]"
    return _Repeated(present) if len(present) > 1 else next(iter(present), None)


async def _form_value(name: str, value: str | UploadFile) -> Any:
    if isinstance(value, str):
        return _unquoted(value)
    # Swagger UI and the like send text as a JSON file.
    return _unquoted(await _text_of(name, value)) if _is_json(value) else value


def _is_json(part: UploadFile) -> bool:
    return (part.content_type or "").partition(";")[0].strip().lower() == _JSON


async def _text_of(name: str, part: UploadFile) -> str:
    try:
        return (await part.read()).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(name, "is not text in UTF-8") from error


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


async def _read_json(request: Request) -> dict[str, Any]:
    try:
        fields = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("body", f"is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidRequest("body", "must be a JSON object of fields")
    return fields


def _unquoted(text: str) -> str | None:
    """Undo what BentoML's clients do to the text fields of a form: they encode each as JSON."""
    if text in ("", "null"):
        return None
    if text.startswith('"') and text.endswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def _is_absent(value: Any) -> bool:
    """Whether a field was left empty; browsers send an empty file field as a file without a name."""
    return value is None or (isinstance(value, UploadFile) and not value.filename and not value.size)


async def _as_bytes(name: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, UploadFile):
        return await value.read()
    if not isinstance(value, str):
        raise InvalidRequest(name, "must be an uploaded file or base64 text")
    try:
        return decoded_base64(value)
    except ValueError as error:
        if not value.isascii() and (raw := _as_sent(value)):
            return raw
        raise InvalidRequest(
            name, "must be an uploaded file or base64 text; addresses and file names are not followed"
        ) from error


def _as_sent(text: str) -> bytes | None:
    """Return the bytes of a part without a file name, which Starlette decoded as Latin-1 if it was not text."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return None


def _as_value(name: str, value: Any) -> Any:
    if _holds_uploads(value):
        raise InvalidRequest(name, "must be a text field, not a file")
    return value[-1] if isinstance(value, _Repeated) else value


def _holds_uploads(value: Any) -> bool:
    return any(isinstance(item, UploadFile) for item in _listed(value))


def _check_encodable(fields: Mapping[str, Any]) -> None:
    """Refuse lone surrogates: JSON can contain them, but no tokenizer and no response can encode them."""
    unchecked: list[Any] = [fields]
    while unchecked:
        value = unchecked.pop()
        if isinstance(value, dict):
            unchecked += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            unchecked += value
        elif isinstance(value, str) and not _is_encodable(value):
            raise InvalidRequest("body", "has characters that are not valid text")


def _is_encodable(text: str) -> bool:
    # A shortcut for base64, of which an encoded copy would be large.
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
