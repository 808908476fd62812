"""LitServe's dynamic batching, as in its documentation: a `LitAPI` around the pipeline.

Start it with `python -m benchmarks.peers.lit --host HOST --port PORT`. An API has one path, and each further API would
load the weights again in another process, so requests of all tasks go to `/draw` and name their task.
"""

# No `from __future__ import annotations`: LitServe reads the annotations of `decode_request`.

import argparse
from collections.abc import Sequence

import litserve
import litserve.server
from fastapi import Response
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.requests import Request

from benchmarks.peers.pipelines import MAX_BATCH_SIZE, Pipelines, PlainRequest, png

BATCH_WAIT_S = 0.05
TIMEOUT_S = 600


class Painter(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:  # noqa: ARG002  # the settings name it
        self.pipelines = Pipelines.load()

    def decode_request(self, request: Request) -> PlainRequest:
        """Read a request's JSON or form, which LitServe passes in its place."""
        files = {name: value.file for name, value in request.items() if isinstance(value, UploadFile)}
        return PlainRequest.of({name: value for name, value in request.items() if name not in files}, files)

    def batch(self, inputs: Sequence[PlainRequest]) -> Sequence[PlainRequest]:
        return inputs

    def predict(self, wanted: Sequence[PlainRequest]) -> list[Image.Image]:
        return self.pipelines.draw(wanted)

    def unbatch(self, output: list[Image.Image]) -> list[Image.Image]:
        return output

    def encode_response(self, output: Image.Image) -> Response:
        return Response(png(output), media_type="image/png")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    # Its MCP endpoint, not needed here, does not work with the version of `mcp` that this project uses.
    litserve.server._MCP_AVAILABLE = False
    painter = Painter(max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_WAIT_S, api_path="/draw")
    server = litserve.LitServer(painter, accelerator="auto", workers_per_device=1, timeout=TIMEOUT_S)
    server.run(host=options.host, port=options.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
