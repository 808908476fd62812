"""Groups of processes for one model, whose helpers are forked from the process that has imported their libraries."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from models.weights.loading import LoadedModel
from runners.parallel import processes
from runners.parallel.group import Group
from runners.parallel.processes import HelperProcess
from tests.support.servers.forked import preload

TOO_MANY_PX = 96
"""At pictures of this size, the second denoiser block of a helper has memory for one sample only."""


class ForkedHelper:
    def __init__(self, connection: socket.socket) -> None:
        preload()
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=_help, args=(connection,), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> int:
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode


@contextmanager
def grouped(model: LoadedModel, size: int = 2) -> Iterator[Group]:
    """Have a model's denoisers be computed by several processes of this machine until the block ends."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(processes, "start", _start)
        group = Group(model, [torch.device("cpu")] * size)
    try:
        yield group
    finally:
        group.close()


def _start(connection: socket.socket) -> HelperProcess:
    return ForkedHelper(connection)


def _help(connection: socket.socket) -> None:
    """Be a helper whose memory is small."""
    from runners.parallel import building, helper

    build = building.empty_denoiser

    def small(*given: Any) -> Any:
        denoiser, tensors = build(*given)
        blocks = getattr(denoiser, "transformer_blocks", None) or denoiser.blocks
        # Between the passes of two layers' attention, for which all processes wait for each other.
        blocks[-1].register_forward_pre_hook(_need_memory, with_kwargs=True)
        return denoiser, tensors

    building.empty_denoiser = small  # type: ignore[assignment]
    helper.main(connection)


def _need_memory(_block: Any, args: Any, kwargs: Any) -> None:
    states = kwargs.get("hidden_states", args[0] if args else None)  # (B, S / processes, D)
    if states.shape[0] > 1 and states.shape[1] == (TOO_MANY_PX // 16) ** 2 // 2:
        raise torch.OutOfMemoryError("pretended")
