"""Webhooks of predictions, in this process: what a receiver hears, and that Replicate's way to check it agrees."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.predictions.app import predictions_app
from core.caller import Caller, set_caller
from jobs.webhooks.sender import secret_of
from tests.support.servers.service_here import client_here, service_here
from tests.support.servers.serving import write_tiny_catalogue
from tests.support.surroundings.receiver import Receiver, receiving

SECRET = "a secret of the operator"
APPLE = {"prompt": "a red apple", "seed": 7, "num_inference_steps": 1}
FOLDER = "/replicate/v1"


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_catalogue(tmp_path_factory.mktemp("served"))


@pytest.fixture
async def receiver(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """One on this machine, which the operator allows, and a service that calls it."""
    options = {"JUBAKO_WEBHOOK_SECRET": SECRET, "JUBAKO_WEBHOOK_ALLOW_PRIVATE": "true", "JUBAKO_MODELS": "tiny"}
    async with receiving() as receiver, service_here(catalogue, monkeypatch, **options):
        yield receiver


async def heard(receiver: Receiver) -> tuple[dict[str, str], bytes]:
    async with asyncio.timeout(60):
        while not receiver.heard:  # noqa: ASYNC110  # a real server hears it
            await asyncio.sleep(0.01)
    return receiver.heard[0]


def agrees(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """Whether `Webhooks.validate` of replicate 1.0.7 (`replicate/webhook.py`) would take it; its steps are these."""
    named = {name.lower(): value for name, value in headers.items()}
    signed = f"{named['webhook-id']}.{named['webhook-timestamp']}.{body.decode()}"
    key = base64.b64decode(secret.split("_")[1])
    computed = base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()
    return computed in [each.split(",")[1] for each in named["webhook-signature"].split()]


@pytest.mark.parametrize(("path", "folder"), [(f"{FOLDER}/predictions", FOLDER), ("/predictions", "")])
async def test_the_receiver_hears_the_prediction(receiver: Receiver, path: str, folder: str) -> None:
    set_caller(Caller("alice"))
    asked: dict[str, Any] = {"input": APPLE, "version": "tiny", "webhook": receiver.url}
    async with client_here(predictions_app) as client:
        made = (await client.post(path, json={**asked, "webhook_events_filter": ["completed"]})).json()
        headers, body = await heard(receiver)
        shown = (await client.get(f"{folder}/predictions/{made['id']}")).json()
        key = (await client.get(f"{FOLDER}/webhooks/default/secret")).json()["key"]
    told = json.loads(body)
    assert told == shown
    assert (told["status"], told["urls"]["get"]) == ("succeeded", f"http://here{folder}/predictions/{made['id']}")
    assert key == secret_of("alice", SECRET)
    assert agrees(headers, body, key)
    assert "hint" not in told


async def test_what_is_not_sent_is_told(receiver: Receiver) -> None:
    asked = {"input": APPLE, "version": "tiny", "webhook": receiver.url}
    async with client_here(predictions_app) as client:
        await client.post(f"{FOLDER}/predictions", json={**asked, "webhook_events_filter": ["start", "completed"]})
        _, body = await heard(receiver)
    assert json.loads(body)["hint"] == "webhook_events_filter is ignored: webhooks are called with completed alone"
