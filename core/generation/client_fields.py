"""The base of all models of client input: strict fields, and the seed."""

from __future__ import annotations

import secrets
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

MAX_SEED = 2**63 - 1
RANDOM_SEEDS = 2**32
"""Random seeds stay below this: JavaScript cannot hold every integer up to MAX_SEED."""
RANDOM_SEED = -1
"""How most image servers ask for a random seed; leaving the seed out means the same here."""


class ClientFields(BaseModel):
    """Base of all client input: unknown fields are errors, and so is a boolean where a number belongs."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse booleans, which pydantic would accept as 0 and 1."""
        name = info.field_name or ""
        if isinstance(value, bool) and bool not in _types_of(cls.model_fields[name].annotation):
            raise PydanticCustomError("boolean", "Input should not be true or false")
        return value


def random_seed() -> int:
    return secrets.randbelow(RANDOM_SEEDS)


def _none_if_random(seed: int | None) -> int | None:
    return None if seed == RANDOM_SEED else seed


Seed = Annotated[
    int | None,
    Field(
        ge=RANDOM_SEED,
        le=MAX_SEED,
        description="The same seed and parameters give the same image. Default, and -1: random; the response names it.",
        examples=[42],
    ),
    AfterValidator(_none_if_random),
]


def _types_of(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
