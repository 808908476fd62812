"""Which contract an address belongs to, for errors that are found before any contract is asked."""

from __future__ import annotations

from starlette.responses import Response

from api.http.contract import Refusal
from api.http.refusals import refusal
from api.inpainting import refused as inpainting_refused
from api.jobs.answers import job_refusal
from api.openai.errors import openai_refusal
from api.pipeline import refused as pipeline_refused
from api.storyboard.answers import refused as story_refused
from core.errors import JubakoError

SHAPES: dict[str, Refusal] = {
    "/api": job_refusal,
    "/generator": job_refusal,
    "/generate": story_refused,
    "/generate-inpainting": inpainting_refused,
    "/inpainting": inpainting_refused,
    "/openai": openai_refusal,
    "/pipeline": pipeline_refused,
    "/storyboard": story_refused,
    "/text2image": pipeline_refused,
    "/v1": openai_refusal,
}
"""By the first part of the path; all other addresses have our own shape."""


def refusal_for(path: str, error: JubakoError) -> Response:
    """Return the answer to an error in the shape of the contract that a path belongs to."""
    return SHAPES.get("/" + path.split("/")[1], refusal)(error)
