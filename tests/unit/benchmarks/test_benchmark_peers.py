"""The servers that Jubako is compared with are served well: batches that share calls, and no thread too many."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

import benchmarks.weights
from benchmarks.peers.pipelines import Pipelines, PlainRequest
from core.generation.request import Task
from models.catalogue.catalogue import full_catalogue

ENTRY = full_catalogue(None).get("miniature")


def wanted(number: int, steps: int, task: Task = Task.TEXT_TO_IMAGE) -> PlainRequest:
    image = None if task is Task.TEXT_TO_IMAGE else Image.new("RGB", (32, 32))
    return PlainRequest(task=task, prompt=str(number), num_inference_steps=steps, seed=number, image=image)


def test_requests_share_a_call_by_task_and_steps_and_come_back_in_their_order() -> None:
    calls = []

    def pipeline(**arguments: Any) -> SimpleNamespace:
        calls.append((arguments["num_inference_steps"], arguments["prompt"], "image" in arguments))
        return SimpleNamespace(images=[Image.new("L", (1, 1), int(prompt)) for prompt in arguments["prompt"]])

    tasks = dict.fromkeys((Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE), pipeline)
    pipelines = Pipelines(ENTRY, SimpleNamespace(pipelines=tasks))  # type: ignore[arg-type]
    images = pipelines.draw([wanted(0, 4), wanted(1, 20), wanted(2, 4), wanted(3, 4, Task.IMAGE_TO_IMAGE)])
    assert [image.getpixel((0, 0)) for image in images] == [0, 1, 2, 3]
    assert calls == [(4, ["0", "2"], False), (20, ["1"], False), (4, ["3"], True)]


def test_loading_for_a_peer_takes_one_thread_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the loading thread keeps an OpenMP team, and with that of the generating one there are too many threads."""
    threads: list[int] = []

    def make_scheduler(*_: object) -> str:
        threads.append(torch.get_num_threads())
        return "sampler"

    pipelines = {Task.TEXT_TO_IMAGE: SimpleNamespace(scheduler=SimpleNamespace(config={}))}
    monkeypatch.setattr(benchmarks.weights, "load", lambda *_: SimpleNamespace(pipelines=pipelines))
    monkeypatch.setattr(benchmarks.weights, "make_scheduler", make_scheduler)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = benchmarks.weights.load_plain(ENTRY)
        assert (threads, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
    assert model.pipelines[Task.TEXT_TO_IMAGE].scheduler == "sampler"
