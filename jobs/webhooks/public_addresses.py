"""Which IP addresses are on the public internet, so that a webhook may be sent there.

Python's `ipaddress` has the registries of its own release: 3.11 calls several networks global that are not, and newer
releases differ. The decisions here are the same with all releases.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_NO_PUBLIC_IPV4 = (
    # Reserved for protocols: not used on the internet, but a machine of the provider may answer.
    IPv4Network("192.0.0.0/24"),
    # Formerly relays from IPv4 to IPv6 (RFC 7526).
    IPv4Network("192.88.99.0/24"),
    # Azure's own services, as its virtual machines see them.
    IPv4Network("168.63.129.16/32"),
)
_ASSIGNED_IPV6 = IPv6Network("2000::/3")
"""All addresses assigned to the public internet; reserved and local ones lie outside."""
_NO_PUBLIC_IPV6 = (
    # Reserved for protocols, among them Teredo, which leads to an IPv4 address.
    IPv6Network("2001::/23"),
    # For documentation.
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
    # The former test network 6bone.
    IPv6Network("3ffe::/16"),
)
_IPV4_AT_THE_END = (
    # NAT64, IPv4-compatible and IPv4-mapped addresses.
    IPv6Network("64:ff9b::/96"),
    IPv6Network("::/96"),
    IPv6Network("::ffff:0:0/96"),
)


def is_public(address: str) -> bool:
    """Whether an IP address can be reached by anybody on the internet."""
    ip = ipaddress.ip_address(address)
    return _is_public_ipv4(ip) if isinstance(ip, IPv4Address) else _is_public_ipv6(ip)


def _is_public_ipv4(ip: IPv4Address) -> bool:
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NO_PUBLIC_IPV4)


def _is_public_ipv6(ip: IPv6Address) -> bool:
    # Judge an IPv4 address embedded in an IPv6 address by itself: that is where it leads.
    inner = ip.sixtofour or _embedded(ip)
    if inner is not None:
        return _is_public_ipv4(inner)
    return ip in _ASSIGNED_IPV6 and ip.is_global and not any(ip in network for network in _NO_PUBLIC_IPV6)


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    if any(ip in network for network in _IPV4_AT_THE_END):
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return None
