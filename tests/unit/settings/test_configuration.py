"""What operators are told of the settings: docs/configuration.md, the lines at the start, and refusals."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import files
from pathlib import Path

import pytest
from dotenv import dotenv_values

from client.connection import KEY, URL
from core.errors import StartError
from settings import Settings, refuse_unknown_variables, settings
from settings.configuration_page import PAGE, tables, written
from settings.example import EXAMPLE, example
from settings.startup_log import effective_lines
from settings.variables import is_secret, masked, sections_of, variables_of
from tests.support.servers.serving import ROOT, serving_environment

PASSWORD = "hunter2"
FIELDS = Settings.model_fields
UPPER = {(".py", 2), (".py", 3), (".so", 2)}
"""Kinds of files of a package, and how deep they are."""
NOT_SECRET = {"api_keys_file"}
"""Names a place, and is none itself."""


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings are read again, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JUBAKO_ENV_FILE")
    settings.cache_clear()
    yield
    settings.cache_clear()


class TestThePage:
    def test_is_what_the_settings_are(self) -> None:
        page = PAGE.read_text("utf-8")
        assert page == written(page, "configuration", tables(Settings)), "run `make configuration`"

    def test_has_every_variable(self) -> None:
        page = PAGE.read_text("utf-8")
        names = [name for field, info in FIELDS.items() for name in variables_of(field, info)]
        assert [name for name in names if f"`{name}`" not in page] == []

    def test_every_field_is_in_one_group(self) -> None:
        grouped = [field for _, fields in sections_of(Settings) for field in fields]
        assert sorted(grouped) == sorted(FIELDS)

    def test_variables_of_libraries_are_read_by_those(self) -> None:
        _, _, section = PAGE.read_text("utf-8").partition("## What libraries read")
        rows = re.findall(r"^\| (`[A-Z].*?) \| (.*?) \| (.*?) \|$", section, re.MULTILINE)
        assert len(rows) > 10
        wrong = [
            (name, row[1]) for row in rows for name in re.findall(r"`([A-Z0-9_]+)`", row[0]) if not _read(name, row[1])
        ]
        assert wrong == []


def _read(variable: str, readers: str) -> bool:
    return any(variable.lower() in text for reader in readers.split(", ") for text in _texts_of(reader))


@cache
def _texts_of(reader: str) -> list[str]:
    """The sources of a package, or of one file of ours; obstore's are compiled, and name variables in lower case."""
    if reader.endswith(".py"):
        return [(ROOT / reader).read_text("utf-8").lower()]
    # Of torch, which is large, what is on its upper levels.
    wanted = [file for file in files(reader) or () if (file.suffix, len(file.parts)) in UPPER]
    return [Path(file.locate()).read_text("latin-1").lower() for file in wanted]


def test_secrets_are_marked() -> None:
    names = {field for field in FIELDS if re.search(r"(key|keys|secret|password)(_|$)", field)} - NOT_SECRET
    assert names == {field for field, info in FIELDS.items() if is_secret(info)}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        (f"redis://user:{PASSWORD}@host:6379/0", "redis://****@host:6379/0"),
        (f"redis://:{PASSWORD}/@ @host", "redis://****@host"),
        (f"user:{PASSWORD}@host", "****@host"),
        (f"redis://host?db=1&password={PASSWORD}", "redis://host?db=1&password=****"),
        (f"https://host/?api_key={PASSWORD}&b=1", "https://host/?api_key=****&b=1"),
    ],
)
def test_passwords_in_addresses_are_masked(value: str, shown: str) -> None:
    assert masked(value) == shown


