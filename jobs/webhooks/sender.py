"""Notifying a caller's own server that a job has ended: signed, timestamped, retried, and never inside our network.

The signature is that of the Standard Webhooks specification (standardwebhooks.com): the header `webhook-signature` is
`v1,` and the base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
import json
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from core.errors import InvalidRequest
from jobs.job import Job, WebhookDelivery
from jobs.ledger.ledger import Ledger
from jobs.telemetry import WEBHOOKS
from jobs.webhooks.public_addresses import is_public

log = logging.getLogger("jubako.webhooks")

SECRET_PREFIX = "whsec_"
"""By the specification, the prefix of secrets written in base64; the operator's secret may be any text."""
TIMEOUT_S = 10.0
MAX_ATTEMPTS = 8
BACKOFF = 3
"""Factor between consecutive pauses: starting with 5 s, the last attempt comes after an hour and a half."""
GONE = 410
"""The status by which a receiver says that it wants no more attempts."""


class PrivateAddressError(OSError):
    """A host name resolves to an address that is not on the public internet."""


class PublicResolver(AbstractResolver):
    """Resolves names when connecting and refuses those that lead into private networks: a name that was checked before
    may lead elsewhere by then.
    """

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for address in found:
            if not is_public(address["host"]):
                raise PrivateAddressError(f"{host} leads to {address['host']}")
        return found

    async def close(self) -> None:
        await self._resolver.close()


async def check_webhook_url(url: str, allow_private: bool) -> None:
    """Raise InvalidRequest for an address that will not be called."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidRequest("webhook_url", "is not an address") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest("webhook_url", "must be an http or https address")
    if parts.username or parts.password:
        raise InvalidRequest("webhook_url", "must not carry a user name or password")
    if allow_private:
        return
    try:
        async with asyncio.timeout(TIMEOUT_S):
            if _is_literal(parts.hostname):
                found = [parts.hostname]
            else:
                found = [a["host"] for a in await ThreadedResolver().resolve(parts.hostname, 0, socket.AF_UNSPEC)]
    # ValueError: impossible names, such as those with an empty part.
    except (OSError, TimeoutError, ValueError) as error:
        raise InvalidRequest("webhook_url", f"{parts.hostname!r} cannot be found") from error
    if not all(map(is_public, found)):
        raise InvalidRequest("webhook_url", "leads to a private address; the operator must allow those")


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def secret_of(owner: str, secret: str) -> str:
    """Return the secret of an owner, so that no receiver can sign for another owner.

    Without keys, there is one user, who has the server's own secret.
    """
    if not owner:
        return secret
    derived = hmac.digest(secret.encode(), f"webhooks of {owner}".encode(), "sha256")
    return SECRET_PREFIX + base64.b64encode(derived).decode()


def webhook_signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header `webhook-signature`."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(_bytes_of(secret), signed, "sha256")).decode()


def _bytes_of(secret: str) -> bytes:
    if secret.startswith(SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return secret.encode()


@dataclass(frozen=True)
class WebhookSender:
    ledger: Ledger
    secret: str
    """Empty if the operator has removed it: notifications then wait until there is one again."""
    allow_private: bool
    first_pause: timedelta
    body: Callable[[Job], Awaitable[Mapping[str, Any]]]
    """Makes the body that a receiver gets about a job."""

    async def attempt(self, job_id: str, number: int) -> timedelta | None:
        """Notify a job's webhook; return the pause before the next attempt, or None if no further one is needed."""
        job = await self.ledger.get(job_id)
        if not job.unnotified or not self.secret:
            return None
        delivery = await self._post(job)
        status = delivery.status
        done = (status is not None and (200 <= status < 300 or status == GONE)) or number >= MAX_ATTEMPTS
        await self.ledger.note(job_id, lambda j: j.changed(deliveries=(*j.deliveries, delivery), told=done or j.told))
        WEBHOOKS.labels(outcome=str(status or "unreachable")).inc()
        log.info("job %s: webhook attempt %d: %s", job_id, number, delivery.detail)
        return None if done else self.first_pause * BACKOFF ** (number - 1)

    async def _post(self, job: Job) -> WebhookDelivery:
        assert job.webhook_url is not None
        body = json.dumps(await self.body(job)).encode()
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": job.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": webhook_signature(secret_of(job.owner, self.secret), job.id, timestamp, body),
        }
        try:
            async with (
                self._session(job.webhook_url) as session,
                session.post(job.webhook_url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                return WebhookDelivery(at=datetime.now(UTC), status=answer.status, detail=f"answered {answer.status}")
        except TimeoutError:
            detail = f"no answer within {TIMEOUT_S:g} s"
        except (aiohttp.ClientError, OSError) as error:
            # The receiver's owner reads this, and must not learn about our network.
            private = isinstance(error, PrivateAddressError) or isinstance(error.__cause__, PrivateAddressError)
            detail = "leads to a private address" if private else "could not be reached"
        return WebhookDelivery(at=datetime.now(UTC), status=None, detail=detail)

    def _session(self, url: str) -> aiohttp.ClientSession:
        host = urlsplit(url).hostname or ""
        if not self.allow_private and _is_literal(host) and not is_public(host):
            raise PrivateAddressError(f"{host} is private")
        connector = aiohttp.TCPConnector(resolver=None if self.allow_private else PublicResolver())
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
