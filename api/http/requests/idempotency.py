"""Idempotency keys of requests, and what two requests with one key must have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header
from starlette.requests import Request

IdempotencyHeader = Annotated[str | None, Header(alias="Idempotency-Key", max_length=255)]


@dataclass(frozen=True)
class Idempotency:
    """An empty key counts as none: clients send one from an unset variable."""

    idempotency_key: str | None
    fingerprint: str | None

    @classmethod
    def of(cls, key: str | None, request: Request, fields: Mapping[str, Any]) -> Idempotency:
        """Return the key of a request with its fingerprint; `fields` are those of its body, files as bytes."""
        if key is None or not key.strip():
            return cls(None, None)
        # Of the fields, not the body: boundaries and order of the body differ between two tries.
        same = json.dumps([request.method, request.url.path, fields], sort_keys=True, default=_digest)
        return cls(key.strip(), hashlib.sha256(same.encode()).hexdigest())


def _digest(file: bytes) -> str:
    return hashlib.sha256(file).hexdigest()
