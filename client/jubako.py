"""`Jubako`: a server's typed APIs, streams, jobs and storyboards as methods that block; `AsyncJubako` has them too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import calls
from .calls import Body
from .connection import TIMEOUT_S, Connection
from .display.bars import bar
from .errors import Refused, Unreachable, refusal_from
from .events import Event, EventReader
from .parameters import (
    AnyImageSource,
    Background,
    Edit,
    ImageToImage,
    ImageToVideo,
    Inpaint,
    Story,
    Stream,
    TextToImage,
    TextToVideo,
    Upscale,
)
from .results import FINAL, Image, Job, Model, Result, Storyboard, Video
from .waiting import SILENCE_S, Patience

if TYPE_CHECKING:
    # Python 3.10's typing lacks it.
    from typing_extensions import Unpack

OnEvent = Callable[[Event], None]


class Jubako:
    """One server. `url` and `key` default to JUBAKO_CLIENT_URL and JUBAKO_CLIENT_KEY.

    `parameters` are those of the API, which the server's page `/docs` lists: model, seed, width, height,
    num_inference_steps, guidance_scale, negative_prompt, loras, output_format, ... `progress=True` shows a bar. Methods
    raise Refused, with the server's words, and Unreachable.
    """

    def __init__(self, url: str | None = None, key: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._connection = Connection(url, key, timeout_s)

    def text_to_image(self, prompt: str, *, progress: bool = False, **parameters: Unpack[TextToImage]) -> Image:
        return _image(self._generate("text_to_image", progress, prompt=prompt, **parameters))

    def image_to_image(
        self, prompt: str, image: AnyImageSource, *, progress: bool = False, **parameters: Unpack[ImageToImage]
    ) -> Image:
        return _image(self._generate("image_to_image", progress, prompt=prompt, image=image, **parameters))

    def inpaint(
        self,
        prompt: str,
        image: AnyImageSource,
        mask: AnyImageSource,
        *,
        progress: bool = False,
        **parameters: Unpack[Inpaint],
    ) -> Image:
        """Repaint an image where the mask is white."""
        return _image(self._generate("inpaint", progress, prompt=prompt, image=image, mask=mask, **parameters))

    def edit(self, prompt: str, *images: AnyImageSource, progress: bool = False, **parameters: Unpack[Edit]) -> Image:
        return _image(self._generate("edit", progress, prompt=prompt, images=images, **parameters))

    def text_to_video(self, prompt: str, *, progress: bool = False, **parameters: Unpack[TextToVideo]) -> Video:
        return _video(self._generate("text_to_video", progress, prompt=prompt, **parameters))

    def image_to_video(
        self, prompt: str, image: AnyImageSource, *, progress: bool = False, **parameters: Unpack[ImageToVideo]
    ) -> Video:
        return _video(self._generate("image_to_video", progress, prompt=prompt, image=image, **parameters))

    def upscale(self, image: AnyImageSource, **parameters: Unpack[Upscale]) -> Image:
        """Upscale an image: `upscale=4` makes it four times as wide and high, and 2 is the default."""
        return _image(self._connection.send(calls.generation("upscale", {"image": image, **parameters})))

    def storyboard(self, prompt: str, **parameters: Unpack[Story]) -> Storyboard:
        """Break a story into 6 to 10 scenes and generate an image of each."""
        return self._connection.send(calls.storyboard({"prompt": prompt, **parameters}))

    def stream(self, prompt: str, api: str = "text_to_image", **parameters: Unpack[Stream]) -> Iterator[Event]:
        """Yield events up to `done`; closing the iterator cancels the request.

        `num_images` may be more than 1, and `preview_every=4` asks for previews.
        """
        body = calls.streamed(api, {"prompt": prompt, **parameters})
        for event in self._events("POST", "/stream", body):
            if event.name == "error":
                raise refusal_from(event.data)
            yield event

    def models(self) -> list[Model]:
        """Return the models served, the default first."""
        return self._connection.send(calls.models())

    def submit(self, prompt: str, api: str = "text_to_image", **parameters: Unpack[Background]) -> Job:
        """Submit a job, which outlives this program and a restart of the server."""
        model = parameters.get("model") or calls.first_able(self.models(), api, parameters)
        call = calls.submission(model, api, {"prompt": prompt, **parameters, "model": None})
        return self.job(self._connection.send(call))

    def batch(self, prompts: Sequence[str | dict[str, Any]], **parameters: Unpack[Background]) -> list[Job]:
        """Submit many jobs, all or none: each is a prompt or a dictionary of parameters; `parameters` apply to all."""
        requests = [{"prompt": each} if isinstance(each, str) else each for each in prompts]
        ids = self._connection.send(calls.batch([{**parameters, **each} for each in requests]))
        return [self.job(each) for each in ids]

    def job(self, job_id: str) -> Job:
        return self._connection.send(calls.job(job_id))

    def jobs(self, status: str | None = None, limit: int = 20) -> list[Job]:
        """Return the newest jobs."""
        return self._connection.send(calls.jobs(status, limit))

    def wait(self, *jobs: Job, progress: bool = False, on_event: OnEvent | None = None) -> list[Result]:
        """Wait for jobs; return all their images and videos. Raises Refused for one that failed or was cancelled.

        If the server restarts meanwhile, this waits for it, up to ten minutes.
        """
        return [result for job in jobs for result in self.results(self._ended(job, progress, on_event))]

    def results(self, job: Job) -> list[Result]:
        """Fetch a job's images and videos."""
        wanted = [each for each in job.results if each["media_type"] != "application/json"]
        return [self._connection.send(calls.download(each, job.model)) for each in wanted]

    def cancel(self, job: Job) -> Job:
        return self._connection.send(calls.cancelling(job.id))

    def prioritize(self, job: Job, priority: str) -> Job:
        """Move a job of which nothing is drawn yet to the end of another line: `high`, `normal` or `low`."""
        return self._connection.send(calls.prioritizing(job.id, priority))

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Jubako:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _generate(self, api: str, progress: bool, **parameters: Any) -> Result:
        if not progress:
            return self._connection.send(calls.generation(api, parameters))
        with bar(str(parameters["prompt"])) as shown:
            for event in self.stream(api=api, **parameters):
                shown.show(event)
                if event.result is not None:
                    return event.result
        raise Refused("the server ended without a result")

    def _ended(self, job: Job, progress: bool, on_event: OnEvent | None) -> Job:
        patience = Patience()
        with bar(job.id, shown=progress and not job.ended) as shown:
            while not job.ended:
                for event in self._events_of(job):
                    patience.heard()
                    shown.show(event)
                    if on_event is not None:
                        on_event(event)
                job = self._asked(job, patience)
        return calls.completed(job)

    def _events_of(self, job: Job) -> Iterator[Event]:
        """Yield a job's events until it ends, or until they break off; ask for its status then."""
        with suppress(Refused, Unreachable):
            for event in self._events("GET", f"/api/{job.id}/events", silence_s=SILENCE_S):
                yield event
                if event.name in FINAL:
                    return

    def _asked(self, job: Job, patience: Patience) -> Job:
        """Ask for a job's state, and pause if it has not ended. Raises errors that are not temporary."""
        try:
            job = self.job(job.id)
            patience.answered()
        except (Refused, Unreachable) as error:
            patience.bear(error)
        if not job.ended:
            time.sleep(patience.pause_s())
        return job

    def _events(
        self, method: str, path: str, body: Body | None = None, silence_s: float | None = None
    ) -> Iterator[Event]:
        reader = EventReader()
        with self._connection.lines(method, path, body, silence_s) as lines:
            for line in lines:
                yield from reader.read(line)


def _image(result: Result) -> Image:
    assert isinstance(result, Image)
    return result


def _video(result: Result) -> Video:
    assert isinstance(result, Video)
    return result
