"""One process of a group: its rank among the others, and its share of each pass.

diffusers' own context parallelism splits a picture's positions over the processes. With Ulysses, each of them has all
positions of some heads while attention is computed ("Ulysses anything" allows any number of positions, since prompts
and pictures vary in length).
"""

from __future__ import annotations

import gc
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from diffusers import ContextParallelConfig, ParallelConfig
from diffusers.hooks.context_parallel import apply_context_parallel
from torch.distributed import distributed_c10d
from torch.distributed.device_mesh import init_device_mesh

from models.weights.devices import use_device

PASS_S = 300.0
"""The longest that one process waits for the others within a pass; if one ends, that is noticed at once."""


class Rank:
    """One process of a group. After a failed pass, all leave and join again: each may have stopped elsewhere in it."""

    def __init__(self, number: int, size: int, device: torch.device) -> None:
        self.number = number
        self.device = device
        self._size = size
        self._config = ParallelConfig(
            context_parallel_config=ContextParallelConfig(ulysses_degree=size, ulysses_anything=True)
        )

    def join(self, meeting: Path) -> None:
        """Meet all others at a file that has not been used before. Collective."""
        # All are on this machine, whatever its host name resolves to.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        kind = self.device.type
        use_device(self.device)
        dist.init_process_group(
            "gloo" if kind == "cpu" else f"cpu:gloo,{kind}:{dist.get_default_backend_for_device(kind)}",
            store=dist.FileStore(str(meeting), self._size),  # type: ignore[attr-defined]
            rank=self.number,
            world_size=self._size,
            timeout=timedelta(seconds=PASS_S),
        )
        mesh = init_device_mesh(kind, (1, self._size), mesh_dim_names=("ring", "ulysses"))
        self._config.setup(self.number, self._size, self.device, mesh=mesh)

    def leave(self) -> None:
        """Leave the group, which makes others that wait for this process in a pass fail.

        Gloo closes its connections, which the others notice, once nothing refers to its groups.
        """
        if not dist.is_initialized():
            return
        if self.device.type != "cpu":
            for group in list(distributed_c10d._world.pg_map):
                group.abort()
        config = self._config.context_parallel_config
        for each in (self._config, config):
            each._mesh = None
        config._flattened_mesh = config._ring_mesh = config._ulysses_mesh = None
        dist.destroy_process_group()
        gc.collect()

    def split(self, denoiser: Any) -> None:
        """Split a denoiser's passes over all processes of the group.

        `enable_parallelism` would do the same, but not on a CPU, and only if all processes number devices alike.
        """
        for module in denoiser.modules():
            if hasattr(getattr(module, "processor", None), "_parallel_config"):
                module.processor._parallel_config = self._config
        denoiser._parallel_config = self._config
        apply_context_parallel(denoiser, self._config.context_parallel_config, denoiser._cp_plan)
