"""The page as an application: its tabs, its theme, and its place under a proxy's prefix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any, NoReturn

import gradio as gr
import safehttpx
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from client.errors import Refused, Unreachable
from ui.page import QUIET, PageLayout
from ui.server import ServerClients
from ui.tabs import operating
from ui.tabs.create import create_tab
from ui.tabs.edit import edit_tab
from ui.tabs.gallery import gallery_tab
from ui.tabs.storyboard import storyboard_tab
from ui.tabs.video import video_tab
from ui.temporary_files import KEPT_S

ADDRESS = "/ui"
STATES_EVERY_S = 4
HERE = Path(__file__).parent
LACQUER = gr.themes.Color(
    c50="#fcf3f1",
    c100="#f8e2dd",
    c200="#f0c3b9",
    c300="#e79f8f",
    c400="#e0795f",
    c500="#c9513a",
    c600="#a8341f",
    c700="#8c2b1a",
    c800="#6f2215",
    c900="#571b11",
    c950="#34100a",
    name="lacquer",
)
"""Shades of our other pages' colour."""
THEME = gr.themes.Base(
    primary_hue=LACQUER,
    neutral_hue=gr.themes.colors.stone,
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_text_color="white",
    body_text_color_subdued="*neutral_600",
    block_info_text_color="*neutral_600",
)
SIGN_OUT = ' <form method="post" action="sign-out"><button>Sign out</button></form>'
TABS: tuple[tuple[str, Callable[[PageLayout], None]], ...] = (
    ("Create", create_tab),
    ("Edit", edit_tab),
    ("Video", video_tab),
    ("Storyboard", storyboard_tab),
    ("Gallery", gallery_tab),
    (operating.NAME, operating.operating_tab),
)
"""The tabs in order, each with the function that lays it out."""


def ui_app(address: str, max_file_bytes: int) -> ASGIApp:
    """Return the application that serves the page; `address` is that of our API.

    `max_file_bytes` is the API's limit for one file, a LoRA: browsers refuse larger ones instead of uploading them.
    """
    _fetch_nothing()
    _leave_limits_to_the_api()
    app = FastAPI(openapi_url=None)
    blocks = _blocks(ServerClients(address))
    gr.mount_gradio_app(
        app,
        blocks,
        ADDRESS,
        theme=THEME,
        css_paths=HERE / "style.css",
        head_paths=HERE / "head.html",
        footer_links=[],
        max_file_size=max_file_bytes,
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        show_error=True,
    )
    # Only `launch` sets this. Without it, Gradio accepts the path of any file as one that a visitor has uploaded.
    blocks.has_launched = True
    return _UnderPrefix(app)


def _fetch_nothing() -> None:
    """Keep Gradio from downloading whatever address it is sent in place of a file."""

    async def refused(*_: object, **__: object) -> NoReturn:
        raise ValueError("this page fetches nothing from other servers")

    safehttpx.get = safehttpx.async_validate_url = refused


def _leave_limits_to_the_api() -> None:
    """Keep Gradio from checking menus and sliders.

    Their choices and limits depend on the model, and a click on "Draw" right after the model was changed still sends
    the old values. The API says if one of them is wrong; Gradio would also refuse menus that do not matter.
    """
    for control in (gr.Dropdown, gr.Radio, gr.Slider):
        control.preprocess = _as_sent


def _as_sent(_control: gr.components.Component, value: Any) -> Any:
    return value


def _blocks(server: ServerClients) -> gr.Blocks:
    with gr.Blocks(title="Jubako", analytics_enabled=False, delete_cache=(3600, KEPT_S), fill_width=True) as blocks:
        header = gr.HTML(_header(), elem_id="header")
        trouble = gr.Markdown(visible=False, elem_classes="trouble")
        models_served = gr.State([])
        # Wrapped: on a phone, tabs in the overflow menu cannot be found by their names.
        with gr.Tabs(overflow_behavior="wrap") as tabs:
            page = PageLayout(server, models_served, tabs)
            for name, lay_out in TABS:
                with gr.Tab(name, id=name) as page.tab:
                    lay_out(page)

        timer = gr.Timer(STATES_EVERY_S)
        unopened = gr.Timer(STATES_EVERY_S)
        opening = set[str | None]()
        """Sessions that wait for their models."""

        async def served(known: list[dict[str, Any]], request: gr.Request) -> Any:
            if known:
                return {unopened: gr.Timer(active=False)}
            if request.session_hash in opening:
                return gr.skip()
            opening.add(request.session_hash)
            try:
                found = await server.models(request)
            except (Refused, Unreachable) as error:
                return {trouble: gr.Markdown(str(error), visible=True)}
            finally:
                opening.discard(request.session_hash)
            return {page.models: found, trouble: gr.Markdown(visible=False), **page.follow(found)}

        def signed_in(request: gr.Request) -> Any:
            return _header(SIGN_OUT) if "authorization" in request.headers else gr.skip()

        async def still_served(known: list[dict[str, Any]], request: gr.Request) -> Any:
            if not known:
                return gr.skip()
            try:
                found = await server.models(request)
            except (Refused, Unreachable):
                return gr.skip()
            return gr.skip() if found == known else found

        # "multiple" does not wait for the last tick: Gradio closes its stream of answers between events, and an event
        # at that moment, a tick or a click, waits until the next one reopens the stream.
        timer.tick(still_served, page.models, page.models, trigger_mode="multiple", **QUIET)
        blocks.load(signed_in, None, header, **QUIET)
        # All in one event: later updates would undo what the visitor has chosen meanwhile. This event can get lost at
        # such a moment too, and the server may be away, so it is repeated until the models are known.
        gr.on(
            [blocks.load, unopened.tick],
            served,
            page.models,
            [unopened, page.models, trouble, *page.following],
            trigger_mode="multiple",
            **QUIET,
        )
    # No limit: handlers only wait for the server, which has its own queue and limits.
    blocks.queue(default_concurrency_limit=None, api_open=False)
    # By default, Gradio looks for events each millisecond and for progress each 10 ms, which takes 7 % of a core even
    # while nobody uses the page, and slows passes on a CPU. With these, its own values on Windows, a click waits up to
    # 50 ms.
    blocks._queue.sleep_when_free, blocks._queue.progress_update_sleep_when_free = 0.05, 0.1
    return blocks


def _header(sign_out: str = "") -> str:
    return Template((HERE / "header.html").read_text("utf-8")).substitute(sign_out=sign_out)


class _UnderPrefix:
    """ASGI middleware: applies the proxy's prefix and scheme, which the gateway passes on in headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            prefix = headers.get(b"x-forwarded-prefix", b"").decode()
            scheme = headers.get(b"x-forwarded-proto", b"http").decode()
            scope = {**scope, "root_path": prefix, "path": prefix + scope["path"], "scheme": scheme}
        await self._app(scope, receive, send)
