"""`AsyncJubako`: the methods of `Jubako`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from . import calls
from .calls import Body
from .connection import TIMEOUT_S, AsyncConnection
from .errors import Refused, Unreachable, refusal_from
from .events import Event, EventReader
from .jubako import _image, _video
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
    from typing_extensions import Unpack


class AsyncJubako:
    """One server, for many requests at once: `await asyncio.gather(*(jubako.text_to_image(p) for p in prompts))`."""

    def __init__(self, url: str | None = None, key: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._connection = AsyncConnection(url, key, timeout_s)

    async def text_to_image(self, prompt: str, **parameters: Unpack[TextToImage]) -> Image:
        return _image(await self._generate("text_to_image", prompt=prompt, **parameters))

    async def image_to_image(self, prompt: str, image: AnyImageSource, **parameters: Unpack[ImageToImage]) -> Image:
        return _image(await self._generate("image_to_image", prompt=prompt, image=image, **parameters))

    async def inpaint(
        self, prompt: str, image: AnyImageSource, mask: AnyImageSource, **parameters: Unpack[Inpaint]
    ) -> Image:
        """Repaint an image where the mask is white."""
        return _image(await self._generate("inpaint", prompt=prompt, image=image, mask=mask, **parameters))

    async def edit(self, prompt: str, *images: AnyImageSource, **parameters: Unpack[Edit]) -> Image:
        return _image(await self._generate("edit", prompt=prompt, images=images, **parameters))

    async def text_to_video(self, prompt: str, **parameters: Unpack[TextToVideo]) -> Video:
        return _video(await self._generate("text_to_video", prompt=prompt, **parameters))

    async def image_to_video(self, prompt: str, image: AnyImageSource, **parameters: Unpack[ImageToVideo]) -> Video:
        return _video(await self._generate("image_to_video", prompt=prompt, image=image, **parameters))

    async def upscale(self, image: AnyImageSource, **parameters: Unpack[Upscale]) -> Image:
        """Upscale an image: `upscale=4` makes it four times as wide and high, and 2 is the default."""
        return _image(await self._connection.send(calls.generation("upscale", {"image": image, **parameters})))

    async def storyboard(self, prompt: str, **parameters: Unpack[Story]) -> Storyboard:
        """Break a story into 6 to 10 scenes and generate an image of each."""
        return await self._connection.send(calls.storyboard({"prompt": prompt, **parameters}))

    async def stream(
        self, prompt: str, api: str = "text_to_image", **parameters: Unpack[Stream]
    ) -> AsyncGenerator[Event, None]:
        """Yield events up to `done`; closing the iterator cancels the request."""
        body = calls.streamed(api, {"prompt": prompt, **parameters})
        async with aclosing(self._events("POST", "/stream", body)) as events:
            async for event in events:
                if event.name == "error":
                    raise refusal_from(event.data)
                yield event

    async def models(self) -> list[Model]:
        """Return the models served, the default first."""
        return await self._connection.send(calls.models())

    async def submit(self, prompt: str, api: str = "text_to_image", **parameters: Unpack[Background]) -> Job:
        """Submit a job, which outlives this program and a restart of the server."""
        model = parameters.get("model") or calls.first_able(await self.models(), api, parameters)
        return await self.job(
            await self._connection.send(calls.submission(model, api, {"prompt": prompt, **parameters, "model": None}))
        )

    async def batch(self, prompts: Sequence[str | dict[str, Any]], **parameters: Unpack[Background]) -> list[Job]:
        """Submit many jobs, all or none: each is a prompt or a dictionary of parameters; `parameters` apply to all."""
        requests = [{"prompt": each} if isinstance(each, str) else each for each in prompts]
        ids = await self._connection.send(calls.batch([{**parameters, **each} for each in requests]))
        return list(await asyncio.gather(*(self.job(each) for each in ids)))

    async def job(self, job_id: str) -> Job:
        return await self._connection.send(calls.job(job_id))

    async def jobs(self, status: str | None = None, limit: int = 20) -> list[Job]:
        """Return the newest jobs."""
        return await self._connection.send(calls.jobs(status, limit))

    async def wait(self, *jobs: Job) -> list[Result]:
        """Wait for jobs; return all their images and videos. Raises Refused for one that failed or was cancelled."""
        ended = await asyncio.gather(*(self._ended(job) for job in jobs))
        return [result for job in ended for result in await self.results(job)]

    async def results(self, job: Job) -> list[Result]:
        """Fetch a job's images and videos."""
        wanted = [each for each in job.results if each["media_type"] != "application/json"]
        return list(await asyncio.gather(*(self._connection.send(calls.download(each, job.model)) for each in wanted)))

    async def events(self, job: Job) -> AsyncGenerator[Event, None]:
        """Yield a job's past and coming events, up to its end: `completed`, `failed` or `cancelled`."""
        async with aclosing(self._events("GET", f"/api/{job.id}/events", silence_s=SILENCE_S)) as events:
            async for event in events:
                yield event
                if event.name in FINAL:
                    return

    async def cancel(self, job: Job) -> Job:
        return await self._connection.send(calls.cancelling(job.id))

    async def prioritize(self, job: Job, priority: str) -> Job:
        return await self._connection.send(calls.prioritizing(job.id, priority))

    async def close(self) -> None:
        await self._connection.close()

    async def __aenter__(self) -> AsyncJubako:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _generate(self, api: str, **parameters: Any) -> Result:
        return await self._connection.send(calls.generation(api, parameters))

    async def _ended(self, job: Job) -> Job:
        patience = Patience()
        while not job.ended:
            await self._follow(job, patience)
            job = await self._asked(job, patience)
        return calls.completed(job)

    async def _follow(self, job: Job, patience: Patience) -> None:
        """Wait until a job ends, or its events break off; ask for its status then."""
        with suppress(Refused, Unreachable):
            async with aclosing(self.events(job)) as events:
                async for _ in events:
                    patience.heard()

    async def _asked(self, job: Job, patience: Patience) -> Job:
        """Ask for a job's state, and pause if it has not ended. Raises errors that are not temporary."""
        try:
            job = await self.job(job.id)
            patience.answered()
        except (Refused, Unreachable) as error:
            patience.bear(error)
        if not job.ended:
            await asyncio.sleep(patience.pause_s())
        return job

    async def _events(
        self, method: str, path: str, body: Body | None = None, silence_s: float | None = None
    ) -> AsyncGenerator[Event, None]:
        reader = EventReader()
        async with self._connection.lines(method, path, body, silence_s) as lines:
            async for line in lines:
                for event in reader.read(line):
                    yield event
