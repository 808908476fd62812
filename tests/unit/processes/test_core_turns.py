"""Runners that share cores pass one after the other."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from processes.machine import core_turns
from processes.machine.core_turns import CoreTurns


def test_a_pass_waits_for_the_one_that_has_the_cores(tmp_path: Path) -> None:
    first, second = CoreTurns(tmp_path), CoreTurns(tmp_path)
    order: list[str] = []

    def other() -> None:
        with second.turn():
            order.append("second")

    thread = threading.Thread(target=other)
    with first.turn():
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_other_cores_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_turns, "own_cores", lambda: [0])
    first = CoreTurns(tmp_path)
    monkeypatch.setattr(core_turns, "own_cores", lambda: [1])
    second = CoreTurns(tmp_path)
    with first.turn(), second.turn():
        pass


def test_a_turn_that_does_not_end_holds_nobody_up_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_turns, "LONGEST_TURN_S", 0.01)
    monkeypatch.setattr(core_turns, "LOOK_S", 0.01)
    with CoreTurns(tmp_path).turn(), CoreTurns(tmp_path).turn():
        pass


def test_a_link_in_the_folder_of_temporary_files_is_not_followed(tmp_path: Path) -> None:
    CoreTurns(tmp_path)
    (lock,) = tmp_path.iterdir()
    (tmp_path / "elsewhere").touch()
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        CoreTurns(tmp_path)


def test_a_turn_that_has_just_begun_is_not_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between taking it and saying so, the file has what the turn before left."""
    monkeypatch.setattr(core_turns, "LONGEST_TURN_S", 0.0)
    first, second = CoreTurns(tmp_path), CoreTurns(tmp_path)
    with first.turn():
        pass
    assert not second._is_stuck()


def test_a_full_disk_ends_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    turns = CoreTurns(tmp_path)
    monkeypatch.setattr(os, "pwrite", full)
    with turns.turn():
        pass


def test_who_went_on_without_a_turn_leaves_it_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_turns, "LONGEST_TURN_S", 0.1)
    monkeypatch.setattr(core_turns, "LOOK_S", 0.01)
    first, second, third = (CoreTurns(tmp_path) for _ in range(3))
    with first.turn(), second.turn():
        # It is still waiting for it.
        monkeypatch.undo()
    assert third._take() or third._wait()
    third._leave()


def test_who_went_on_without_a_turn_has_the_next_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_turns, "LONGEST_TURN_S", 0.1)
    monkeypatch.setattr(core_turns, "LOOK_S", 0.01)
    first, second, third = (CoreTurns(tmp_path) for _ in range(3))
    with first.turn(), second.turn():
        monkeypatch.undo()
    with second.turn():
        assert not third._take()