class TestTheExample:
    def test_is_what_the_settings_are(self) -> None:
        assert EXAMPLE.read_text("utf-8") == example(Settings), "run `make configuration`"

    def test_as_it_is_it_sets_nothing(self) -> None:
        assert not dotenv_values(EXAMPLE)

    def test_its_values_are_the_defaults(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / ".env").write_text(
            re.sub(r"^# (?=[A-Z0-9_]+=)", "", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
        )
        values = dotenv_values(tmp_path / ".env")
        assert len(values) > len(FIELDS)
        for name in values:
            monkeypatch.setenv(name, values[name] or "")
        refuse_unknown_variables(values)
        assert Settings().model_dump() == Settings.model_construct().model_dump()


@pytest.mark.usefixtures("fresh")
class TestTheEnvFile:
    """In the working folder, as the servers have theirs whose documents we keep."""

    DOCUMENTED = (
        "REDIS_HOST=localhost\nREDIS_PASSWORD=\nS3_BUCKET_NAME=image-generation-outputs\n"
        "TASK_TTL=60  # Task status TTL in seconds\nAWS_REGION=us-east-1\n"
    )

    @pytest.fixture(autouse=True)
    def _restored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the file adds to the environment is taken out again."""
        for name in ("REDIS_HOST", "REDIS_PASSWORD", "S3_BUCKET_NAME", "TASK_TTL", "AWS_REGION", "JUBAKO_MANAGE"):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)

    def test_is_read_with_what_libraries_read(self) -> None:
        Path(".env").write_text(self.DOCUMENTED)
        read = settings()
        assert (read.redis, read.task_ttl_s) == ("redis://localhost:6379/0", 60)
        assert read.storage_location == "s3://image-generation-outputs"
        assert os.environ["AWS_REGION"] == "us-east-1"

    def test_the_environment_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TASK_TTL", "30")
        Path(".env").write_text(self.DOCUMENTED)
        assert settings().task_ttl_s == 30

    def test_may_be_elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "jubako.env").write_text("JUBAKO_MANAGE=false")
        Path(".env").write_text("JUBAKO_MANAGE=perhaps")
        monkeypatch.setenv("JUBAKO_ENV_FILE", "jubako.env")
        assert not settings().manage
        settings.cache_clear()
        monkeypatch.setenv("JUBAKO_ENV_FILE", "nowhere.env")
        with pytest.raises(StartError, match=r"JUBAKO_ENV_FILE: there is no file nowhere\.env"):
            settings()

    def test_a_misspelt_setting_in_it_stops_the_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JUBAKO_MANAG", "")
        monkeypatch.delenv("JUBAKO_MANAG")
        Path(".env").write_text("JUBAKO_MANAG=false")
        with pytest.raises(StartError, match=r"JUBAKO_MANAG \(did you mean JUBAKO_MANAGE"):
            settings()


@pytest.mark.usefixtures("fresh")
class TestTheStart:
    def test_says_what_was_set_and_by_which_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        environment = {
            "DIFFUSER_MODEL_ID": "sdxl,sd15",
            "JUBAKO_DEVICE": "cpu",
            "DIFFUSER_DEVICE": "cuda",
            "JUBAKO_DTYPE": "",
            "JUBAKO_ALIASES": "a=sdxl,b=sd15",
            "JUBAKO_MANAGE": "0",
            "REDIS_PASSWORD": PASSWORD,
            "JUBAKO_REDIS_URL": f"redis://:{PASSWORD}@host/0",
        }
        lines = self.lines(monkeypatch, environment)
        assert lines[0].startswith(f"6 of {len(FIELDS)} settings are set")
        assert lines[1:-1] == [
            "models = sdxl,sd15 (DIFFUSER_MODEL_ID)",
            "aliases = a=sdxl,b=sd15 (JUBAKO_ALIASES)",
            "device = cpu (JUBAKO_DEVICE; DIFFUSER_DEVICE is ignored)",
            "manage = false (JUBAKO_MANAGE)",
            "redis_url = redis://****@host/0 (JUBAKO_REDIS_URL)",
            "redis_password = **** (REDIS_PASSWORD)",
        ]
        assert lines[-1].startswith(
            "by default: model_urls=false load=start allow_pickle=false upscaler_gib=5.0 max_lora_bytes=2147483648 "
            "max_running=64"
        )

    def test_shows_no_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        secret = f"a-{PASSWORD}-of-sixteen"
        fields = [(field, info) for field, info in FIELDS.items() if is_secret(info)]
        environment = {variables_of(*field)[0]: secret for field in fields} | {"JUBAKO_API_KEYS": f"bob:{secret}"}
        lines = self.lines(monkeypatch, environment)
        assert lines[0].startswith(f"{len(fields)} of ")
        assert PASSWORD not in "".join(lines)

    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            ("JUBAKO_WEBHOOK_SECRET", PASSWORD, "JUBAKO_WEBHOOK_SECRET: String should have at least 16 characters"),
            ("JUBAKO_RUNNER_KEY", PASSWORD, "JUBAKO_RUNNER_KEY: String should have at least 16 characters"),
            ("JUBAKO_API_KEYS", f"bob:{PASSWORD}", "JUBAKO_API_KEYS: the key of the entry 'bob' has fewer"),
            (
                "JUBAKO_REDIS_URL",
                f"http://x:{PASSWORD}@host",
                "JUBAKO_REDIS_URL: should match .*, got 'http://....@host'$",
            ),
            ("OPENAI_BASE_URL", f"ftp://x:{PASSWORD}@host", "OPENAI_BASE_URL: should begin with http"),
            ("TASK_TTL", "-3", "^TASK_TTL: should be greater than 0, got '-3'$"),
            ("JUBAKO_PUBLIC_URL", "here", "JUBAKO_PUBLIC_URL: should match .*, got 'here'"),
        ],
    )
    def test_a_wrong_value_is_refused_by_its_variable(
        self, variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(StartError, match=message) as caught:
            settings()
        assert PASSWORD not in f"{caught.value} {caught.value.__cause__}"

    @staticmethod
    def lines(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> list[str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return effective_lines(settings(), environment)


class TestUnknownVariables:
    def test_those_of_the_client_are_none(self) -> None:
        refuse_unknown_variables([URL, KEY, "JUBAKO_CLIENT_FOLDER"])
        with pytest.raises(StartError, match="JUBAKO_CLIENT_URLS"):
            refuse_unknown_variables(["JUBAKO_CLIENT_URLS"])

    @pytest.mark.parametrize("command", [["bentoml", "serve", "service:Jubako"], ["models"]])
    def test_stop_every_program(self, command: list[str], tmp_path: Path) -> None:
        environment = serving_environment(tmp_path / "none") | {"JUBAKO_MAX_QUEU": "3"}
        run = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode != 0
        assert "unknown settings: JUBAKO_MAX_QUEU (did you mean JUBAKO_MAX_QUEUE?)" in run.stderr.splitlines()[-1]

    def test_those_that_kubernetes_makes_up_for_a_service_are_left_alone(self) -> None:
        links = ["JUBAKO_SERVICE_HOST", "JUBAKO_SERVICE_PORT_HTTP", "JUBAKO_PORT", "JUBAKO_PORT_3000_TCP_ADDR"]
        refuse_unknown_variables([*links, *(f"{name}".replace("JUBAKO", "JUBAKO_RUNNER") for name in links)])
        for own in (["JUBAKO_PORT"], [*links, "JUBAKO_POR"]):
            with pytest.raises(StartError, match="JUBAKO_POR"):
                refuse_unknown_variables(own)

    def test_so_is_the_port_of_a_service_called_redis(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REDIS_PORT", "tcp://10.0.0.1:6380")
        monkeypatch.setenv("REDIS_HOST", "redis")
        assert Settings().redis == "redis://redis:6380/0"
