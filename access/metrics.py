"""Who may read the metrics."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from starlette.types import Scope

from access.bearer import bearer_key
from access.keys import Keyring


def may_read_gateway(metrics_key: str | None, keyring: Keyring) -> Callable[[Scope], bool]:
    """Whether a request may read a gateway's metrics: by their own key or an admin's, or if nobody needs a key."""
    if metrics_key is None and not keyring.closed:
        return _anyone

    def may_read(scope: Scope) -> bool:
        owner = keyring.owner(bearer_key(scope))
        return (owner is not None and owner.admin) or _is_one_of(bearer_key(scope), metrics_key)

    return may_read


def may_read_runner(metrics_key: str | None, runner_key: str | None) -> Callable[[Scope], bool]:
    """Whether a request may read a runner's metrics: by their own key or the runners', or if there is neither."""
    if metrics_key is None and runner_key is None:
        return _anyone
    return lambda scope: _is_one_of(bearer_key(scope), metrics_key, runner_key)


def _anyone(_: Scope) -> bool:
    return True


def _is_one_of(given: str, *keys: str | None) -> bool:
    return any(key is not None and hmac.compare_digest(given.encode(), key.encode()) for key in keys)
