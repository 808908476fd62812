"""What the MCP bridge reads and writes where it runs: images of the folders named, whole results, nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from client.calls import ApiCall
from client.connection import AsyncConnection
from client.mcp_bridge.local_files import NotAllowed, saved, with_files
from client.results import result_of
from tests.support.servers.serving import photo, png


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose images may be sent, with one image; beside it are files that may not."""
    monkeypatch.delenv("JUBAKO_CLIENT_FOLDER", raising=False)
    monkeypatch.setenv("JUBAKO_CLIENT_IMAGES", str(tmp_path / "allowed"))
    (tmp_path / "allowed").mkdir()
    for path in (tmp_path / "allowed" / "photo.png", tmp_path / "outside.png"):
        photo().save(path)
    return tmp_path / "allowed"


class TestReading:
    def test_images_of_a_folder_named_are_sent(self, folder: Path) -> None:
        path = folder / "photo.png"
        whole = base64.b64encode(path.read_bytes()).decode()
        read = with_files({"prompt": str(path), "image": str(path), "images": [str(path), "AAAA"]})
        assert read == {"prompt": str(path), "image": whole, "images": [whole, "AAAA"]}

    def test_the_folder_of_results_is_one(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("JUBAKO_CLIENT_IMAGES")
        monkeypatch.setenv("JUBAKO_CLIENT_FOLDER", str(folder))
        assert with_files({"mask": str(folder / "photo.png")})["mask"] != str(folder / "photo.png")

    @pytest.mark.parametrize("name", ["../outside.png", "link.png", "id_rsa.png", "cut.png", "missing.png", "."])
    def test_everything_else_is_refused(self, folder: Path, name: str) -> None:
        (folder / "link.png").symlink_to(folder.parent / "outside.png")
        (folder / "id_rsa.png").write_text("-----BEGIN OPENSSH PRIVATE KEY-----")
        (folder / "cut.png").write_bytes(png(photo())[:-40])
        with pytest.raises(NotAllowed, match=r"image: .* JUBAKO_CLIENT_IMAGES"):
            with_files({"image": f"{folder}/{name}"})

    @pytest.mark.parametrize("begins", [b"\0\0\0\x18ftypisom", b"\x1aE\xdf\xa3", b"GIF89a"])
    def test_videos_of_a_folder_named_are_sent(self, folder: Path, begins: bytes) -> None:
        (folder / "poses.mp4").write_bytes(begins + bytes(100))
        read = with_files({"pose_video": str(folder / "poses.mp4"), "face_video": "AAAA"})
        assert read == {"pose_video": base64.b64encode(begins + bytes(100)).decode(), "face_video": "AAAA"}
        (folder / "link.mp4").symlink_to(folder.parent / "outside.mp4")
        (folder.parent / "outside.mp4").write_bytes(begins + bytes(100))
        for name in ("photo.png", "link.mp4", "../outside.mp4", "missing.mp4"):
            with pytest.raises(
                NotAllowed, match=r"mask_video: .* is not a video in a folder that JUBAKO_CLIENT_IMAGES"
            ):
                with_files({"mask_video": str(folder / name)})

    @pytest.mark.parametrize("path", ["~/.ssh/id_rsa", "~nobody-of-this-name/key", "relative/photo.png", "\0.png"])
    def test_so_are_paths_from_elsewhere(self, folder: Path, path: str) -> None:
        with pytest.raises(NotAllowed):
            with_files({"images": [path]})

    def test_what_is_not_named_as_a_path_is_not_read(self, folder: Path) -> None:
        (folder.parent / "id_rsa").write_text("secret")
        assert with_files({"image": str(folder.parent / "id_rsa")}) == {"image": str(folder.parent / "id_rsa")}

    @pytest.mark.parametrize("value", ["A" * 256, "A" * 1000, "A" * 5000, "data:image/png;base64,AA.A", "", 7, None])
    def test_base64_and_mistakes_are_passed_on(self, folder: Path, value: object) -> None:
        assert with_files({"image": value, "images": value}) == {"image": value, "images": value}


class Bucket(AsyncConnection):
    """Files by address."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    async def send(self, call: ApiCall[Any]) -> Any:
        return result_of(self._files[call.path], "image/png")


class TestSaving:
    JOB: Mapping[str, Any] = {
        "job": "1",
        "status": "completed",
        "progress": 100,
        "message": "",
        "model": "tiny",
        "task": "t2v",
        "error": None,
        "hint": None,
        "created_at": "2026-01-01T00:00:00Z",
        "results": [
            {"url": "/a", "media_type": "image/jpeg", "seed": 1},
            {"url": "/b", "media_type": "application/json", "seed": 1},
            {"url": "/c", "media_type": "video/mp4", "seed": 1},
        ],
    }

    async def test_whole_files_and_videos(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JUBAKO_CLIENT_FOLDER", str(tmp_path / "made"))
        paths = await saved(self.JOB, Bucket({"/a": b"large" * 1_000_000, "/c": b"film"}))
        assert paths == [tmp_path / "made" / "1_0.jpg", tmp_path / "made" / "1_1.mp4"]
        assert [path.read_bytes() for path in paths] == [b"large" * 1_000_000, b"film"]

    async def test_nothing_without_a_folder_or_results(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("JUBAKO_CLIENT_FOLDER", raising=False)
        assert await saved(self.JOB, Bucket({})) == []
        monkeypatch.setenv("JUBAKO_CLIENT_FOLDER", str(tmp_path / "made"))
        assert await saved({"jobs": []}, Bucket({})) == await saved({"job": "1", "results": []}, Bucket({})) == []
        assert not (tmp_path / "made").exists()
