"""`deploy/kubernetes`, as kustomize renders it: valid, contained, connected, and scaled by what is really in Redis."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import redis.asyncio
import yaml
from docket import Docket, Worker

from core.generation.request import Priority
from models.catalogue.catalogue import full_catalogue
from settings import refuse_unknown_variables
from tests.support.surroundings.redis_server import RedisServer, redis_server

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("cpu", "gpu")
KUBERNETES = ("1.31", kubernetes_validate.latest_version())
"""The oldest release that these files are for, and the newest that there is a schema of."""
KEDA = yaml.safe_load((ROOT / "tests" / "data" / "keda.yaml").read_text())
SECRETS = {
    "jubako-keys": {"JUBAKO_RUNNER_KEY", "JUBAKO_ADMIN_KEY", "JUBAKO_METRICS_KEY", "JUBAKO_WEBHOOK_SECRET"},
    "jubako-redis": {"REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD"},
    "jubako-hub": {"HF_TOKEN"},
}
"""What docs/deploy/kubernetes.md has people put into them."""

Thing = dict[str, Any]


@cache
def rendered(overlay: str) -> list[Thing]:
    kubectl = Path(sys.executable).with_name("kubectl")
    command = [str(kubectl), "kustomize", str(FOLDER / "overlays" / overlay)]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def of_kind(overlay: str, kind: str) -> list[Thing]:
    return [thing for thing in rendered(overlay) if thing["kind"] == kind]


def pods(overlay: str) -> Iterator[Thing]:
    return (thing["spec"]["template"] for thing in of_kind(overlay, "Deployment"))


def selects(selector: Thing, pod: Thing) -> bool:
    wanted: dict[str, str] = selector.get("matchLabels", selector)
    return bool(wanted) and wanted.items() <= pod["metadata"]["labels"].items()


def strict(schema: Any) -> Any:
    """Kubernetes drops, or refuses, what a schema does not name."""
    if isinstance(schema, dict):
        closed = {key: strict(value) for key, value in schema.items()}
        return {"additionalProperties": False, **closed} if "properties" in schema else closed
    return schema


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_it(overlay: str, version: str) -> None:
    for thing in rendered(overlay):
        if thing["kind"] in KEDA:
            jsonschema.validate(thing["spec"], strict(KEDA[thing["kind"]]))
        else:
            kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_contained(overlay: str) -> None:
    for pod in pods(overlay):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] == 1034
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec["automountServiceAccountToken"]
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"/tmp", "/data"} == {mount["mountPath"] for mount in container["volumeMounts"]}
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_have_the_time_to_drain(overlay: str) -> None:
    for pod in pods(overlay):
        (container,) = pod["spec"]["containers"]
        (drain_s,) = [variable["value"] for variable in container["env"] if variable["name"] == "JUBAKO_DRAIN_S"]
        pause_s = container["lifecycle"]["preStop"]["exec"]["command"][1]
        assert pod["spec"]["terminationGracePeriodSeconds"] > float(drain_s) + float(pause_s)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_setting_is_one(overlay: str) -> None:
    """Ours stop the start when they are misspelt; Kubernetes' own variables for services would do the same."""
    named = {key for config in of_kind(overlay, "ConfigMap") for key in config["data"]}
    for pod in pods(overlay):
        assert pod["spec"]["enableServiceLinks"] is False
        named |= {variable["name"] for variable in pod["spec"]["containers"][0]["env"]}
    named |= {key for keys in SECRETS.values() for key in keys}
    refuse_unknown_variables(named)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_the_documented_ones(overlay: str) -> None:
    document = (ROOT / "docs" / "deploy" / "kubernetes.md").read_text()
    assert not of_kind(overlay, "Secret")
    for pod in pods(overlay):
        (container,) = pod["spec"]["containers"]
        for source in container.get("envFrom", []):
            assert "secretRef" not in source or source["secretRef"]["name"] in document
        for variable in container["env"]:
            if (key := variable.get("valueFrom", {}).get("secretKeyRef")) is not None:
                assert key["key"] in SECRETS[key["name"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_gateways_find_a_runner_for_every_model(overlay: str) -> None:
    (config,) = of_kind(overlay, "ConfigMap")
    runners = dict(pair.split("=", 1) for pair in config["data"]["JUBAKO_RUNNERS"].split(","))
    assert list(runners) == config["data"]["JUBAKO_MODELS"].split(",")
    for model, url in runners.items():
        full_catalogue(None).get(model)
        name, port = url.removeprefix("http://").split(":")
        (service,) = [service for service in of_kind(overlay, "Service") if service["metadata"]["name"] == name]
        assert service["spec"]["ports"][0]["port"] == int(port)
        (pod,) = [pod for pod in pods(overlay) if selects(service["spec"]["selector"], pod)]
        assert pod["metadata"]["labels"]["jubako/model"] == model
        (models,) = [v for v in pod["spec"]["containers"][0]["env"] if v["name"] == "JUBAKO_MODELS"]
        assert models["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['jubako/model']"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_deployment_has_a_budget_and_a_service_of_its_own(overlay: str) -> None:
    for deployment in of_kind(overlay, "Deployment"):
        pod = deployment["spec"]["template"]
        assert selects(deployment["spec"]["selector"], pod)
        for kind in ("PodDisruptionBudget", "Service"):
            assert len([thing for thing in of_kind(overlay, kind) if selects(thing["spec"]["selector"], pod)]) == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_network_lets_only_gateways_reach_runners(overlay: str) -> None:
    policies = [thing["spec"] for thing in of_kind(overlay, "NetworkPolicy")]
    for pod in pods(overlay):
        mine = [policy for policy in policies if selects(policy["podSelector"], pod)]
        assert any(not policy.get("ingress") for policy in mine), "denied by default"
        (allowed,) = [rule for policy in mine for rule in policy.get("ingress", [])]
        assert [port["port"] for port in allowed["ports"]] == [
            pod["spec"]["containers"][0]["ports"][0]["containerPort"]
        ]
        if pod["metadata"]["labels"]["app.kubernetes.io/name"] == "runner":
            gateways = [peer["podSelector"] for peer in allowed["from"] if "podSelector" in peer]
            assert [selects(selector, other) for selector in gateways for other in pods(overlay)].count(True) == 1
            assert not selects(gateways[0], pod)


def test_scaled_objects_are_about_what_is_there() -> None:
    deployments = {thing["metadata"]["name"]: thing for thing in of_kind("gpu", "Deployment")}
    authentications = {thing["metadata"]["name"] for thing in of_kind("gpu", "TriggerAuthentication")}
    scaled = of_kind("gpu", "ScaledObject")
    assert {thing["spec"]["scaleTargetRef"]["name"] for thing in scaled} == deployments.keys() - {"gateway"}
    for thing in scaled:
        assert "replicas" not in deployments[thing["spec"]["scaleTargetRef"]["name"]]["spec"]
        assert {trigger["authenticationRef"]["name"] for trigger in thing["spec"]["triggers"]} <= authentications
        streams = {trigger["metadata"]["stream"] for trigger in thing["spec"]["triggers"]}
        assert streams == {Docket(f"jubako-{priority.name.lower()}").stream_key for priority in Priority}
    claims = {thing["metadata"]["name"] for thing in of_kind("gpu", "PersistentVolumeClaim")}
    assert claims == {
        f"weights-{pod['metadata']['labels']['jubako/model']}"
        for pod in pods("gpu")
        if "jubako/model" in pod["metadata"]["labels"]
    }


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as running:
        yield running


async def test_length_of_a_stream_is_the_work_that_is_left(server: RedisServer) -> None:
    """What KEDA asks for, XLEN, wakes a runner for a waiting job, holds it while one is done, and lets it go after."""
    lengths = []
    client = redis.asyncio.Redis.from_url(server.url)

    async with Docket("jubako-normal", server.url) as docket:
        stream = docket.stream_key

        async def run_job(job_id: str) -> None:
            lengths.append(await client.xlen(stream))

        docket.register(run_job)
        for number in range(3):
            await docket.add("run_job", key=str(number))(str(number))
        assert await client.xlen(stream) == 3
        async with Worker(docket, concurrency=1, redelivery_timeout=timedelta(seconds=30)) as worker:
            await worker.run_until_finished()
        assert lengths == [3, 2, 1]
        assert await client.xlen(stream) == 0
    await client.aclose()
