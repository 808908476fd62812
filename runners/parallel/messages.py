"""Messages between the processes of a group: JSON over a socket pair, and tensors by broadcast.

Only parent and helper can reach the socket pair; still, nothing is ever unpickled.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import torch
import torch.distributed as dist

LENGTH = struct.Struct("!Q")


class Gone(Exception):
    """The other end is closed, or has been silent for too long."""


class Channel:
    """Messages, as JSON, between two processes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, **message: Any) -> None:
        """Raises Gone."""
        content = json.dumps(message).encode()
        try:
            self._connection.sendall(LENGTH.pack(len(content)) + content)
        except OSError as error:
            raise Gone from error

    def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Wait for the next message; raises Gone."""
        self._connection.settimeout(timeout_s)
        message: dict[str, Any] = json.loads(self._exactly(*LENGTH.unpack(self._exactly(LENGTH.size))))
        return message

    def _exactly(self, length: int) -> bytes:
        received = bytearray()
        while len(received) < length:
            try:
                piece = self._connection.recv(length - len(received))
            except OSError as error:
                raise Gone from error
            if not piece:
                raise Gone
            received += piece
        return bytes(received)

    def close(self) -> None:
        """Close the connection for both ends."""
        self._connection.close()


def as_json(value: Any, tensors: list[torch.Tensor]) -> Any:
    """Return a module's arguments as JSON. Their tensors are appended to `tensors`, in the same order as by `restored`.

    Raises TypeError for values that are not data.
    """
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return {"tensor": list(value.shape), "dtype": name_of(value.dtype), "host": value.device.type == "cpu"}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [as_json(each, tensors) for each in value]}
    if isinstance(value, dict):
        return {"dict": {name: as_json(each, tensors) for name, each in value.items()}}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} cannot be handed to another process")


def restored(description: Any, tensors: list[torch.Tensor], device: torch.device) -> Any:
    """Return the arguments described, with empty tensors, which are appended to `tensors`."""
    if not isinstance(description, dict):
        return description
    if "tensor" in description:
        place = torch.device("cpu") if description["host"] else device
        tensors.append(torch.empty(description["tensor"], dtype=getattr(torch, description["dtype"]), device=place))
        return tensors[-1]
    ((kind, content),) = description.items()
    if kind == "dict":
        return {name: restored(each, tensors, device) for name, each in content.items()}
    made = [restored(each, tensors, device) for each in content]
    return made if kind == "list" else tuple(made)


def name_of(dtype: torch.dtype) -> str:
    """Return a dtype's name in torch."""
    return str(dtype).removeprefix("torch.")


def share(tensors: list[torch.Tensor]) -> None:
    """Copy rank 0's tensors to all other ranks, which pass contiguous tensors to be filled. Collective."""
    for tensor in tensors:
        flat = tensor.detach().contiguous().reshape(-1)
        # As bytes, since not every backend supports every dtype. A tensor of one element may have any stride.
        dist.broadcast(flat.as_strided(flat.shape, (1,)).view(torch.uint8), src=0)
