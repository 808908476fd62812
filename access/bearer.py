"""The key that a request brings."""

from __future__ import annotations

from base64 import b64decode

from starlette.datastructures import Headers
from starlette.types import Scope


def bearer_key(scope: Scope) -> str:
    """Return the key of `Authorization: Bearer KEY`, the password of `Basic` of any user, or Azure's `api-key`.

    Empty without one.
    """
    headers = Headers(scope=scope)
    scheme, _, text = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return text.strip()
        case "basic":
            return _password(text.strip())
        case _:
            return headers.get("api-key", "").strip()


def _password(text: str) -> str:
    """Return what follows the colon, or all of it if there is none: some of A1111's clients have only one field."""
    try:
        user, colon, password = b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return ""
    return password if colon else user
