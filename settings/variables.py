"""Settings as environment variables: their names, which of them gave a value, and what may be shown of it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from inspect import get_annotations

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from core.errors import StartError

PREFIX = "JUBAKO_"
HIDDEN = "****"
_LINK = r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
_SECRET_PARAMETER = re.compile(r"([?&]\w*(?:password|secret|token|key|sig)\w*=)[^&]*", re.IGNORECASE)


def variables_of(field: str, info: FieldInfo) -> tuple[str, ...]:
    """Return the variables that set a field, the one that takes precedence first.

    A field's own aliases replace the name with our prefix.
    """
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (f"{PREFIX}{field}".upper() if alias is None else str(alias),)


def sections_of(settings: type[BaseModel]) -> list[tuple[type[BaseModel], dict[str, FieldInfo]]]:
    """Return the classes that settings are put together from, each with the fields that it declares."""
    groups = []
    for base in settings.__mro__:
        own = get_annotations(base)
        if declared := {field: info for field, info in settings.model_fields.items() if field in own}:
            groups.append((base, declared))
    return groups


def given(field: str, info: FieldInfo, environment: Mapping[str, str]) -> list[str]:
    """Return those of a field's variables that are set; the first gives the value, the others are ignored."""
    filled = {name.upper() for name, value in environment.items() if value}
    return [name for name in variables_of(field, info) if name.upper() in filled]


def is_secret(info: FieldInfo) -> bool:
    """Whether a field's value must never be shown: such fields are kept out of their model's `repr`."""
    return not info.repr


def masked(value: str) -> str:
    """Hide what precedes the last @, which may be a password, and query parameters that sound like secrets."""
    without_user = re.sub(r"^(\w+://)?.*@", rf"\1{HIDDEN}@", value, flags=re.DOTALL)
    return _SECRET_PARAMETER.sub(rf"\1{HIDDEN}", without_user)


def refuse_unknown(names: Iterable[str], known: Collection[str]) -> None:
    """Raise StartError for variables with our prefix that no setting has.

    A misspelt limit would otherwise be silently ignored.
    """
    ours = {name.upper() for name in names if name.upper().startswith(PREFIX)}
    unknown = sorted(name for name in ours if name not in known and not _is_link(name, ours))
    if unknown:
        raise StartError("unknown settings: " + ", ".join(_with_suggestion(name, known) for name in unknown))


def _is_link(name: str, names: Collection[str]) -> bool:
    """Whether Kubernetes set the variable for a Service: one named jubako-x gives JUBAKO_X_PORT.

    https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
    """
    services = [each.removesuffix("_SERVICE_HOST") for each in names if each.endswith("_SERVICE_HOST")]
    return any(re.fullmatch(service + _LINK, name) for service in services)


def _with_suggestion(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"{name} (did you mean {close[0]}?)" if close else name
