"""Names of devices, as operators write them."""

from __future__ import annotations

CPU = "cpu"
DEVICE_PATTERN = r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$"
"""One device, for one model."""
DEVICES_PATTERN = r"^(auto|cpu(:[1-9]\d*)?|mps|(cuda|xpu)(:\d+(,\d+)*)?)$"
"""The devices of a server: cuda:0,2 are two cards, cpu:2 is a CPU whose cores are split between two replicas."""


def devices_in(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the kind of device and the numbers, each once, in the order they are written."""
    kind, _, numbers = text.partition(":")
    return kind, tuple(dict.fromkeys(int(number) for number in numbers.split(",") if number))


def first_device(text: str) -> str:
    """Return the device that a process has which uses only one."""
    kind, numbers = devices_in(text)
    return kind if kind == CPU or not numbers else f"{kind}:{numbers[0]}"
