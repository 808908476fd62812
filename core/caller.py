"""Who a request comes from: set once for each request, before any contract sees it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from core.errors import Forbidden
from core.generation.request import Priority


class Rates(BaseModel):
    """What one caller may ask for in any 60 seconds; None is no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_min: int | None = Field(default=None, ge=1)
    megapixels_per_min: float | None = Field(default=None, ge=0.01)
    steps_per_min: int | None = Field(default=None, ge=1)


@dataclass(frozen=True)
class Caller:
    name: str
    """The key's name, or the client's address where no keys are used."""
    admin: bool = False
    rates: Rates = field(default_factory=Rates)
    anonymous: bool = False
    """Whether no key was needed: all such callers count as one user, whatever their addresses."""
    best_priority: Priority = Priority.HIGH
    """The highest class that the caller may ask for."""

    @property
    def owner(self) -> str:
        """The owner of what this caller creates: the key's name, or "" for all anonymous callers together."""
        return "" if self.anonymous else self.name

    def check_priority(self, priority: Priority) -> None:
        """Raise Forbidden for a class that the caller may not ask for."""
        if priority < self.best_priority:
            raise Forbidden(f"priority: this key may have {self.best_priority.name.lower()} at best")

    def sees(self, owner: str) -> bool:
        """Whether the caller may know of what this owner created."""
        return self.admin or owner == self.owner


NOBODY = Caller("")
_CALLER: ContextVar[Caller] = ContextVar("caller", default=NOBODY)


def current_caller() -> Caller:
    """Return the caller of the current request; NOBODY outside of requests."""
    return _CALLER.get()


def set_caller(caller: Caller) -> None:
    """Set the caller of this task and of every task that it starts."""
    _CALLER.set(caller)
