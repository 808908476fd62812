"""Which web pages and names a server answers."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from access.sites import Sites
from core.errors import Forbidden
from settings import Settings

PAGE = "https://app.example"


def sites(closed: bool = False, **settings: object) -> Sites:
    return Sites.of(Settings(**settings), closed)  # type: ignore[arg-type]


def answers_to(host: str, rules: Sites) -> bool:
    try:
        rules.check_host({"host": host})
    except Forbidden:
        return False
    return True


class TestNames:
    @pytest.mark.parametrize(
        "host",
        [
            *(
                "localhost:3000",
                "LOCALHOST",
                "jubako.localhost",
                "127.0.0.1:3000",
                "192.168.1.5",
                "[::1]:3000",
                "0.0.0.0",
            ),
            *(
                "generator:8001",
                "jubako",
                "gpu-box.local",
                "host.docker.internal",
                "jubako.default.svc.cluster.local",
                "",
            ),
        ],
    )
    def test_that_no_stranger_can_have_are_answered(self, host: str) -> None:
        assert answers_to(host, sites())

    @pytest.mark.parametrize(
        "host",
        [
            "rebound.evil.example",
            "127.0.0.1.evil.example:3000",
            "localhost.evil.example.",
            "1.2.3.4.nip.io",
            "[::1",
            "a.local.x",
        ],
    )
    def test_of_strangers_are_refused_unless_a_key_is_needed_anyway(self, host: str) -> None:
        assert not answers_to(host, sites())
        assert answers_to(host, sites(closed=True))

    def test_are_allowed_by_the_operator(self) -> None:
        rules = sites(allowed_hosts="images.Example.com,*.lan.example", public_url="https://public.example:8443/under")
        for host in ("images.example.com:3000", "a.lan.example", "a.b.lan.example", "public.example:8443"):
            assert answers_to(host, rules)
        for host in ("example.com", "x.images.example.com", "lan.example", "evillan.example"):
            assert not answers_to(host, rules)
        assert answers_to("any.example", sites(allowed_hosts="*"))


class TestPages:
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"origin": "http://localhost:3000", "host": "localhost:3000"},
            {"origin": "https://images.example.com", "host": "images.example.com"},
            {"sec-fetch-site": "same-origin", "origin": "https://rewritten.example", "host": "127.0.0.1:3000"},
            {"sec-fetch-site": "none"},
        ],
    )
    def test_of_this_server_and_programs_may_do_everything(self, headers: dict[str, str]) -> None:
        sites().check_origin(headers)

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "https://evil.example", "host": "localhost:3000"},
            {"origin": "http://localhost:5173", "host": "localhost:3000", "sec-fetch-site": "same-site"},
            {"origin": "http://localhost:3000", "host": "localhost:3000", "sec-fetch-site": "cross-site"},
            {"origin": "http://xlocalhost:3000", "host": "localhost:3000"},
            {"origin": "null", "host": "localhost:3000"},
            {"origin": "null", "host": ""},
            {"origin": "http://[x", "host": "localhost:3000"},
            {"sec-fetch-site": "cross-site"},
        ],
    )
    def test_of_other_sites_may_not(self, headers: dict[str, str]) -> None:
        for closed in (False, True):
            with pytest.raises(Forbidden, match="JUBAKO_CORS_ORIGINS"):
                sites(closed).check_origin(headers)
        sites(cors_origins="*").check_origin(headers)

    def test_are_allowed_by_the_operator(self) -> None:
        rules = sites(cors_origins=PAGE, public_url="https://public.example:8443/under")
        for origin in (PAGE, "https://public.example:8443"):
            rules.check_origin({"origin": origin, "host": "127.0.0.1", "sec-fetch-site": "cross-site"})
        with pytest.raises(Forbidden):
            rules.check_origin({"origin": "http://app.example", "host": "127.0.0.1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("cors_origins", value) for value in ("app.example", "https://app.example/", "https://", "null", "//a")),
        *(("allowed_hosts", value) for value in ("http://a.example", "a.example:80", "a*.example", "a..b")),
        *(("trusted_proxies", value) for value in ("nginx", "10.0.0.5/8")),
    ],
)
def test_wrong_settings_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["JUBAKO_TRUSTED_PROXIES", "FORWARDED_ALLOW_IPS"])
def test_proxies_may_be_named_as_uvicorn_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "*")
    assert Settings().trusted_proxies == ("*",)
