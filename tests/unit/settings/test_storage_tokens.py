"""Addresses of results in a local folder, where keys are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import StartError
from settings import Settings
from storage.client import Storage, open_storage
from storage.tokens import SECRET_FILE

KEY = "generations/20250104_120530_550e8400-e29b-41d4-a716-446655440000.png"


def storage(folder: Path, **settings: object) -> Storage:
    return open_storage(Settings(storage=str(folder), **settings))  # type: ignore[arg-type]


def closed(folder: Path) -> Storage:
    return storage(folder, api_keys={"alice": "0123456789abcdef"})


async def test_an_address_has_a_token_that_opens_this_file_alone(tmp_path: Path) -> None:
    kept = closed(tmp_path)
    address, _, token = (await kept.url(KEY)).partition("?token=")
    assert address == f"/files/{KEY}"
    assert len(token) == 32
    assert kept.is_open(KEY, token)
    assert not kept.is_open(KEY, "")
    assert not kept.is_open(KEY, "\xfc")
    assert not kept.is_open(KEY.replace("550e", "550f"), token)


async def test_all_processes_of_a_folder_make_the_same(tmp_path: Path) -> None:
    assert await closed(tmp_path).url(KEY) == await closed(tmp_path).url(KEY)
    assert await closed(tmp_path / "other").url(KEY) != await closed(tmp_path).url(KEY)
    assert (tmp_path / SECRET_FILE).stat().st_mode & 0o077 == 0


async def test_without_keys_there_are_none(tmp_path: Path) -> None:
    assert await storage(tmp_path).url(KEY) == f"/files/{KEY}"
    assert storage(tmp_path).is_open(KEY, "")
    assert not (tmp_path / SECRET_FILE).exists()


def test_a_damaged_secret_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / SECRET_FILE).touch()
    with pytest.raises(StartError, match="address-secret is damaged"):
        closed(tmp_path)
