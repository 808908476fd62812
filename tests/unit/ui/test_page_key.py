"""The key of the page: asked for, kept in a cookie, and as good as a header below `/ui` alone."""

from __future__ import annotations

import pytest
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from access.bearer import bearer_key
from access.keys import Keyring
from api.contracts import CONTRACTS
from api.middleware.page_key import COOKIE, SIGN_IN, SIGN_OUT, PageKey
from settings.sections.access import AccessOptions

KEY = "alice's own key; 32 characters"
HTML = {"Accept": "text/html"}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the key that the door would see."""
    await JSONResponse(bearer_key(scope))(scope, receive, send)


@pytest.fixture
def browser() -> TestClient:
    keyring = Keyring.of(AccessOptions(api_keys={"alice": KEY}))
    return TestClient(PageKey(echo, keyring, CONTRACTS), follow_redirects=False)


def sign_in(browser: TestClient, key: str) -> None:
    browser.post(SIGN_IN, data={"key": key})


def test_a_person_without_a_key_is_asked_for_it(browser: TestClient) -> None:
    form = browser.get("/ui/", headers=HTML)
    assert 'action="/ui/sign-in"' in form.text
    assert "wrong" not in form.text


def test_the_key_is_kept_where_no_script_and_no_other_address_sees_it(browser: TestClient) -> None:
    answer = browser.post(SIGN_IN, data={"key": KEY})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "Path=/ui", "SameSite=strict"))
    assert browser.get("/ui/gradio_api/queue/data").json() == KEY
    assert browser.get("/models").json() == ""


def test_a_wrong_key_is_called_wrong(browser: TestClient) -> None:
    sign_in(browser, "somebody else's key")
    answer = browser.get("/ui/", headers=HTML)
    assert answer.status_code == 401
    assert "This key is wrong" in answer.text


def test_signing_out_forgets_it(browser: TestClient) -> None:
    sign_in(browser, KEY)
    assert COOKIE in browser.cookies
    answer = browser.get(SIGN_OUT)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST"), "a link signs nobody out"
    assert COOKIE in browser.cookies
    browser.post(SIGN_OUT)
    assert COOKIE not in browser.cookies


def test_programs_keys_come_first(browser: TestClient) -> None:
    sign_in(browser, KEY)
    assert browser.get("/ui/", headers={"Authorization": "Bearer another"}).json() == "another"


@pytest.mark.parametrize("form", ["key=", "other=1", "key=" + "x" * 5000])
def test_what_is_no_key_is_asked_for_again(form: str, browser: TestClient) -> None:
    answer = browser.post(SIGN_IN, content=form)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
