"""Dashboard and alerts, asked of a real Prometheus that watches a real server: every figure they show exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from math import isnan
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import free_port, wait_for, write_tiny_catalogue
from tests.support.web import WEB

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "jubako.json").read_text())
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
KEY = "a key of Prometheus"
WINDOW = "5m"
"""In place of Grafana's own: all that this server has ever done."""
MAY_BE_EMPTY = ('outcome="busy"', "jubako_card_")
"""The first appears with the first request that is turned away, the second with an NVIDIA card."""

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="prometheus is not installed: tools/need-prometheus",
)


def shown() -> list[str]:
    """Every expression of the dashboard, as Grafana would ask it with all models chosen."""
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [e.replace("$__rate_interval", WINDOW).replace("$model", ".*") for e in expressions]


def watched() -> list[str]:
    """The figure of every alert, without its threshold."""
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    figures = [re.sub(r" (>|==) [\d.]+\s*$", "", rule["expr"]) for rule in rules]
    assert all(figure != rule["expr"] for figure, rule in zip(figures, rules, strict=True))
    return figures


def demanded() -> list[str]:
    """What docs/deploy/kubernetes.md would have KEDA ask."""
    page = (DEPLOY.parent / "docs" / "deploy" / "kubernetes.md").read_text()
    return [query.replace("sdxl", "tiny") for query in re.findall(r"query: (.*)", page)]


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = url
        self.at_s: float | None = None
        """The moment of which it is asked; None is now."""

    def values(self, expression: str) -> list[float]:
        moment = {} if self.at_s is None else {"time": f"{self.at_s}"}
        answer = WEB.get(f"{self._url}/api/v1/query", params={"query": expression, **moment}).json()
        assert answer["status"] == "success", answer
        return [float(sample["value"][1]) for sample in answer["data"]["result"]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    catalogue = write_tiny_catalogue(tmp_path_factory.mktemp("tiny"))
    webhooks = {"JUBAKO_WEBHOOK_SECRET": "a secret of sixteen", "JUBAKO_WEBHOOK_ALLOW_PRIVATE": "true"}
    with replica(catalogue, **webhooks, JUBAKO_METRICS_KEY=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(server: Replica, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copy(ALERTS, folder)
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(folder / ALERTS.name)]
    (folder / "key").write_text(KEY)
    config["scrape_configs"][0]["authorization"]["credentials_file"] = str(folder / "key")
    # One process is gateway and runner here.
    config["scrape_configs"][0]["static_configs"] = [
        {"targets": [f"127.0.0.1:{server.port}"], "labels": {"role": "gateway"}}
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(f"http://127.0.0.1:{port}/-/ready"))
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def busy(server: Replica, prometheus: Prometheus) -> Prometheus:
    """A Prometheus that has seen the server do everything, twice: rates are of what has changed since it was seen."""
    for seed in (1, 2):
        _use(server, seed)
        scraped_at_s = _wait_for_scrape(prometheus)
    # Rates go down with time, and a scrape that takes too long on a busy machine leaves no figures.
    prometheus.at_s = scraped_at_s
    return prometheus


def _wait_for_scrape(prometheus: Prometheus) -> float:
    """Wait for one that has all that was used until now; return when it was."""
    used_at_s = time.time()

    def scraped_at_s() -> float:
        return max(prometheus.values("timestamp(up) and up == 1"), default=0.0)

    wait_for(lambda: scraped_at_s() > used_at_s)
    return scraped_at_s()


def _use(server: Replica, seed: int) -> None:
    fields = {"prompt": "a red apple", "model": "tiny", "seed": seed}
    assert WEB.post(f"{server.url}/text_to_image", json=fields, timeout=60).status_code == 200
    assert WEB.post(f"{server.url}/text_to_image", json={**fields, "model": "none"}).status_code == 404
    late = {**fields, "num_inference_steps": 900, "deadline_s": 0.05}
    assert WEB.post(f"{server.url}/text_to_image", json=late, timeout=60).status_code == 504
    # Nobody listens there.
    job = server.submit(seed=seed, webhook_url=f"http://127.0.0.1:{free_port()}/")
    wait_for(lambda: server.status(job)["status"] == "completed")
    wait_for(lambda: bool(server.get(f"/api/{job}/webhook").json()["deliveries"]))


def _answers(url: str) -> bool:
    try:
        return WEB.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_rules_are_rules() -> None:
    subprocess.run(["promtool", "check", "rules", ALERTS], check=True, capture_output=True)


def test_configuration_is_one() -> None:
    """Its rules are where the container has them, so only its form can be looked at."""
    config = DEPLOY / "prometheus" / "prometheus.yml"
    subprocess.run(["promtool", "check", "config", "--syntax-only", config], check=True, capture_output=True)


@pytest.mark.parametrize("expression", dict.fromkeys([*shown(), *watched(), *demanded()]))
def test_every_expression_has_an_answer(busy: Prometheus, expression: str) -> None:
    values = busy.values(expression)
    if any(name in expression for name in MAY_BE_EMPTY):
        return
    assert values, "no data"
    assert not all(isnan(value) for value in values)


def test_only_figures_of_cards_need_a_card() -> None:
    of_cards = [expression for expression in shown() if "jubako_card_" in expression]
    assert [re.findall(r"jubako_card_\w+", expression) for expression in of_cards] == [
        ["jubako_card_memory_bytes"],
        ["jubako_card_memory_bytes"],
        ["jubako_card_utilisation_ratio"],
        ["jubako_card_temperature_celsius"],
    ]


def test_figures_are_right(busy: Prometheus) -> None:
    """Sums over all that was ever counted are exact."""
    assert busy.values('sum(jubako_images_total{model="tiny"})') == [4]
    assert busy.values('sum(jubako_jobs_in_hand{model="tiny"})') == [0]
    assert busy.values('sum(jubako_model_ready{model="tiny"})') == [1]
    (taken,) = busy.values('jubako_memory_bytes{model="tiny", where="machine"}')
    assert 50e6 < taken < 20e9
    assert busy.values('jubako_memory_bytes{model="tiny", where="device"}') == [0]


def test_scaling_follows_requests_and_jobs(busy: Prometheus) -> None:
    (expression,) = demanded()
    (demand,) = busy.values(expression)
    assert demand > 1


def test_no_alert_fires(busy: Prometheus) -> None:
    assert busy.values('ALERTS{alertstate="firing"}') == []
