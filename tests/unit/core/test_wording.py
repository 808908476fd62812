"""What of the server's files a client may know."""

from __future__ import annotations

import pytest

from core.errors import InvalidRequest, JubakoError, LoadFailed
from core.wording import without_folders


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("there is no /data/models/sd", "there is no .../sd"),
        ("/opt/a.b/c-d/x.safetensors is damaged", ".../x.safetensors is damaged"),
        ("'/data/x.gguf', (/srv/y) and \"/weights\"", "'.../x.gguf', (.../y) and \".../weights\""),
        ("JUBAKO_JOBS_FILE: ~/jobs/jobs.sqlite cannot be opened", "JUBAKO_JOBS_FILE: .../jobs.sqlite cannot be opened"),
        ("path=/data/x: damaged", "path=.../x: damaged"),
        ("at file:///data/results/", "at .../results/"),
    ],
)
def test_absolute_paths_are_cut(text: str, shown: str) -> None:
    assert without_folders(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/owner/repo is gated",
        "owner/repo has no revision",
        "image/png or image/webp",
        "outputs/checkpoints/final",
        "1/2 and / and a / b //",
        "models/catalogue/checkpoints/*.yaml",
    ],
)
def test_nothing_else_is(text: str) -> None:
    assert without_folders(text) == text


def test_callers_see_no_folders_and_the_log_does() -> None:
    for error in (LoadFailed("no /data/x"), InvalidRequest("model", "no /data/x"), JubakoError("no /data/x")):
        assert "/data/x" in str(error)
        assert ".../x" in error.message
        assert "data" not in error.message
