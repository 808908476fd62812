"""Which addresses need no key, and which need an admin's. Everything not named here needs a key."""

from __future__ import annotations

import re

from starlette.types import Scope

PREFIXES = ("", "/inpainting", "/text2image", "/generator", "/openai", "/storyboard")
"""Where contracts are mounted; each has the pages below."""
PAGES = ("", "/", "/health", "/api/health", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json")
PROBES = ("/livez", "/readyz", "/healthz", "/metrics", "/docs.json")
"""BentoML's own: those who ask, such as Kubernetes and Prometheus, have no keys."""
OPEN = frozenset(PROBES) | {prefix + page for prefix in PREFIXES for page in PAGES}
OPEN_FOLDERS = ("/files/", "/static_content/")
"""Results, whose names cannot be guessed and which browsers load without headers; the pictures of BentoML's page."""
ADMIN = re.compile(r"/models/[^/]+/(load|unload)/?$|/pipeline/select-device/?$")


def is_open(scope: Scope) -> bool:
    """Whether anybody may ask; only for reading, and for a browser's question whether it may (CORS)."""
    if scope["type"] != "http":
        return False
    path: str = scope["path"]
    reads = scope["method"] in ("GET", "HEAD")
    return scope["method"] == "OPTIONS" or (reads and (path in OPEN or path.startswith(OPEN_FOLDERS)))


def needs_admin(scope: Scope) -> bool:
    """Whether it changes what the server has loaded, and where."""
    return ADMIN.search(scope["path"]) is not None


def is_counted(scope: Scope) -> bool:
    """Whether it counts as a request: reading, such as asking how a job is, does not; a WebSocket does once."""
    return scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "DELETE")
