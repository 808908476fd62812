"""What a runner says of itself: to the gateway, to operators, and in `GET /health`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class ModelState(StrEnum):
    """Best first: of a model with several runners, the best of their states is shown."""

    READY = "ready"
    LOADING = "loading"
    UNLOADED = "unloaded"
    """A request loads it."""
    UNLOADING = "unloading"
    """Running requests are finished; new ones wait."""
    FAILED = "failed"
    RESTARTING = "restarting"
    """Its process does not answer, and did before."""
    STARTING = "starting"
    """Its process has not answered yet."""

    @property
    def serves(self) -> bool:
        """Whether a request is generated, at once or when the model is loaded."""
        return self in (ModelState.READY, ModelState.UNLOADED)

    @property
    def becoming_ready(self) -> bool:
        return self in (ModelState.STARTING, ModelState.LOADING)

    @property
    def in_memory(self) -> bool:
        return self in (ModelState.READY, ModelState.LOADING, ModelState.UNLOADING)

    @property
    def rank(self) -> int:
        return list(ModelState).index(self)


class RunnerState(BaseModel):
    """Only what a runner knows is set, and shown: one that does not answer has its `model` and `state` alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    model: str
    state: ModelState
    progress: float | None = None
    """Of loading, 0 to 1."""
    error: str | None = None
    """Why the last load failed."""
    device: str | None = None
    wanted_device: str | None = None
    """Where the next load puts the model; it may be on its way there."""
    dtype: str | None = None
    devices: tuple[str, ...] | None = None
    """All of the machine's."""
    device_memory_gib: Mapping[str, float] | None = None
    memory_gib: float | None = None
    """What the loaded model takes of its device's."""
    running: int = 0
    """Images being generated."""
    queued: int = 0
    """Requests waiting."""
    pid: int | None = None
    runners: tuple[RunnerState, ...] | None = None
    """Each of several runners of one model."""

    @classmethod
    def of_several(cls, model: str, states: Sequence[RunnerState]) -> Self:
        """Return the best of the runners' states, without memory and processes, which are other machines'."""
        best = min(states, key=lambda state: state.state.rank)
        return cls(
            model=model,
            **best.model_dump(exclude_unset=True, exclude=_OF_ITS_PROCESS),
            running=sum(state.running for state in states),
            queued=sum(state.queued for state in states),
            runners=tuple(states),
        )

    def as_json(self) -> dict[str, Any]:
        """Return what is known, for an answer."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"runners": {"__all__": _OF_ALL_RUNNERS}})


_OF_ITS_PROCESS = {"model", "device_memory_gib", "memory_gib", "running", "queued", "pid"}
_OF_ALL_RUNNERS = {"model", "wanted_device", "devices", "device_memory_gib", "memory_gib", "pid"}
