"""Ray Serve's dynamic request batching, as in its documentation: `serve.batch` around the pipeline, behind FastAPI.

Start it with `python -m benchmarks.peers.ray_serve --host HOST --port PORT`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import tempfile
import threading
from typing import Any

import ray
from ray import serve

from benchmarks.peers.form_app import form_app
from benchmarks.peers.pipelines import MAX_BATCH_SIZE, Pipelines, PlainRequest, png

BATCH_WAIT_S = 0.05


async def draw(wanted: PlainRequest) -> bytes:
    image: bytes = await serve.get_replica_context().servable_object.draw(wanted)
    return image


@serve.ingress(form_app(draw))
class Painter:
    def __init__(self) -> None:
        self._pipelines = Pipelines.load()

    @serve.batch(max_batch_size=MAX_BATCH_SIZE, batch_wait_timeout_s=BATCH_WAIT_S)  # type: ignore[untyped-decorator]
    async def draw(self, wanted: list[PlainRequest]) -> list[bytes]:
        return [png(image) for image in self._pipelines.draw(wanted)]


def deployment() -> Any:
    """Set the actor's threads, since Ray gives it one for each CPU that it reserves, and the proxy needs the others."""
    environment = {"env_vars": {"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]}}
    options = {"num_cpus": 1, "runtime_env": environment}
    return serve.deployment(max_ongoing_requests=100, ray_actor_options=options)(Painter)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="ray-")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ray.init(
        "local",
        num_cpus=len(os.sched_getaffinity(0)),
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        _temp_dir=folder,
    )
    try:
        serve.start(http_options={"host": options.host, "port": options.port})
        serve.run(deployment().bind(), route_prefix="/")
        ended.wait()
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
