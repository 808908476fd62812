"""A prediction whose files are the layers of one image."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from obstore.store import LocalStore

from api.predictions.answers import REPLICATE, WEBHOOK_BODIES
from jobs.job import Job, JobState, StoredResult
from storage.client import Storage


@pytest.mark.parametrize(("layered", "skipped_steps"), [(True, 3), (False, 6)])
async def test_layers_are_of_one_run_and_their_input_can_be_posted_again(
    layered: bool, skipped_steps: int, tmp_path: Path
) -> None:
    storage = Storage(LocalStore(tmp_path), timedelta(seconds=5), timedelta(days=1), False, "http://files")
    files = tuple(
        StoredResult(key=f"generations/{n}.png", media_type="image/png", seed=5, skipped_steps=3) for n in range(2)
    )
    request = {"model": "layers", "prompt": "a red apple", "num_images": 2, "layered": layered}
    job = Job(request=request, output_format="png", state=JobState.COMPLETED, results=files)
    prediction = await WEBHOOK_BODIES[REPLICATE](job, storage, "http://here")
    assert prediction["metrics"]["skipped_steps"] == skipped_steps
    assert prediction["input"] == {"prompt": "a red apple", "num_images": 2}
