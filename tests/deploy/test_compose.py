"""`deploy/compose.yaml`, as Compose itself reads it, and its object store, run as it is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import bentoml
import httpx
import pytest
import yaml

from deploy.packing import BASE_IMAGE, UV
from settings import Settings, refuse_unknown_variables
from storage.client import open_storage
from tests.support.servers.serving import free_port, wait_for
from tests.support.surroundings.compose import compose
from tests.support.web import WEB

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SECRETS = DEPLOY / "compose-secrets"
STORE_KEYS = {"AWS_ACCESS_KEY_ID": "test-access-key", "AWS_SECRET_ACCESS_KEY": "test-secret-key"}
ENTRY_POINT = Path(bentoml.__file__).parent / "_internal/container/frontend/dockerfile/entrypoint.sh"

Service = dict[str, Any]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secrets") / ".env"
    subprocess.run([SECRETS, file], check=True)
    return file


@pytest.fixture(scope="module")
def services(secrets: Path) -> dict[str, Service]:
    return read(secrets, "compose.yaml")


def read(secrets: Path, *files: str, **environment: str) -> dict[str, Service]:
    options = [option for file in files for option in ("-f", DEPLOY / file)]
    answer = compose("--env-file", secrets, *options, folder=ROOT, **environment)
    assert answer.returncode == 0, answer.stderr
    found: dict[str, Service] = json.loads(answer.stdout)["services"]
    return found


def test_secrets_are_made_once_and_completed(secrets: Path) -> None:
    assert secrets.stat().st_mode & 0o777 == 0o600
    made = secrets.read_text()
    values = [line.split("=")[1] for line in made.splitlines()]
    assert len(set(values)) == len(values) >= 7
    assert min(map(len, values)) >= 32
    secrets.write_text("".join(made.splitlines(keepends=True)[1:]))
    subprocess.run([SECRETS, secrets], check=True)
    assert sorted(line.split("=")[0] for line in secrets.read_text().splitlines()) == sorted(
        line.split("=")[0] for line in made.splitlines()
    )
    assert set(made.splitlines()[1:]) < set(secrets.read_text().splitlines())


def test_refuses_to_start_without_secrets(tmp_path: Path) -> None:
    empty = tmp_path / "none"
    empty.touch()
    answer = compose("--env-file", empty, "-f", DEPLOY / "compose.yaml")
    assert answer.returncode != 0
    assert "run make compose-secrets" in answer.stderr


def test_no_secret_is_in_the_file() -> None:
    for line in (DEPLOY / "compose.yaml").read_text().splitlines():
        if found := re.match(r"\s+\w*(KEY|KEY_ID|PASSWORD|SECRET|TOKEN): (.*)$", line):
            assert found[2].startswith("${"), line


def test_secrets_are_ignored_by_git() -> None:
    assert subprocess.run(["git", "check-ignore", "-q", "deploy/.env"], cwd=ROOT).returncode == 0


def test_containers_are_contained(services: dict[str, Service]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if name == "owner":
            assert service["cap_add"] == ["CHOWN"]
            assert service["network_mode"] == "none"
        else:
            assert not service["user"].startswith("0"), name
            assert "cap_add" not in service, name


def test_keys_and_rates_reach_the_gateway_and_memory_is_bounded(services: dict[str, Service]) -> None:
    passed = services["gateway"]["environment"].keys()
    rates = {f"JUBAKO_RATE_{what}_PER_MIN" for what in ("REQUESTS", "MEGAPIXELS", "STEPS")}
    assert {"JUBAKO_API_KEYS", *rates} <= passed
    assert all(int(services[name]["mem_limit"]) >= 2**30 for name in ("gateway", "redis"))


def test_images_of_others_are_pinned(services: dict[str, Service]) -> None:
    for service in services.values():
        assert re.fullmatch(r"jubako:cpu|[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", service["image"])


def test_whoever_is_waited_for_says_how_it_is(services: dict[str, Service]) -> None:
    for service in services.values():
        for name, waited in service.get("depends_on", {}).items():
            assert waited["condition"] != "service_healthy" or "healthcheck" in services[name]
    assert services["owner"].keys().isdisjoint({"healthcheck"})
    assert all("healthcheck" in service for name, service in services.items() if name != "owner")


def test_only_loopback_is_published(services: dict[str, Service]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    assert {port["published"] for port in ports} == {"3000", "3002", "8001", "8333"}


@pytest.mark.parametrize("name", ["gateway", "runner"])
def test_every_setting_is_one(services: dict[str, Service], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = services[name]["environment"]
    refuse_unknown_variables(environment)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.models == ("miniature",)
    grace_s = re.fullmatch(r"(\d+)m(\d+)s", services[name]["stop_grace_period"])
    assert grace_s is not None
    assert int(grace_s[1]) * 60 + int(grace_s[2]) > settings.drain_s


def test_prometheus_has_the_key_of_the_metrics(services: dict[str, Service], tmp_path: Path) -> None:
    """Its entry point is run here with another program in place of Prometheus."""
    prometheus = services["prometheus"]
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]
    file = scraped["authorization"]["credentials_file"]
    assert any(file.startswith(f"{mount.partition(':')[0]}/") for mount in prometheus["tmpfs"])
    shell, option, script, name = prometheus["entrypoint"]
    here = script.replace("$$", "$").replace(file, str(tmp_path / "key")).replace("exec prometheus", "exec echo")
    command = [shell, option, here, name, *prometheus["command"]]
    run = subprocess.run(command, env={**os.environ, **prometheus["environment"]}, capture_output=True, text=True)
    assert run.stdout.split() == prometheus["command"]
    for service in ("gateway", "runner"):
        assert services[service]["environment"]["JUBAKO_METRICS_KEY"] == (tmp_path / "key").read_text()


def test_gateway_reaches_its_runner(services: dict[str, Service]) -> None:
    gateway, runner = services["gateway"], services["runner"]
    assert gateway["environment"]["JUBAKO_RUNNERS"] == "miniature=http://runner:3001"
    assert runner["command"][-1] == "3001"
    assert runner["networks"].keys() & gateway["networks"].keys()
    assert gateway["environment"]["JUBAKO_RUNNER_KEY"] == runner["environment"]["JUBAKO_RUNNER_KEY"]
    assert gateway["environment"]["REDIS_PASSWORD"] == services["redis"]["environment"]["REDIS_PASSWORD"]


def test_model_is_one_variable(secrets: Path) -> None:
    chosen = read(secrets, "compose.yaml", JUBAKO_MODEL="sdxl")
    assert chosen["gateway"]["environment"]["JUBAKO_RUNNERS"] == "sdxl=http://runner:3001"
    assert {chosen[name]["environment"]["JUBAKO_MODELS"] for name in ("gateway", "runner")} == {"sdxl"}


def test_store_has_one_name_inside_and_outside(secrets: Path) -> None:
    """Signed addresses hold for the host that they name."""
    chosen = read(secrets, "compose.yaml", STORE_HOST="pictures.example.com")
    assert chosen["gateway"]["environment"]["AWS_ENDPOINT_URL"] == "http://pictures.example.com:8333"
    assert chosen["store"]["networks"]["store"]["aliases"] == ["pictures.example.com"]
    assert "store" in chosen["gateway"]["networks"]


def test_inpainting_web_site_finds_its_generator(services: dict[str, Service]) -> None:
    """As contracts/inpainting-runpod.md has it: TOKENOPT_RUNPOD_URL=http://generator:8001."""
    gateway = services["gateway"]
    assert "generator" in gateway["networks"]["front"]["aliases"]
    assert gateway["command"] == ["serve", "--port", "8001"]
    assert ("8001", 8001) in [(port["published"], port["target"]) for port in gateway["ports"]]


