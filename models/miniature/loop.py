"""One resumable training loop for every stage: learning rate, average weights, checkpoints, a progress bar.

A stage's batch depends only on the step number, so that a resumed run continues exactly where it stopped.
"""

import copy
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

SAVE_EVERY_S = 90


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn; ``decay_from`` is the share of steps after which "linear" decay begins."""

    steps: int
    learning_rate: float
    decay: Literal["cosine", "linear"] = "cosine"
    decay_from: float = 0.6
    warmup_steps: int = 100
    average: float = 0.0  # decay of the running mean of the weights; 0 keeps none
    weight_decay: float = 0.01

    def rate(self, step: int) -> float:
        """The learning rate of a 0-based step."""
        warmup = min(1.0, (step + 1) / self.warmup_steps)
        done = min(1.0, step / self.steps)
        if self.decay == "cosine":
            shape = 0.5 * (1 + math.cos(math.pi * done))
        else:
            shape = min(1.0, (1 - done) / (1 - self.decay_from))
        return self.learning_rate * warmup * max(shape, 0.01)


class Interrupt:
    """Turns SIGTERM and SIGINT into a flag, so that a run ends between two steps with a checkpoint."""

    def __init__(self) -> None:
        self.raised = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._raise)

    def _raise(self, *_: object) -> None:
        self.raised = True


class Trainer:
    """Trains one module and keeps its state in ``file``."""

    def __init__(self, module: nn.Module, file: Path, schedule: Schedule):
        self.module, self.file, self.schedule = module, file, schedule
        self.averaged = copy.deepcopy(module).eval() if schedule.average else module
        self.optimizer = torch.optim.AdamW(
            module.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay
        )
        self.step = 0
        if file.exists():
            self._restore()

    def run(
        self, loss_of: Callable[[int], Tensor], watch: Callable[[int], None] | None = None, watch_every: int = 0
    ) -> None:
        """Train to the schedule's end; ``watch`` is called with the step now and then. Exits when interrupted."""
        interrupt, saved_at, mean_loss = Interrupt(), time.monotonic(), None
        steps = range(self.step, self.schedule.steps)
        bar = tqdm(steps, self.file.stem, initial=self.step, total=self.schedule.steps, mininterval=10)
        for step in bar:
            loss = self._learn(loss_of(step))
            mean_loss = loss if mean_loss is None else 0.99 * mean_loss + 0.01 * loss
            bar.set_postfix(loss=f"{mean_loss:.4f}", refresh=False)
            if interrupt.raised or time.monotonic() - saved_at > SAVE_EVERY_S:
                self.save()
                saved_at = time.monotonic()
            if interrupt.raised:
                raise SystemExit(f"interrupted; {self.file} holds step {self.step}")
            if watch and self.step % watch_every == 0:
                watch(self.step)
        self.save()

    def _learn(self, loss: Tensor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        if self.schedule.average:
            self._average()
        return loss.item()

    @torch.no_grad()
    def _average(self) -> None:
        # A short memory at first; otherwise the early mean would be mostly the random initialisation.
        decay = min(self.schedule.average, (1 + self.step) / (10 + self.step))
        mean = [value for value in self.averaged.state_dict().values() if value.is_floating_point()]
        now = [value for value in self.module.state_dict().values() if value.is_floating_point()]
        torch._foreach_lerp_(mean, now, 1 - decay)

    def save(self) -> None:
        """Write the whole state atomically."""
        state = {
            "step": self.step,
            "module": self.module.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = self.file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.file)

    def _restore(self) -> None:
        state = torch.load(self.file, map_location=next(self.module.parameters()).device)
        self.step = state["step"]
        self.module.load_state_dict(state["module"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])


def load_trained(module: nn.Module, file: Path) -> nn.Module:
    """Fill a fresh module with the (averaged) weights of a stage's state file, for use without gradients."""
    module.load_state_dict(torch.load(file, map_location="cpu")["averaged"])
    return module.eval().requires_grad_(False)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the processor multiplies it natively (CUDA, AMX); elsewhere no change."""
    native = device.type == "cuda" or torch.cpu._is_amx_tile_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=native)
