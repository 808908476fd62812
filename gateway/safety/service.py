"""The BentoML runner service of the image check: the detector of `nudenet`, whose model comes in its package."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import bentoml
import numpy as np
import numpy.typing as npt
from bentoml.exceptions import BadInput
from starlette.requests import Request

from core.errors import StartError
from gateway.safety.detection import SIZE_PX
from processes.drain import Drain
from processes.gateway_watch import gateway_ended
from runners.host.middleware import put_in_front
from settings import settings
from settings.sections.safety import SafetyOptions

MAX_BATCH = 16
MAX_LATENCY_MS = 60_000
"""BentoML drops requests that it expects to take longer; a check takes milliseconds, and none may be dropped."""
NAME = "_safety"
"""Cannot be a model's id, which begins with a letter or a digit."""


def safety_services(options: SafetyOptions) -> dict[str, Any]:
    """Make the service if the settings ask for image checks. Raises StartError when the detector is not installed."""
    if not options.checks_images:
        return {}
    refuse_missing_detector()
    return {NAME: _service()}


def refuse_missing_detector() -> None:
    """Raise StartError when the detector is not installed."""
    if find_spec("nudenet") is None:
        raise StartError("JUBAKO_SAFETY checks images, which needs the extra `safety`: pip install 'jubako[safety]'")


class PicturesFrame(bentoml.IODescriptor):
    """Images as raw bytes, (N, 320, 320, 3)."""

    images: np.ndarray

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> PicturesFrame:  # noqa: ARG003  # BentoML's signature
        try:
            return cls(images=np.frombuffer(await request.body(), np.uint8).reshape(-1, SIZE_PX, SIZE_PX, 3))
        except ValueError as error:
            raise BadInput(f"the frame does not hold images of {SIZE_PX} x {SIZE_PX} pixels") from error


def _service() -> Any:
    @bentoml.service(name="runner-safety", workers=1)
    class Safety:
        def __init__(self) -> None:
            from nudenet import NudeDetector

            detector = NudeDetector()
            self._session = detector.onnx_session
            self._input = detector.input_name

        @bentoml.on_startup
        async def take_signals(self) -> None:
            Drain(settings().drain_s).install(serve_until=gateway_ended)

        @bentoml.api(input_spec=PicturesFrame, batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=MAX_LATENCY_MS)
        def scores(self, images: np.ndarray) -> list[list[float]]:
            """Return how sure the detector is of each label: (N, 320, 320, 3) RGB to (N, labels)."""
            rows: list[list[float]] = label_scores(self._session, self._input, images).tolist()
            return rows

    service: Any = Safety
    put_in_front(service, settings(), MAX_BATCH * SIZE_PX * SIZE_PX * 3)
    return service


def label_scores(session: Any, input_name: str, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Run the detector: the best score of each label over all places of an image."""
    planes = images.astype(np.float32).transpose(0, 3, 1, 2) / 255  # (N, 3, 320, 320)
    found = session.run(None, {input_name: planes})[0]  # (N, 4 for the box + labels, places)
    scores: npt.NDArray[np.float32] = found[:, 4:].max(axis=2)
    return scores
