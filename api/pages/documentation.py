"""Swagger UI, to try out every operation, and ReDoc, to read."""

from __future__ import annotations

from starlette.responses import HTMLResponse

from api.pages.html import page


def swagger_page(title: str, prefix: str, root: str) -> HTMLResponse:
    """Return Swagger UI; the server's pages are under `prefix`, the application's under `root`."""
    return page("documentation", title=title, prefix=prefix, root=root, viewer="swagger", bundle="swagger-ui-bundle.js")


def redoc_page(title: str, prefix: str, root: str) -> HTMLResponse:
    """Return ReDoc, with the arguments of `swagger_page`."""
    return page("documentation", title=title, prefix=prefix, root=root, viewer="redoc", bundle="redoc.standalone.js")
