"""Which host names a server answers to, and which web pages may use it.

A browser sends requests on behalf of any page to any server it can reach, including its user's own machine. But no page
can hide itself: writes and WebSockets carry `Origin` or `Sec-Fetch-Site`, and a page whose name was pointed at this
server (DNS rebinding) has that name in `Host`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from core.errors import Forbidden
from settings import Settings
from settings.sections.network import EVERY

PRIVATE_DOMAINS = ("localhost", "local", "internal", "home.arpa", "svc")
"""Domains that are never delegated (RFC 6761, RFC 6762, ICANN's resolution of 2024-07-29, RFC 8375), and `svc`, which
ends short names of Kubernetes services and is no top-level domain."""
OWN_PAGES = ("same-origin", "none")
"""Values of Sec-Fetch-Site for a page of this server, and for an address typed by a person."""
MAX_SHOWN_CHARS = 100


@dataclass(frozen=True)
class Sites:
    origins: frozenset[str]
    """Sites whose pages may do everything."""
    hosts: frozenset[str]
    """Allowed names, beside those that no stranger can point at this server; `*.example.com` means all below it."""

    @classmethod
    def of(cls, settings: Settings, closed: bool) -> Sites:
        """Return what the settings allow. A `closed` server answers to any name, since every page needs a key."""
        hosts, origins = set(settings.allowed_hosts), set(settings.cors_origins)
        if settings.public_url is not None:
            public = urlsplit(settings.public_url.lower())
            hosts.add(public.hostname or "")
            origins.add(f"{public.scheme}://{public.netloc}")
        return cls(frozenset(origins), frozenset({EVERY} if closed else hosts))

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Raise Forbidden when the name in `Host` may belong to a stranger."""
        host = headers.get("host", "")
        if not (EVERY in self.hosts or self._is_own(host)):
            raise Forbidden(f"this server has no name {_shown(host)}; JUBAKO_ALLOWED_HOSTS can allow it")

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Raise Forbidden when a page of another site sends this."""
        origin = headers.get("origin", "").lower()
        if origin in self.origins or EVERY in self.origins:
            return
        if "sec-fetch-site" in headers:
            foreign = headers["sec-fetch-site"] not in OWN_PAGES
        else:
            # Programs send neither header; browsers send Sec-Fetch-Site to https:// and localhost only.
            foreign = bool(origin) and not origin.endswith(f"://{headers.get('host', '').lower()}")
        if foreign:
            raise Forbidden(f"pages of {_shown(origin)} may not do this; JUBAKO_CORS_ORIGINS can allow it")

    def _is_own(self, host: str) -> bool:
        name = _name(host)
        if name is None:
            return False
        parents = {f"*.{'.'.join(name.split('.')[n:])}" for n in range(1, name.count(".") + 1)}
        return _is_private(name) or name in self.hosts or not parents.isdisjoint(self.hosts)


def trust_proxies(proxies: Collection[str]) -> None:
    """Have uvicorn take the client's address from these proxies only. Has no effect once uvicorn is configured."""
    os.environ["FORWARDED_ALLOW_IPS"] = ",".join(proxies)


def _name(host: str) -> str | None:
    """Return the name in a `Host`: empty if there is none, as in HTTP/1.0, and None if it is malformed."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return None


def _is_private(name: str) -> bool:
    """Whether only this machine, its network or its operator can define this name, so that it is no public domain."""
    if "." not in name or name.endswith(tuple(f".{domain}" for domain in PRIVATE_DOMAINS)):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _shown(text: str) -> str:
    return repr(text[:MAX_SHOWN_CHARS]) if text else "other sites"