def test_mounted_files_are_there(services: dict[str, Service]) -> None:
    mounts = [mount for service in services.values() for mount in service["volumes"] if mount["type"] == "bind"]
    assert len(mounts) == 3
    for mount in mounts:
        assert any(path.is_file() for path in Path(mount["source"]).rglob("*")), mount
    datasource = (DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text()
    assert "http://prometheus:9090" in datasource
    provider = (DEPLOY / "grafana/provisioning/dashboards/jubako.yaml").read_text()
    assert any(mount["target"] in provider for mount in mounts if "dashboards" in mount["target"])


def test_prometheus_watches_what_is_there(services: dict[str, Service]) -> None:
    targets = re.findall(r'targets: \["([\w-]+):(\d+)"\]', (DEPLOY / "prometheus" / "prometheus.yml").read_text())
    for name, port in targets:
        assert port in services[name]["command"]
        assert "back" in services[name]["networks"]
    assert {name for name, _ in targets} == {"gateway", "runner"}


def test_gpu_is_the_runners(secrets: Path) -> None:
    runner = read(secrets, "compose.yaml", "compose.gpu.yaml")["runner"]
    assert runner["image"] == "jubako:cuda"
    (device,) = runner["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", -1, ["gpu"])


def test_root_needs_no_step_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`docker compose up --build`, as the inpainting document has it, with its service and its port."""
    shutil.copy(ROOT / "compose.yaml", tmp_path)
    answer = compose(folder=tmp_path, APP_ENV="gpu")
    assert answer.returncode == 0, answer.stderr
    services = json.loads(answer.stdout)["services"]
    test_containers_are_contained(services)
    (generator,) = services.values()
    assert services.keys() == {"generator"}
    assert generator["build"] == {"context": str(tmp_path), "dockerfile": "Dockerfile", "args": {"APP_ENV": "gpu"}}
    ports = [(port["host_ip"], port["published"], port["target"]) for port in generator["ports"]]
    assert ports == [("127.0.0.1", "8001", 8001), ("127.0.0.1", "3000", 8001)]
    # What the server reads in its working folder, it has in the container too.
    (tmp_path / ".env").write_text("TASK_TTL=60\nJUBAKO_ALIASES=*=miniature\n")
    environment = json.loads(compose(folder=tmp_path).stdout)["services"]["generator"]["environment"]
    assert environment == {"TASK_TTL": "60", "JUBAKO_ALIASES": "*=miniature"}


def test_the_stack_is_built_with_docker_alone(secrets: Path) -> None:
    built = read(secrets, "compose.yaml", "compose.build.yaml", APP_ENV="gpu")
    for name in ("gateway", "runner"):
        assert built[name]["build"] == {"context": str(ROOT), "dockerfile": "Dockerfile", "args": {"APP_ENV": "gpu"}}


@pytest.mark.parametrize(("port", "listens"), [({}, "3000"), ({"PORT": "8100"}, "8100")])
@pytest.mark.parametrize("arguments", [[], ["serve"]])
def test_image_listens_where_port_says(
    arguments: list[str], port: dict[str, str], listens: str, tmp_path: Path
) -> None:
    """BentoML's entry point, with another program in place of bentoml."""
    (tmp_path / "bentoml").write_text('#!/bin/sh\necho "$@ on ${BENTOML_PORT:-3000}"\n')
    (tmp_path / "bentoml").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "BENTO_PATH": "/bento", **port}
    run = subprocess.run(
        ["bash", ENTRY_POINT, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == f"serve /bento on {listens}"


DOCUMENTED = re.findall(
    r"```yaml\n(services:\n.*?)```", (ROOT / "docs" / "deploy" / "compose.md").read_text(), re.DOTALL
)


@pytest.mark.parametrize("example", DOCUMENTED[:2], ids=["more models", "a bucket of one's own"])
def test_documented_additions_can_be_added(secrets: Path, tmp_path: Path, example: str) -> None:
    shutil.copytree(DEPLOY, tmp_path, dirs_exist_ok=True)
    (tmp_path / "more.yaml").write_text(example)
    files = ("-f", tmp_path / "compose.yaml", "-f", tmp_path / "more.yaml")
    answer = compose("--env-file", secrets, *files, AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="secret")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)["services"]
    refuse_unknown_variables(found["gateway"]["environment"])
    if "runner-flux" in found:
        reached = re.findall(r"http://([\w-]+):", found["gateway"]["environment"]["JUBAKO_RUNNERS"])
        assert reached == ["runner", "runner-flux"]
    else:
        assert found.keys() == {"gateway", "runner", "prometheus", "grafana"}
        assert "AWS_ENDPOINT_URL" not in found["gateway"]["environment"]


def test_documented_web_site_joins_the_network(services: dict[str, Service]) -> None:
    site = yaml.safe_load(DOCUMENTED[2])
    assert site["networks"]["jubako"] == {"name": "jubako_front", "external": True}
    assert "front" in services["gateway"]["networks"]
    assert "\nname: jubako\n" in (DEPLOY / "compose.yaml").read_text()


def test_dockerfile_makes_the_image_of_the_bento() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"ARG BASE={BASE_IMAGE}\n" in dockerfile
    assert f" {UV} " in dockerfile
    assert "ARG APP_ENV" in dockerfile


@cache
def _ports() -> dict[str, int]:
    names = [f"{part}.port{kind}" for part in ("admin", "master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    return {name: free_port() for name in names}


@pytest.fixture
def store(services: dict[str, Service], tmp_path: Path) -> Iterator[str]:
    """The store with the command of the file, on ports and in a folder of the test's own."""
    service = services["store"]
    own = {"dir": str(tmp_path), "ip.bind": "127.0.0.1", **_ports()}
    command = [part for part in service["command"] if part.partition("=")[0].lstrip("-") not in own]
    program = Path(sys.executable).with_name(service["entrypoint"][0])
    environment = {**os.environ, "S3_BUCKET": service["environment"]["S3_BUCKET"], **STORE_KEYS}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, *command, *(f"-{name}={value}" for name, value in own.items())],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=tmp_path,
        )
    url = f"http://127.0.0.1:{_ports()['s3.port']}"
    # What the file's health check asks.
    assert service["healthcheck"]["test"][-1].endswith(":8333/healthz")
    try:
        wait_for(lambda: _is_healthy(f"{url}/healthz"))
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _is_healthy(url: str) -> bool:
    try:
        return WEB.get(url).status_code == 200
    except httpx.TransportError:
        return False


async def test_store_keeps_results(store: str, services: dict[str, Service], monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**services["gateway"]["environment"], **STORE_KEYS, "AWS_ENDPOINT_URL": store}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    storage = open_storage(Settings())
    assert await storage.is_reachable()
    await storage.put("generations/a picture.png", b"its bytes", "image/png")
    address = await storage.url("generations/a picture.png")
    async with httpx.AsyncClient() as client:
        answer = await client.get(address)
        assert (answer.content, answer.headers["content-type"]) == (b"its bytes", "image/png")
        assert (await client.get(address.partition("?")[0])).status_code == 403, "nobody reads without a signature"
    assert await storage.sweep("generations", timedelta(seconds=-60)) == 1
    assert not await storage.exists("generations/a picture.png")
