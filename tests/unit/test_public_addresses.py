"""Where webhooks may go: the registries of special addresses, whatever Python's `ipaddress` makes of them."""

from __future__ import annotations

import pytest

from jobs.webhooks.public_addresses import is_public

PRIVATE = {
    "this network": ("0.0.0.0", "0.1.2.3"),
    "private": ("10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    "of a provider's customers": ("100.64.0.1", "100.127.255.255"),
    "loopback": ("127.0.0.1", "127.255.255.254"),
    "link": ("169.254.169.254",),
    "protocols": ("192.0.0.1", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.192", "192.88.99.1"),
    "documentation": ("192.0.2.1", "198.51.100.1", "203.0.113.1"),
    "benchmarks": ("198.18.0.1", "198.19.255.255"),
    "Azure": ("168.63.129.16",),
    "multicast": ("224.0.0.1", "239.255.255.255"),
    "reserved": ("240.0.0.1", "255.255.255.255"),
    "IPv6 loopback and none": ("::1", "::"),
    "IPv4-compatible": ("::7f00:1", "::a9fe:a9fe"),
    "IPv4-mapped": ("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:168.63.129.16"),
    "IPv4-translated": ("::ffff:0:7f00:1", "::ffff:0:a9fe:a9fe", "::ffff:0:808:808"),
    "NAT64": ("64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b:1::1", "64:ff9b:1:ffff::808:808"),
    "discarded": ("100::1", "100:0:0:1::1"),
    "IPv6 protocols": ("2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1"),
    "IPv6 documentation": ("2001:db8::1", "3fff::1", "3fff:fff:ffff::1"),
    "6to4": ("2002:7f00:1::", "2002:a9fe:a9fe::1"),
    "6bone": ("3ffe::1",),
    "segment routing": ("5f00::1", "5f00:ffff::1"),
    "unassigned": ("4000::1", "8000::1", "e000::1"),
    "unique local": ("fc00::1", "fd00:ec2::254"),
    "IPv6 link and site": ("fe80::1", "fe80::1%1", "fec0::1"),
    "IPv6 multicast": ("ff02::1", "ff0e::1"),
}
PUBLIC = (
    *("1.1.1.1", "8.8.8.8", "93.184.215.14", "168.63.129.15", "192.0.1.1", "192.31.196.1", "100.63.255.255"),
    *("2606:4700::1111", "2a00:1450:4001:80b::200e", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8"),
)


@pytest.mark.parametrize("kind", PRIVATE)
def test_no_special_address_is_public(kind: str) -> None:
    assert [address for address in PRIVATE[kind] if is_public(address)] == []


@pytest.mark.parametrize("address", PUBLIC)
def test_others_are(address: str) -> None:
    assert is_public(address)
