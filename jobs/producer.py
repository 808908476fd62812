"""How jobs are drawn and made into files: by the same gateway and encoders as everything else."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from core.events import Event, Preview, Result
from core.request import GenerationRequest
from gateway.gateway import Gateway
from gateway.media.encoding import OutputFormat, encode_preview, encode_result
from jobs.job import Job
from jobs.kinds import File


@dataclass(frozen=True)
class GatewayProducer:
    gateway: Gateway

    async def draw(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        async with aclosing(self.gateway.drawing(request).events()) as happenings:
            async for event in happenings:
                yield event

    def encode(self, request: GenerationRequest, result: Result, job: Job) -> File:
        output_format = OutputFormat(job.output_format)
        data = encode_result(request, result, output_format, job.quality)
        return File(data, output_format.media_type, result.seed)

    def encode_preview(self, preview: Preview) -> str:
        return "data:image/png;base64," + base64.b64encode(encode_preview(preview.image)).decode()
