"""Temporary folders of the page: those of killed processes are removed, and no others."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.ui.own_folder import PREFIX, OwnFolder, remove_left

KEEPS_ONE = "from api.ui.own_folder import OwnFolder\nprint(OwnFolder().path, flush=True)\ninput()"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def other(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with a folder."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", KEEPS_ONE], env={"TMPDIR": str(temporary)}, text=True, **pipes) as it:  # type: ignore[call-overload]
        yield it
        it.kill()


def test_one_is_removed_with_what_is_in_it(temporary: Path) -> None:
    folder = OwnFolder()
    (folder.path / "files").mkdir()
    folder.remove()
    assert list(temporary.iterdir()) == []


def test_that_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(other: subprocess.Popen[str]) -> None:
    assert other.stdout is not None
    folder = Path(other.stdout.readline().strip())
    own = OwnFolder()
    remove_left()
    assert folder.is_dir()
    other.kill()
    other.wait()
    remove_left()
    assert not folder.exists()
    assert own.path.is_dir()
    own.remove()


def test_what_only_looks_like_one_is_left_alone(temporary: Path) -> None:
    elsewhere, file = temporary / "elsewhere", temporary / f"{PREFIX}file"
    elsewhere.mkdir()
    file.touch()
    link = temporary / f"{PREFIX}link"
    link.symlink_to(elsewhere)
    remove_left()
    assert elsewhere.is_dir()
    assert file.exists()
    assert link.is_symlink()
