"""What an operator may choose, where its effect on a contract can only be seen on a server of its own."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from models.catalogue.serving.served_models import CHARACTER
from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import half_mask, photo, png, wait_for
from tests.support.storyboard.stories import write_story_catalogue
from tests.support.web import WEB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """Dummy images for inpainting, models that stay where they are, and a LoRA that is not there."""
    catalogue = write_story_catalogue(tmp_path_factory.mktemp("choices"))
    choices = {
        "TOKENOPT_USE_DUMMY_GENERATION": "1",
        "JUBAKO_MANAGE": "false",
        "LORA_PATH": "outputs/checkpoints/final",
    }
    with replica(catalogue, JUBAKO_MODELS="tiny-xl", **choices) as server:
        yield server


def test_inpainting_returns_dummy_images(server: Replica) -> None:
    answer = WEB.post(
        f"{server.url}/generate-inpainting",
        data={"prompt": "a red apple", "num_generations": "2", "seed": "1"},
        files={"input_image": png(photo()), "mask_image": png(half_mask())},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    first, second = (Image.open(BytesIO(base64.b64decode(result["data"]))) for result in answer.json()["results"])
    kept = np.asarray(half_mask()) == 0
    assert (np.asarray(first)[kept] == np.asarray(photo())[kept]).all()
    assert len(np.unique(np.asarray(first)[~kept], axis=0)) == 1
    assert first.tobytes() != second.tobytes()
    wait_for(lambda: server.get("/health").json()["models"][0]["running"] == 0)


def test_an_unmanaged_server_moves_nothing(server: Replica) -> None:
    answer = WEB.post(f"{server.url}/pipeline/select-device", json={"device": "CPU"}, timeout=60)
    assert answer.json()["status"] == "success", "the model is there already"


def test_the_pipeline_has_not_run_before_the_first_request(server: Replica) -> None:
    assert server.get("/pipeline/status").json() == {"running": False, "completed": False}
    answer = server.get("/pipeline/image")
    assert answer.status_code == 409
    assert answer.json() == {"status": "error", "message": "Pipeline execution is not yet complete."}


def test_a_lora_that_is_not_there_is_the_storyboard_documents_error(server: Replica) -> None:
    assert server.get("/storyboard/health").json()["lora_path"] == "outputs/checkpoints/final"
    answer = WEB.post(f"{server.url}/generate", json={"prompt": "Aldar Kose tricks a merchant"}, timeout=60)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (500, "false")
    assert answer.json()["detail"] == "Generator not initialized. Set LORA_PATH environment variable."
    assert "there is no such file or folder" in answer.json()["reason"]
    assert CHARACTER in server.get("/models").json()["models"][0]["loras"]
