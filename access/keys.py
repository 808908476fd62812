"""Keys and their hashes, from the settings and from a file."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe
from typing import Annotated, Literal

import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from core.caller import Caller, Rates
from core.errors import StartError
from core.generation.request import Priority
from core.validation import mistakes_text
from settings.sections.access import ADMIN, NAME, AccessOptions

SCHEME = "sha256:"
PREFIX = "jbk_"
"""Lets scanners for leaked secrets recognize keys of this server."""


def hash_of(key: str) -> str:
    """Return the hash of a key, for the file.

    A fast hash is safe, since keys are long and random: slow ones protect guessable passwords, and this one is computed
    for every request.
    """
    return SCHEME + sha256(key.encode()).hexdigest()


def new_key() -> str:
    """Return a key of 256 random bits."""
    return PREFIX + token_urlsafe(32)


class _Line(Rates):
    """One key in the file: just its hash, or also its own rates (null is no limit) and its best priority."""

    hash: str = Field(pattern=f"^{SCHEME}[0-9a-f]{{64}}$", repr=False)
    admin: bool = False
    priority: Literal["high", "normal", "low"] = "high"

    def caller(self, name: str, defaults: Rates) -> Caller:
        own = self.model_dump(include=set(Rates.model_fields), exclude_unset=True)
        rates = defaults.model_copy(update=own)
        return Caller(name, self.admin, rates, best_priority=Priority[self.priority.upper()])


def _as_line(value: object) -> object:
    return {"hash": value} if isinstance(value, str) else value


_Name = Annotated[str, Field(pattern=NAME)]
_FILE: TypeAdapter[dict[str, _Line]] = TypeAdapter(dict[_Name, Annotated[_Line, BeforeValidator(_as_line)]])


@dataclass(frozen=True)
class Keyring:
    callers: Mapping[str, Caller]
    """Callers by the hashes of their keys."""
    rates: Rates
    """The rates of callers without rates of their own."""
    closed: bool
    """Whether every caller needs a key; a lone admin key closes only what needs an admin."""

    @classmethod
    def of(cls, options: AccessOptions) -> Keyring:
        """Collect all keys. Raises StartError when the file is wrong or two keys have one name."""
        owned = list(_owned(options))
        names = [caller.name for _, caller in owned]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise StartError(f"two keys have one name: {', '.join(twice)}")
        return cls(dict(owned), options.rates, options.needs_keys)

    def anonymous(self, address: str) -> Caller:
        """Return the caller of a request without a key, where none is needed."""
        return Caller(address, rates=self.rates, anonymous=True)

    def manages(self, caller: Caller) -> bool:
        """Whether a caller may load, unload, move and change models; without any keys, all may."""
        return caller.admin or not self.callers

    def named(self, name: str, anonymous: bool) -> Caller:
        """Return the caller of an earlier request, with what their key allows now."""
        if anonymous:
            return self.anonymous(name)
        known = (caller for caller in self.callers.values() if caller.name == name)
        return next(known, Caller(name, rates=self.rates))

    def owner(self, key: str) -> Caller | None:
        """Return the owner of a key; takes equally long for wrong and right keys."""
        wanted, found = hash_of(key), None
        for known, caller in self.callers.items():
            if hmac.compare_digest(known, wanted):
                found = caller
        return found


def _owned(options: AccessOptions) -> Iterator[tuple[str, Caller]]:
    if options.admin_key is not None:
        yield hash_of(options.admin_key), Caller(ADMIN, admin=True)
    for name, key in options.api_keys.items():
        yield hash_of(key), Caller(name, rates=options.rates)
    if options.api_keys_file is not None:
        for name, line in _read(options.api_keys_file.expanduser()).items():
            yield line.hash, line.caller(name, options.rates)


def _read(file: Path) -> dict[str, _Line]:
    try:
        return _FILE.validate_python(yaml.safe_load(file.read_text("utf-8")) or {})
    except OSError as error:
        raise StartError(f"JUBAKO_API_KEYS_FILE: {file} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise StartError(f"JUBAKO_API_KEYS_FILE: {file} is not YAML") from error
    except ValidationError as error:
        raise StartError(f"JUBAKO_API_KEYS_FILE: {file}: {_mistakes(error)}") from error


def _mistakes(error: ValidationError) -> str:
    """Describe the mistakes without showing values: one may be a key, written where its hash belongs."""
    if any(each["loc"][-1] == "hash" and each["type"] != "missing" for each in error.errors()):
        names = sorted({str(each["loc"][0]) for each in error.errors()})
        return f"a hash is {SCHEME} and 64 hexadecimal digits; look at {', '.join(names)}"
    return mistakes_text(error, _Line.model_fields)
