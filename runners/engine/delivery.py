"""Turns tensors into images on a separate thread, so that the engine's can run the next pass."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import astuple, dataclass
from queue import SimpleQueue
from time import perf_counter

import numpy as np
import torch
from PIL import Image

from core.errors import GenerationFailed
from core.generation.events import Clip, Failed, Picture, Result, Sound
from core.generation.step_cache import StepCache
from runners.engine.device_copies import DeviceCopy
from runners.engine.ticket import Ticket

log = logging.getLogger("jubako.engine")

PEAK = 2**15 - 1


@dataclass(frozen=True)
class Made:
    """How a result was generated, as reported in its event."""

    step_cache: StepCache = StepCache.OFF
    skipped_steps: int = 0
    tiled: bool = False


@dataclass(frozen=True)
class Waveform:
    """Sound that is being copied off the device."""

    samples: DeviceCopy
    """(channels, N) of -1 to 1."""
    rate_hz: int

    @classmethod
    def of(cls, samples: torch.Tensor, rate_hz: int) -> Waveform:
        return cls(DeviceCopy(samples.float()), rate_hz)

    def sound(self) -> Sound:
        """Wait for the samples, and round them to 16 bits."""
        samples = np.clip(self.samples.read().numpy(), -1, 1)
        return Sound((samples.T * PEAK).round().astype("<i2").tobytes(), channels=len(samples), rate_hz=self.rate_hz)


@dataclass(frozen=True)
class PipelineOutput:
    """A pipeline's output, before it is made an image or a clip."""

    index: int
    seed: int
    pixels: DeviceCopy
    """(F, C, H, W), 0 to 1 or already bytes."""
    fps: int | None
    """Frames a second of a clip; None for an image, which has one frame, or one for each of its layers."""
    made: Made = Made()
    waveform: Waveform | None = None
    """The sound of a clip that has one."""

    @classmethod
    def of(
        cls,
        index: int,
        seed: int,
        frames: torch.Tensor,
        fps: int | None,
        made: Made | None = None,
        waveform: Waveform | None = None,
    ) -> PipelineOutput:
        """Start copying frames, (F, C, H, W), 0 to 1, off their device; on a card they are converted to bytes first."""
        pixels = DeviceCopy(as_bytes(frames) if frames.device.type == "cuda" else frames.float(), timed=True)
        return cls(index, seed, pixels, fps, made or Made(), waveform)

    def results(self) -> list[Result]:
        """Wait for the pixels; return a clip, an image or the layers of one."""
        images, made = tuple(map(_image, self.pixels.read())), self.made
        if self.fps is None:
            numbered = enumerate(images, start=self.index)
            return [Picture(index, self.seed, image, *astuple(made)) for index, image in numbered]
        sound = None if self.waveform is None else self.waveform.sound()
        clip = Clip(self.index, self.seed, images, self.fps, made.step_cache, made.skipped_steps, made.tiled, sound)
        return [clip]


def as_bytes(pixels: torch.Tensor) -> torch.Tensor:
    """Round 0 to 1 to 0 to 255, as diffusers' `pt_to_numpy` and `numpy_to_pil` do together."""
    return (pixels.float() * 255).round().to(torch.uint8)


def _image(frame: torch.Tensor) -> Image.Image:
    # With numpy: torch would give this thread an OpenMP team, whose spinning takes the engine's cores.
    planes = frame.numpy()
    if planes.dtype != np.uint8:
        planes = (planes * 255).round().astype(np.uint8)
    pixels = planes.transpose(1, 2, 0)
    if pixels.flags.c_contiguous:
        return Image.fromarray(pixels)
    # Pillow interleaves planes five times as fast as numpy.
    return Image.merge("RGBA" if len(planes) == 4 else "RGB", [Image.fromarray(plane) for plane in planes])


class Delivery:
    """Emits results and failures, in the order of the calls."""

    def __init__(self, model: str, on_copied: Callable[[float], None]) -> None:
        """`on_copied` gets the seconds that copying and converting a result took, on this object's thread."""
        self._on_copied = on_copied
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"delivery-{model}", daemon=True)
        self._thread.start()

    def deliver(self, ticket: Ticket, drawn: PipelineOutput, *, last: bool) -> None:
        """Emit the results; with `last`, they are the request's last ones."""

        def work() -> None:
            *others, result = self._results_or_failure(drawn)
            for other in others:
                ticket.emit(other)
            ticket.emit_last(result) if last else ticket.emit(result)

        self._work.put(work)

    def fail(self, ticket: Ticket, failed: Failed) -> None:
        """Emit the failure of a request, after its results so far."""
        self._work.put(lambda: ticket.emit_last(failed))

    def close(self) -> None:
        """Return when everything has been emitted."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _results_or_failure(self, drawn: PipelineOutput) -> list[Result] | list[Failed]:
        try:
            # The time until the copy begins belongs to the pass.
            copied_s, arrived_at_s = drawn.pixels.copy_seconds, perf_counter()
            results = drawn.results()
        except Exception:
            log.exception("the pixels of a result could not be read")
            return [Failed.of(GenerationFailed("the result could not be read from the device"))]
        self._on_copied(copied_s + perf_counter() - arrived_at_s)
        return results
