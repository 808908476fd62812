"""LoRAs that are added while models are served: what is taken, under which name, and what others see meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub import errors as hub
from safetensors.numpy import save

from core.errors import Forbidden, InvalidRequest, JubakoError, LoadFailed, LoadInterrupted, TooLarge
from models.catalogue.added import lora_hub
from models.catalogue.added.lora_upload import keep_lora, new_name
from models.catalogue.catalogue import full_catalogue
from models.catalogue.entry import Entry

LORA = save({"unet.a.to_q.lora_A.weight": np.ones((2, 4), np.float32)})
GIB = 2**30


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    return full_catalogue(None, tmp_path).get("sdxl")


def test_an_upload_may_be_named_at_once(entry: Entry, tmp_path: Path) -> None:
    assert keep_lora(BytesIO(LORA), entry, "mine", GIB) == len(LORA)
    assert entry.choosable_loras["mine"].source.path == tmp_path / "sdxl/mine.safetensors"
    assert (tmp_path / "sdxl/mine.safetensors").read_bytes() == LORA
    assert (tmp_path / "sdxl/mine.safetensors").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "sdxl").stat().st_mode & 0o777 == 0o700
    assert [file.name for file in (tmp_path / "sdxl").iterdir()] == ["mine.safetensors"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>", "file: is not a whole safetensors file"),
        (LORA[:-4], "file: is not a whole safetensors file"),
        (b"", "file: is not a whole safetensors file"),
        (b"\x80\x04pickle", "file: is not a whole safetensors file"),
        (save({"lora_unet_a.lora_down.weight": np.ones((2, 4)), "lora_unet_a.dora_scale": np.ones(4)}), "is a DoRA in"),
        (save({"a.weight": np.ones(2, np.float32)}), r"file: is not a LoRA: it holds a\.weight"),
    ],
)
def test_what_is_no_lora_leaves_nothing(content: bytes, said: str, entry: Entry, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=said):
        keep_lora(BytesIO(content), entry, "mine", GIB)
    assert list((tmp_path / "sdxl").iterdir()) == []


def test_what_is_too_large_leaves_nothing(entry: Entry, tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="larger than 10 bytes"):
        keep_lora(BytesIO(LORA), entry, "mine", 10)
    assert list((tmp_path / "sdxl").iterdir()) == []


def test_nothing_is_replaced(entry: Entry, tmp_path: Path) -> None:
    keep_lora(BytesIO(LORA), entry, "mine", GIB)
    with pytest.raises(InvalidRequest, match="name: sdxl has a LoRA 'mine' already; give another name"):
        keep_lora(BytesIO(save({"b.lora_A.weight": np.ones(2, np.float32)})), entry, "mine", GIB)
    assert (tmp_path / "sdxl/mine.safetensors").read_bytes() == LORA
    with pytest.raises(InvalidRequest, match="already"):
        new_name(entry, "Mine.safetensors")


def test_a_disk_that_is_full_is_called_that(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LoadFailed, match="cannot be written to JUBAKO_LORA_FOLDER: No space left on device"):
        keep_lora(BytesIO(LORA), entry, "mine", GIB)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("My Style (v2).safetensors", "my-style-v2"),
        ("../../etc/passwd.safetensors", "passwd"),
        ("C:\\LoRAs\\Ink.safetensors", "ink"),
        ("/", None),
        ("..", None),
        ("墨.safetensors", None),
        (".hidden", "hidden"),
    ],
)
def test_names_are_readable_and_no_paths(given: str, name: str | None, entry: Entry) -> None:
    if name is None:
        with pytest.raises(InvalidRequest, match="name: needs letters or digits"):
            new_name(entry, given)
    else:
        assert new_name(entry, given) == name


class TestHub:
    @pytest.mark.parametrize(
        ("allowed", "ok"),
        [((), False), (("someone",), True), (("Someone/Styles",), True), (("someone/other",), False), (("*",), True)],
    )
    def test_only_what_the_operator_allows_is_fetched(self, allowed: tuple[str, ...], ok: bool) -> None:
        if ok:
            lora_hub.refuse_others("someone/styles", allowed)
        else:
            with pytest.raises(Forbidden, match=r"fetches no LoRAs from someone/styles; .* JUBAKO_LORA_REPOS"):
                lora_hub.refuse_others("someone/styles", allowed)

    @pytest.mark.parametrize(
        ("raised", "expected", "said"),
        [
            (hub.GatedRepoError, InvalidRequest, "repo: someone/styles is gated"),
            (hub.RepositoryNotFoundError, InvalidRequest, "repo: the hub has no someone/styles"),
            (hub.RemoteEntryNotFoundError, InvalidRequest, r"file: someone/styles has no a\.safetensors"),
            (ConnectionError, LoadInterrupted, "cannot be fetched now"),
        ],
    )
    def test_what_the_hub_refuses_is_explained(
        self,
        raised: Callable[..., Exception],
        expected: type[JubakoError],
        said: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def fails(_url: str) -> Any:
            response = httpx.Response(404, request=httpx.Request("HEAD", "http://hub"))
            raise raised("no") if raised is ConnectionError else raised("no", response=response)

        monkeypatch.setattr(lora_hub, "get_hf_file_metadata", fails)
        with pytest.raises(expected, match=said):
            lora_hub.fetch_lora("someone/styles", "a.safetensors", None, GIB)

    def test_what_is_too_large_is_not_fetched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lora_hub, "get_hf_file_metadata", lambda _url: type("Metadata", (), {"size": 2 * GIB}))
        with pytest.raises(TooLarge, match=r"someone/styles/a\.safetensors has 2147483648 bytes, more than 1073741824"):
            lora_hub.fetch_lora("someone/styles", "a.safetensors", None, GIB)
