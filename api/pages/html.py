"""HTML that may load nothing from other servers."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from string import Template

from starlette.responses import HTMLResponse

POLICY = "; ".join(
    (
        "default-src 'self'",
        # Swagger UI shows answers as blobs, and ReDoc runs its search in a worker loaded from one.
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "worker-src 'self' blob:",
        # Both set inline styles.
        "style-src 'self' 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'self'",
        "object-src 'none'",
    )
)
"""Browsers block everything else that a page tries to load."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # `/` answers programs with JSON.
    "Vary": "Accept",
}


def page(name: str, *, prefix: str, **texts: str) -> HTMLResponse:
    """Return a template's page with the head that all share; `prefix` is the path under which a proxy shows the server.

    `texts` are escaped, except those whose names end in `_html`.
    """
    shown = {key: text if key.endswith("_html") else escape(text) for key, text in texts.items()}
    shown["prefix"] = escape(prefix)
    head = _template("head").substitute(shown)
    return HTMLResponse(_template(name).substitute(shown, head_html=head), headers=_HEADERS)


@cache
def _template(name: str) -> Template:
    return Template((Path(__file__).parent / f"{name}.html").read_text(encoding="utf-8"))
