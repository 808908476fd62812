"""Files for a virtual machine, RunPod and BentoCloud, as the programs that read them see them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from bentoml._internal.cloud.deployment import DeploymentConfigParameters
from bentoml._internal.cloud.schemas.schemasv2 import CreateDeploymentSchema
from bentoml._internal.utils.cattr import bentoml_cattr

from deploy.packing import BASE_IMAGE
from gateway.runner_client import RunnerClient
from settings import refuse_unknown_variables
from tests.support.servers.forked import run_forked

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = (DEPLOY / "systemd" / "jubako.service").read_text()
EXPOSURE = 20
"""Of systemd's own judgement, in hundredths of what can be said against a unit; 95 for one without any protection."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it would be with this checkout in /opt/jubako."""
    (tmp_path / "gpu").mkdir()
    file = tmp_path / "jubako.service"
    file.write_text(
        UNIT.replace("/opt/jubako", str(ROOT)).replace(f"{ROOT}/.venv/bin", str(Path(sys.executable).parent))
    )
    return file


@needs_systemd
@pytest.mark.parametrize("gpu", [False, True])
def test_systemd_finds_no_fault(unit: Path, gpu: bool) -> None:
    if gpu:
        drop_ins = unit.with_name("jubako.service.d")
        drop_ins.mkdir()
        shutil.copy(DEPLOY / "systemd" / "jubako-gpu.conf", drop_ins / "gpu.conf")
    answer = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    # It also looks at what the machine itself has installed.
    assert (answer.returncode, [line for line in answer.stderr.splitlines() if "jubako" in line]) == (0, [])


@needs_systemd
def test_server_is_shut_in(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager", str(unit)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout


def test_server_on_a_machine_has_the_time_to_drain() -> None:
    settings = (DEPLOY / "systemd" / "jubako.env").read_text()
    drain_s, stop_s = (
        re.search(r"^JUBAKO_DRAIN_S=(\d+)", settings, re.MULTILINE),
        re.search(r"^TimeoutStopSec=(\d+)", UNIT, re.MULTILINE),
    )
    assert drain_s is not None
    assert stop_s is not None
    assert int(stop_s[1]) > int(drain_s[1])


def test_every_setting_of_a_machine_is_one() -> None:
    refuse_unknown_variables(re.findall(r"^#? ?(\w+)=", (DEPLOY / "systemd" / "jubako.env").read_text(), re.MULTILINE))


@pytest.mark.parametrize("file", ["Dockerfile", "deploy/runpod/Dockerfile"])
def test_dockerfile_copies_what_is_there(file: str) -> None:
    dockerfile = (ROOT / file).read_text()
    assert f"ARG BASE={BASE_IMAGE}\n" in dockerfile
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE)
        for source in re.sub(r"--\S+ ", "", line).split()[:-1]
    ]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_worker_starts_from_the_folder_of_the_bento(tmp_path: Path) -> None:
    """What the Dockerfile lays beside the Bento's sources is all that the worker needs of this folder."""
    included = [path.strip("/") for path in yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]]
    for name in included:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    copied = re.findall(r"^COPY (deploy/.*) \S+$", (DEPLOY / "runpod" / "Dockerfile").read_text(), re.MULTILINE)
    for source in " ".join(copied).split():
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        # The Bento may have it too.
        (tmp_path / source).unlink(missing_ok=True)
        shutil.copy(ROOT / source, tmp_path / source)
    # RunPod's package is an extra, and may not be here.
    (tmp_path / "runpod.py").touch()
    command = [sys.executable, "-c", "import deploy.runpod.handler as worker; print(worker.__file__)"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUBAKO_")}
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert answer.stdout.strip() == str(tmp_path / "deploy" / "runpod" / "handler.py"), answer.stderr


@pytest.fixture(scope="module")
def deployment() -> dict[str, Any]:
    """BentoCloud's configuration, as `bentoml deploy -f` reads it, without asking BentoCloud."""
    parameters = DeploymentConfigParameters(config_file=str(DEPLOY / "bentocloud.yaml"), service_name="jubako")
    parameters.cfg_dict = yaml.safe_load((DEPLOY / "bentocloud.yaml").read_text())
    client: Any = None
    found: dict[str, Any] = parameters.get_config_dict(_client=client)
    return found


def test_bentocloud_understands_every_field(deployment: dict[str, Any]) -> None:
    """BentoML drops fields that it does not know: what it would send must be all that the file has."""
    schema = bentoml_cattr.structure(deployment, CreateDeploymentSchema)
    sent = bentoml_cattr.unstructure(schema)
    assert _within(deployment, sent) == []


def _within(written: Any, sent: Any, place: str = "") -> list[str]:
    """Return the places in which something written is not sent."""
    if isinstance(written, dict):
        return [
            fault
            for key, value in written.items()
            for fault in (_within(value, sent[key], f"{place}/{key}") if key in sent else [f"{place}/{key}"])
        ]
    if isinstance(written, list):
        return [
            fault for index, value in enumerate(written) for fault in _within(value, sent[index], f"{place}/{index}")
        ]
    return [] if written == sent else [place]


def test_bentocloud_gets_every_service_of_the_bento(deployment: dict[str, Any]) -> None:
    settings = {item["name"]: item["value"] for item in deployment["envs"]}
    refuse_unknown_variables(settings)
    command = ["-c", "import service; print(*service.Jubako.all_services())"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUBAKO_")}
    answer = run_forked(command, {**environment, **settings}, ROOT)
    assert set(answer.stdout.splitlines()[-1].split()) == deployment["services"].keys(), answer.stderr


async def test_gateway_names_whom_it_asks(deployment: dict[str, Any]) -> None:
    """All services of a deployment have one address there (_bentoml_impl/client/http.py sends the same header)."""
    client = RunnerClient("sdxl", "http://127.0.0.1:1")
    try:
        name = client._session.headers["Runner-Name"]
    finally:
        await client.close()
    assert name in deployment["services"]
