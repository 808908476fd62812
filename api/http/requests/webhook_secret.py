"""The secret with which the receivers of a caller's webhooks check signatures."""

from __future__ import annotations

from core.caller import current_caller
from core.errors import Forbidden
from jobs.webhooks.sender import secret_of
from settings import settings


def own_webhook_secret() -> str:
    """Return the current caller's secret; each key has its own. Raises Forbidden."""
    secret, owner = settings().webhook_secret, current_caller().owner
    if secret is None:
        raise Forbidden("webhooks are off: the operator has set no JUBAKO_WEBHOOK_SECRET")
    if not owner:
        raise Forbidden("without keys, webhooks are signed with JUBAKO_WEBHOOK_SECRET itself, which the operator has")
    return secret_of(owner, secret)
