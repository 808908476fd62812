"""A client inside the server's machine or container, where the server's public address may lead nowhere."""

from __future__ import annotations

from dataclasses import replace

from client.asynchronous import AsyncJubako
from client.results import Job, Result

FILES = "/files/generations/"


class InsideJubako(AsyncJubako):
    """Fetches results in the server's own folder from the address with which it was made, not the public one."""

    def __init__(self, address: str, key: str | None) -> None:
        super().__init__(address, key)
        self._address = address

    async def results(self, job: Job) -> list[Result]:
        """Fetch a job's images and videos; those in a bucket come from the bucket."""
        reached = [{**each, "url": self._reached(each["url"])} for each in job.results]
        return await super().results(replace(job, results=reached))

    def _reached(self, url: str) -> str:
        _, folder, name = url.partition(FILES)
        return f"{self._address}{folder}{name}" if folder else url
