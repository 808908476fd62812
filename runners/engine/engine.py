"""The step engine: many unmodified diffusers pipelines on one thread, sharing forward passes.

Each image has a pipeline of its own, which runs in a greenlet. When it calls a batched module (a text encoder, the
denoiser, the VAE) or reaches a step of its sampler, it parks, and the engine goes on. The engine works in turns of
four phases:

1. `_receive` takes in new requests.
2. `_drop_ended` ends the requests that were cancelled or whose deadlines have passed.
3. `_admit` starts waiting requests while there is room, once their videos are decoded: their pipelines run to their
   first calls.
4. `_step` picks parked calls that can be batched, runs them as one forward pass, and resumes each of their pipelines
   until its next call, a step of its sampler or its result. Equal sampler steps are then taken together, and their
   pipelines go on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import torch

from core.errors import Busy, Cancelled, GenerationFailed, JubakoError, OutOfMemory
from core.generation import events
from core.generation.hints import UNREAD, PromptReading
from core.generation.request import GenerationRequest, Lora
from core.generation.step_cache import StepCache
from models.catalogue.families import IN_ONE_CALL, CallStage
from models.weights.devices import current_device, use_device
from models.weights.loading import LoadedModel
from runners.engine.batcher import WaitingLine, choose
from runners.engine.delivery import Delivery, PipelineOutput
from runners.engine.loras.sets import LoraSets
from runners.engine.lost_device import end_if_lost
from runners.engine.observer import EngineObserver, RequestReport
from runners.engine.passes.buckets import calls_that_fit
from runners.engine.passes.executor import TOO_LARGE, CallOutput, Executor, FailedPass, Pass, Verdict
from runners.engine.passes.module_calls import ModuleCall
from runners.engine.pipeline_run import PipelineRun, Reached, park
from runners.engine.running_request import ParkedRun, RunningRequest
from runners.engine.sampler_steps import SamplerStep, step_together
from runners.engine.step_cache.automatic import AutomaticStepCache, Workload, denoiser_calls
from runners.engine.step_cache.denoising_steps import DenoisingSteps
from runners.engine.ticket import Ticket
from runners.engine.video_decoding import VideoDecoder
from runners.engine.views.factory import ViewFactory
from runners.options import EngineLimits

__all__ = ["Engine", "EngineLimits"]

log = logging.getLogger("jubako.engine")
T = TypeVar("T")


class Engine:
    """Generates with one model, on a thread of its own. From any asyncio loop:
    `async for event in engine.submit(request).events()`.
    """

    def __init__(
        self,
        model: LoadedModel,
        limits: EngineLimits,
        observer: EngineObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._limits = limits
        self._observer = observer or EngineObserver()
        self._clock = clock
        self._loras = LoraSets(next(iter(model.pipelines.values())), model.loras, limits.max_loras)
        self._executor = Executor(self._on_pass, self._on_failed_pass, self._loras.applied, model, limits)
        self._automatic = AutomaticStepCache(limits)
        self._ticks = 0
        self._waiting = WaitingLine[Ticket]()
        self._running: dict[Ticket, RunningRequest] = {}
        # Pipelines parked at a sampler's step until all images of the pass have reached theirs.
        self._stepping: list[tuple[PipelineRun, SamplerStep]] = []
        self._steps_are_shared = True
        # The last pass's outputs, whose check for NaN is due.
        self._unchecked: list[tuple[Ticket, Verdict]] = []
        self._delivery = Delivery(model.id, partial(self._notify, self._observer.on_copied))
        self._places = threading.Semaphore(limits.max_running + limits.max_queue)
        # Tickets to receive; None only wakes the engine, to look for cancellations or to stop.
        self._inbox: SimpleQueue[Ticket | None] = SimpleQueue()
        self._closing = False
        self._views = ViewFactory(model, self._loras, park, limits.batch_tokens)
        self._video_decoder = VideoDecoder(self._wake)
        self._thread = threading.Thread(target=self._run, name=f"engine-{model.id}", daemon=True)
        self._thread.start()

    # Called from any thread.

    def submit(
        self,
        request: GenerationRequest,
        accepted_at_s: float | None = None,
        reading: PromptReading = UNREAD,
    ) -> Ticket:
        """Accept a request; must be called on a running event loop.

        `reading` is reported to the caller when the request starts. `accepted_at_s`, by the engine's clock, is when a
        request that has waited elsewhere was accepted; its deadline counts from then. Raises Busy if `max_queue`
        requests are waiting already.
        """
        accepted_at_s = self._clock() if accepted_at_s is None else accepted_at_s
        ticket = Ticket(request, self._ticks, accepted_at_s, self._wake, self._places.release, reading)
        if self._closing:
            raise Busy(f"{self._model.id} is shutting down")
        if not self._places.acquire(blocking=False):
            raise Busy(f"{self._limits.max_queue} requests are waiting for {self._model.id}; try again later")
        self._inbox.put(ticket)
        return ticket

    def prepare(self, request: GenerationRequest) -> None:
        """Load the LoRAs, ControlNets and IP-Adapter that the request needs, so that no turn has to. Blocks."""
        with current_device(self._model.device):
            self._views.prepare(request)

    @property
    def addons_gib(self) -> float:
        """GiB on the model's device of what was loaded for requests: ControlNets, IP-Adapter and the like."""
        return self._views.addons_gib

    def close(self) -> None:
        """Cancel unfinished requests, end the thread and restore the model's original state."""
        self._closing = True
        self._wake()
        self._thread.join()
        self._end_all(Cancelled("the engine was closed"))
        self._loras.close()
        self._delivery.close()
        self._video_decoder.close()

    @property
    def running(self) -> int:
        """Images in progress."""
        return sum(run.images for request in list(self._running.values()) for run in list(request.calls))

    @property
    def queued(self) -> int:
        """Requests that have not started."""
        return len(self._waiting)

    def _wake(self) -> None:
        self._inbox.put(None)

    # Called from the engine's thread only.

    def _run(self) -> None:
        # Each pipeline switches gradients off and restores the thread's previous state; interleaved greenlets would
        # restore it out of order, so gradients are off before the first pipeline runs.
        torch.set_grad_enabled(False)
        use_device(self._model.device)
        while not self._closing:
            try:
                self._turn()
            except Exception:
                log.exception("the engine of %s failed", self._model.id)
                end_if_lost(self._model.device)
                self._end_all(GenerationFailed("the engine failed"))
        self._end_all(Cancelled("the engine was closed"))

    def _turn(self) -> None:
        self._receive()
        self._drop_ended()
        self._admit()
        if self._running:
            self._step()
        else:
            self._check_answers()

    def _receive(self) -> None:
        idle = not self._running and self._next() is None
        if idle:
            self._executor.rest()
        while idle or not self._inbox.empty():
            try:
                ticket = self._inbox.get(timeout=self._until_a_deadline_s() if idle else None)
            except Empty:
                return
            idle = False
            if ticket is not None:
                self._waiting.add(ticket)
                self._notify(self._observer.on_queue, len(self._waiting))

    def _until_a_deadline_s(self) -> float | None:
        """Return the seconds until the next deadline of a waiting request; None if there is none."""
        at_s = min((ticket.deadline.at_s for ticket in self._waiting), default=inf)
        return None if at_s == inf else max(0.0, at_s - self._clock())

    def _drop_ended(self) -> None:
        for ticket in self._open_tickets():
            if (why := self._reason_to_end(ticket)) is not None:
                self._end(ticket, why)

    def _reason_to_end(self, ticket: Ticket) -> JubakoError | None:
        return Cancelled("the engine was closed") if self._closing else ticket.reason_to_end(self._clock())

    def _admit(self) -> None:
        for started in list(self._running):
            self._start_images(started)
        while (ticket := self._next()) is not None and self._has_room_for(ticket):
            self._waiting.remove(ticket)
            self._notify(self._observer.on_queue, len(self._waiting))
            self._running[ticket] = RunningRequest(self._clock(), self._step_cache_of(ticket))
            try:
                ticket.request = self._video_decoder.request_of(ticket)
            except GenerationFailed as error:
                self._end(ticket, error)
                continue
            waited_s = self._running[ticket].started_at_s - ticket.accepted_at_s
            ticket.emit(events.Started(waited_s, ticket.reading.hint, ticket.reading.tokens))
            self._start_images(ticket)
        for position, ticket in enumerate(self._waiting, start=1):
            ticket.emit_position(position)

    def _next(self) -> Ticket | None:
        """Return the next to start: the first in line whose videos are open. Begin to open those of the very first."""
        if self._waiting:
            self._video_decoder.begin(self._waiting.first)
        return next((ticket for ticket in self._waiting if self._video_decoder.is_done(ticket)), None)

    def _has_room_for(self, ticket: Ticket) -> bool:
        # A request that exceeds the limits by itself runs alone.
        return not self._running or (
            self.running + ticket.request.num_images <= self._limits.max_running
            and self._video_decoder.has_room_for(ticket, self._running)
            and self._can_keep(ticket.request)
            and self._loras.fits(ticket.request.loras, self._loras_in_use())
        )

    def _can_keep(self, request: GenerationRequest) -> bool:
        """Whether there is room for what one more image of the request keeps beside its latents."""
        keeps_gib = self._model.family.kept_gib
        if not (own_gib := keeps_gib(request)):
            return True
        kept_gib = sum(keeps_gib(ticket.request) * len(running.calls) for ticket, running in self._running.items())
        return kept_gib + own_gib <= self._limits.max_kept_gib

    def _step_cache_of(self, ticket: Ticket) -> StepCache:
        if ticket.request.step_cache is not StepCache.AUTO:
            return ticket.request.step_cache
        request, family = ticket.request, self._model.family
        sample_tokens = self._automatic.sample_tokens
        running = Workload.of([request, *(each.request for each in self._running)], family, sample_tokens)
        waiting = Workload.of((each.request for each in self._waiting), family, sample_tokens)
        remaining_s = ticket.deadline.at_s - self._clock()
        return self._automatic.choose(denoiser_calls(request, family), remaining_s, running, waiting)

    def _loras_in_use(self) -> set[tuple[Lora, ...]]:
        return {ticket.request.loras for ticket in self._running}

    def _start_images(self, ticket: Ticket) -> None:
        """Start a request's images that have not begun: one at least, and more while what they keep has room."""
        # An image may fail at once, which ends the request.
        while (request := self._running.get(ticket)) is not None and request.begun < ticket.request.runs:
            if request.calls and not self._can_keep(ticket.request):
                return
            request.begun += 1
            self._start(ticket, request.begun - 1)

    def _start(self, ticket: Ticket, index: int) -> None:
        # If the model has no batched parts, an earlier image may have used up the request's time.
        if (why := self._reason_to_end(ticket)) is not None:
            self._end(ticket, why)
            return
        reason_to_end = partial(self._reason_to_end, ticket)
        step_cache = self._running[ticket].step_cache
        run = PipelineRun(ticket, index, self._model, step_cache, self._view, self._views.upscaler, reason_to_end)
        self._advance(run, run.start)
        self._step_samplers()

    def _view(self, request: GenerationRequest, steps: DenoisingSteps | None) -> Any:
        """Make a view. Called inside the pipeline's greenlet, so that errors end only this request."""
        self._loras.load(request.loras, self._loras_in_use())
        return self._views.view(request, steps)

    def _step(self) -> None:
        batch = choose([parked for request in self._running.values() for parked in request.parked()], self._budget)
        # Calls that do not fit once the batch is padded to its bucket wait for the next pass.
        calls = [parked.call for parked in batch]
        batch = batch[: calls_that_fit(calls, self._model.batch_buckets, self._budget(batch[0]))]
        outcomes = self._executor.run([parked.call for parked in batch])
        self._check_answers()
        for parked, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, CallOutput):
                self._unchecked.append((parked.run.ticket, outcome.verdict))
            # Another image of the same request may have failed and ended it.
            if parked.run.ticket in self._running:
                self._advance(parked.run, partial(parked.run.resume, outcome))
        self._step_samplers()

    def _step_samplers(self) -> None:
        """Take the sampler steps that pipelines wait for, equal ones together, until all wait for calls.

        A pipeline whose next outputs are predicted reaches its next step at once.
        """
        while self._stepping:
            groups: dict[Hashable, list[tuple[PipelineRun, SamplerStep]]] = {}
            for run, step in self._stepping:
                # Another image of the same request may have failed and ended it.
                if run.ticket in self._running:
                    groups.setdefault(step.key, []).append((run, step))
            self._stepping = []
            for group in groups.values():
                for (run, _), sample in zip(group, self._stepped([step for _, step in group]), strict=True):
                    if run.ticket in self._running:
                        self._advance(run, partial(run.stepped, sample))

    def _stepped(self, steps: Sequence[SamplerStep]) -> Sequence[torch.Tensor | None]:
        """Return the next samples, or None for each if samplers must step alone, where an error ends one request."""
        if len(steps) > 1 and self._steps_are_shared:
            try:
                return step_together(steps)
            except torch.OutOfMemoryError:
                # There may be enough memory again at the next step.
                pass
            except Exception:
                # Every further step would fail too.
                self._steps_are_shared = False
                log.exception(
                    "samplers of %s cannot step together; they step one by one, which is slower", self._model.id
                )
        return [None] * len(steps)

    def _check_answers(self) -> None:
        """End requests whose outputs are not finite. This happens after a later pass has begun: waiting for the check
        at once would leave the device idle.
        """
        unchecked, self._unchecked = self._unchecked, []
        for ticket, verdict in unchecked:
            refusal = verdict.refusal()
            if refusal is not None and ticket in self._running:
                self._end(ticket, refusal)

    def _budget(self, parked: ParkedRun) -> int:
        if parked.call.calls_in_pass is not None:
            return parked.call.calls_in_pass * parked.call.tokens
        most = self._limits.of_pass(parked.call.stage)
        return min(most, self._executor.token_limits.get(parked.call.part, most))

    def _advance(self, run: PipelineRun, move: Callable[[], Reached]) -> None:
        """Run one pipeline to what it waits for next; whatever it raises ends only its own request."""
        try:
            reached = move()
        except JubakoError as error:
            self._end(run.ticket, error)
        except torch.OutOfMemoryError:
            self._end(run.ticket, OutOfMemory(TOO_LARGE))
        except Exception:
            log.exception("the pipeline of %s failed", self._model.id)
            end_if_lost(self._model.device)
            self._end(run.ticket, GenerationFailed("the pipeline failed"))
        else:
            if isinstance(reached, ModuleCall):
                running = self._running[run.ticket]
                running.calls[run] = reached
                self._learn_size(run.ticket.request, running, reached)
            elif isinstance(reached, SamplerStep):
                self._stepping.append((run, reached))
            else:
                self._deliver(run, reached)

    def _learn_size(self, request: GenerationRequest, running: RunningRequest, call: ModuleCall) -> None:
        # `hires` denoises at two sizes.
        if call.stage is not CallStage.DENOISE or request.hires is not None:
            return
        tokens = call.tokens / (call.samples if self._model.family.unguided in IN_ONE_CALL else 1)
        # In edits, only every other call may contain the input images.
        if tokens > running.sample_tokens:
            running.sample_tokens = tokens
            self._automatic.learn_size(request, tokens)

    def _deliver(self, run: PipelineRun, drawn: PipelineOutput) -> None:
        ticket, request = run.ticket, self._running[run.ticket]
        request.calls.pop(run, None)
        self._check_answers()
        if ticket not in self._running:
            return
        request.images_done += run.images
        last = request.images_done == ticket.request.num_images
        self._delivery.deliver(ticket, drawn, last=last)
        if last:
            del self._running[ticket]
            self._report(ticket, request, "done")

    def _end(self, ticket: Ticket, error: JubakoError) -> None:
        """Unwind everything that belongs to the request, and emit the error."""
        self._video_decoder.drop(ticket)
        if ticket in self._running:
            request = self._running.pop(ticket)
            request.abandon()
        else:
            self._waiting.remove(ticket)
            self._notify(self._observer.on_queue, len(self._waiting))
            # It never started.
            request = RunningRequest(self._clock())
        self._delivery.fail(ticket, events.Failed.of(error))
        self._report(ticket, request, error.code)

    def _end_all(self, error: JubakoError) -> None:
        if not self._inbox.empty():
            self._receive()
        for ticket in self._open_tickets():
            self._end(ticket, error)

    def _open_tickets(self) -> list[Ticket]:
        return [*self._waiting, *self._running]

    # Reports to the observer.

    def _on_pass(self, forward: Pass) -> None:
        self._ticks += 1
        denoised = forward.tokens if forward.part.stage is CallStage.DENOISE else 0
        self._automatic.learn_speed(forward.seconds + (forward.idle_s or 0), denoised)
        self._notify(self._observer.on_pass, forward)

    def _on_failed_pass(self, failed: FailedPass) -> None:
        self._notify(self._observer.on_failed_pass, failed)

    def _report(self, ticket: Ticket, request: RunningRequest, outcome: str) -> None:
        report = RequestReport(
            task=ticket.request.task,
            outcome=outcome,
            images=request.images_done,
            waited_s=request.started_at_s - ticket.accepted_at_s,
            ran_s=self._clock() - request.started_at_s,
        )
        self._notify(self._observer.on_end, report)

    def _notify(self, method: Callable[[T], None], news: T) -> None:
        """Call a method of the observer; its failures are logged and affect no request."""
        try:
            method(news)
        except Exception:
            log.exception("the observer of %s failed", self._model.id)
