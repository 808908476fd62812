"""What a runner reports about itself: to the gateway, to operators, and in `GET /health`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from core.errors import LoadFailed, LoadInterrupted
from core.generation.events import Download


class ModelState(StrEnum):
    """In order, the best first: a model with several runners shows the best of their states."""

    READY = "ready"
    LOADING = "loading"
    UNLOADED = "unloaded"
    """The next request loads it."""
    UNLOADING = "unloading"
    """Running requests finish first; new ones wait."""
    FAILED = "failed"
    RESTARTING = "restarting"
    """Its process no longer responds."""
    STARTING = "starting"
    """Its process has not responded yet."""

    @property
    def serves(self) -> bool:
        """Whether requests are accepted, to be generated now or after the model is loaded."""
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


class Card(BaseModel):
    """An NVIDIA card, as a runner's process sees it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    allocated_gib: float
    """Memory in tensors of the process."""
    reserved_gib: float
    """Memory that the process holds for current and future tensors."""
    peak_gib: float
    """The most that was ever allocated."""
    total_gib: float
    utilisation: float | None
    """The share of recent time in which any process ran something on it; None if the card does not say."""
    temperature_c: int | None
    used_gib: float | None = None
    """Memory used by all processes, such as those that compute a model together; None if the card does not say."""


class RunnerState(BaseModel):
    """Only known fields are set, and shown: a runner that does not respond has only `model` and `state`."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    model: str
    state: ModelState
    progress: float | None = None
    """The progress of loading, 0 to 1."""
    download: Download | None = None
    """Set while the model's files are being downloaded."""
    error: str | None = None
    """Why the last load failed."""
    retry_after_s: int | None = None
    """When to retry, if that may help."""
    device: str | None = None
    wanted_device: str | None = None
    """The device that the model is being, or will next be, loaded onto."""
    also_on: tuple[str, ...] = ()
    """The devices of a model's other processes, now and after the next load."""
    components_on: tuple[str, ...] = ()
    """The devices of components that have their own, now and after the next load."""
    dtype: str | None = None
    devices: tuple[str, ...] | None = None
    """All devices of the machine."""
    device_memory_gib: Mapping[str, float] | None = None
    memory_gib: float | None = None
    """The device memory that the loaded model uses."""
    addons_gib: float = 0.0
    """GiB that were loaded for requests: ControlNets, an IP-Adapter or Redux, an upscaler. Except on a CPU,
    `memory_gib` includes it.
    """
    cards: Mapping[str, Card] | None = None
    """The cards by device name, if there are any."""
    sharing: Mapping[str, str] | None = None
    """Of a loaded model that no family declares: which of its modules share passes, and why others do not."""
    running: int = 0
    """Images being generated."""
    queued: int = 0
    """Requests waiting."""
    pid: int | None = None
    replica: int | None = None
    """The number among several runners of one model, counted from 1."""
    runners: tuple[RunnerState, ...] | None = None
    """The state of each runner, for a model with several."""

    @property
    def each(self) -> tuple[RunnerState, ...]:
        """The states of its runners, of which there may be just one."""
        return self.runners or (self,)

    @property
    def occupied(self) -> set[str]:
        """The devices that the model uses, now and after the next load."""
        return {*self.computes_on, *self.components_on}

    @property
    def computes_on(self) -> set[str]:
        """The devices of its denoiser, and of all components that have none of their own."""
        return {device for device in (self.device, self.wanted_device, *self.also_on) if device is not None}

    @property
    def failure(self) -> LoadFailed | LoadInterrupted:
        """The last load's failure, as the error for requests."""
        if self.retry_after_s is None:
            return LoadFailed(str(self.error))
        return LoadInterrupted(str(self.error), self.retry_after_s)

    @classmethod
    def of_several(cls, model: str, states: Sequence[RunnerState]) -> Self:
        """Return the best of the runners' states; figures of single processes are only in `runners`."""
        best = min(states, key=lambda state: state.state.rank)
        return cls(
            model=model,
            **best.model_dump(exclude_unset=True, exclude=_OF_ITS_PROCESS),
            running=sum(state.running for state in states),
            queued=sum(state.queued for state in states),
            runners=tuple(state._with_own_cards() for state in states),
        )

    def _with_own_cards(self) -> Self:
        """Leave out cards that this model does not use."""
        if self.cards is None:
            return self
        own = {device: card for device, card in self.cards.items() if device in self.occupied}
        return self.model_copy(update={"cards": own})

    def as_json(self) -> dict[str, Any]:
        """Return the known fields, for a response."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"runners": {"__all__": _OF_ALL_RUNNERS}})


_OF_ITS_PROCESS = {
    *("model", "replica", "device_memory_gib", "memory_gib", "addons_gib", "cards", "running", "queued", "pid"),
}
_OF_ALL_RUNNERS = {"model", "wanted_device", "devices", "device_memory_gib"}
