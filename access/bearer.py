"""The key that a request brings."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Scope


def bearer_key(scope: Scope) -> str:
    """Return the key of `Authorization: Bearer KEY`; empty without one."""
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
