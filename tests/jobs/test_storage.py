"""Storage, against a real S3 server, real folders and the real gateway.

Google's and Azure's servers cannot be had here: for them only the signing of addresses is tried, which needs no server.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from pydantic import ValidationError

from core.errors import StartError
from settings import Settings, refuse_unknown_variables
from settings.locations import local_folder, location_url
from storage.client import Storage, open_storage
from storage.errors import NotStored, StorageUnavailable
from storage.file_keys import input_key, media_type_of, result_key
from tests.support.surroundings.object_store import BUCKET, SECRET_ACCESS_KEY, ObjectStore, object_store

SESSION = "550e8400-e29b-41d4-a716-446655440000"
ACCEPTED = datetime(2025, 1, 4, 12, 5, 30, tzinfo=UTC)
KEY = f"generations/20250104_120530_{SESSION}.png"
TIMEOUT_S = 2.0
CLOUD_VARIABLES = ("AWS_", "AZURE_", "GOOGLE_", "S3_BUCKET_NAME", "JUBAKO_")

Opened = Callable[..., Storage]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Opens the storage that a few variables describe, in an environment without any others."""
    for name in os.environ:
        if name.startswith(CLOUD_VARIABLES):
            monkeypatch.delenv(name)

    def open_with(**variables: str) -> Storage:
        for name, value in {"JUBAKO_STORAGE_TIMEOUT_S": str(TIMEOUT_S), **variables}.items():
            monkeypatch.setenv(name, value)
        return open_storage(Settings())

    return open_with


@pytest.fixture
def local(opened: Opened, tmp_path: Path) -> Storage:
    return opened(JUBAKO_STORAGE=str(tmp_path))


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, opened: Opened, tmp_path: Path, s3: ObjectStore) -> Storage:
    if request.param == "local":
        return opened(JUBAKO_STORAGE=str(tmp_path))
    # A folder of its own for each test.
    return opened(**s3.environment, JUBAKO_STORAGE=f"s3://{BUCKET}/{tmp_path.name}")


class TestPrivacy:
    async def test_only_their_owner_can_read_results(self, opened: Opened, tmp_path: Path) -> None:
        (tmp_path / "generations").mkdir(mode=0o755)
        storage = opened(JUBAKO_STORAGE=str(tmp_path))
        await storage.put(KEY, b"picture", "image/png")
        assert (tmp_path / KEY).exists()
        assert [(tmp_path / name).stat().st_mode & 0o077 for name in ("generations", "inputs")] == [0, 0]

    async def test_a_web_server_can_read_results_that_it_serves(self, opened: Opened, tmp_path: Path) -> None:
        storage = opened(JUBAKO_STORAGE=str(tmp_path), JUBAKO_STORAGE_PUBLIC_URL="https://cdn.example")
        await storage.put(KEY, b"picture", "image/png")
        assert (tmp_path / KEY).stat().st_mode & 0o044
        assert (tmp_path / "generations").stat().st_mode & 0o055
        assert (tmp_path / "inputs").stat().st_mode & 0o077 == 0


class TestNames:
    def test_results_are_named_as_in_the_contract(self) -> None:
        assert result_key(SESSION, ACCEPTED, "image/png") == KEY

    def test_several_results_of_a_job_are_numbered(self) -> None:
        assert result_key(SESSION, ACCEPTED, "video/mp4", 1) == f"generations/20250104_120530_{SESSION}_1.mp4"

    def test_inputs_are_kept_apart(self) -> None:
        assert input_key(SESSION, "image", "image/jpeg") == f"inputs/{SESSION}_image.jpg"

    def test_a_name_tells_its_media_type(self) -> None:
        assert media_type_of("generations/a.webp") == "image/webp"
        assert media_type_of("generations/a.html") == "application/octet-stream"


class TestLocations:
    def test_a_folder_may_be_written_as_a_path(self) -> None:
        assert local_folder(location_url("~/my results")) == Path.home() / "my results"
        assert local_folder(location_url("file:///my%20results/")) == Path("/my results")

    def test_a_bucket_is_no_folder(self) -> None:
        assert local_folder(location_url("s3://bucket/folder")) is None

    @pytest.mark.parametrize("wrong", ["ftp://host/folder", "s3://", "file://folder/results"])
    def test_what_cannot_be_used_stops_the_start(self, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JUBAKO_STORAGE", wrong)
        with pytest.raises(ValidationError, match="storage"):
            Settings()

    def test_the_name_of_a_bucket_is_enough(self, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        opened(S3_BUCKET_NAME="outputs", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
        assert Settings().storage_location == "s3://outputs"
        monkeypatch.setenv("JUBAKO_STORAGE", "s3://more/exactly")
        assert Settings().storage_location == "s3://more/exactly"

    def test_a_bucket_with_our_prefix_is_a_mistake(self) -> None:
        refuse_unknown_variables(["S3_BUCKET_NAME", "JUBAKO_STORAGE", "JUBAKO_STORAGE_URLS"])
        with pytest.raises(StartError, match="JUBAKO_S3_BUCKET_NAME"):
            refuse_unknown_variables(["JUBAKO_S3_BUCKET_NAME"])


class TestFiles:
    async def test_what_was_put_can_be_had_until_it_is_deleted(self, storage: Storage) -> None:
        await storage.put(KEY, b"first", "image/png")
        await storage.put(KEY, b"second", "image/png")
        assert await storage.get(KEY) == b"second"
        await storage.delete([KEY])
        with pytest.raises(NotStored):
            await storage.get(KEY)

    async def test_a_large_file_goes_in_parts(self, storage: Storage) -> None:
        data = os.urandom(12 * 2**20)
        await storage.put(KEY, data, "video/mp4")
        assert await storage.get(KEY) == data

    async def test_deleting_what_is_gone_deletes_the_rest(self, storage: Storage) -> None:
        await storage.put(KEY, b"x", "image/png")
        await storage.delete(["generations/gone.png", KEY])
        with pytest.raises(NotStored):
            await storage.get(KEY)
        await storage.delete([])

    async def test_sweeping_an_empty_place_finds_nothing(self, storage: Storage) -> None:
        assert await storage.sweep("generations", timedelta()) == 0

    async def test_it_is_reachable(self, storage: Storage) -> None:
        assert await storage.is_reachable()
        assert await storage.is_reachable()

    async def test_sweeping_deletes_what_is_old_under_a_prefix(
        self, storage: Storage, tmp_path: Path, s3: ObjectStore
    ) -> None:
        keys = ["generations/old.png", "generations/new.png", "inputs/old.png"]
        for key in keys:
            await storage.put(key, b"x", "image/png")
        root = tmp_path if storage.is_local else s3.folder / BUCKET / tmp_path.name
        two_hours_ago = time.time() - 7200
        for key in ("generations/old.png", "inputs/old.png"):
            os.utime(root / key, (two_hours_ago, two_hours_ago))
        s3.stop()
        s3.start()
        assert await storage.sweep("generations", timedelta(hours=1)) == 1
        assert [(root / key).exists() for key in keys] == [False, True, True]


class TestS3:
    async def test_a_signed_address_needs_no_credentials(self, opened: Opened, s3: ObjectStore) -> None:
        storage = opened(**s3.environment)
        await storage.put(KEY, b"picture", "image/png")
        response = await asyncio.to_thread(httpx.get, await storage.url(KEY))
        assert (response.status_code, response.content) == (200, b"picture")
        assert response.headers["content-type"] == "image/png"
        assert "immutable" in response.headers["cache-control"]
        assert f"{s3.endpoint}/{BUCKET}/{KEY}?" in await storage.url(KEY)

    async def test_a_signed_address_expires(self, opened: Opened, s3: ObjectStore) -> None:
        storage = opened(**s3.environment, JUBAKO_URL_TTL_S="1")
        await storage.put(KEY, b"picture", "image/png")
        url = await storage.url(KEY)
        assert "X-Amz-Expires=1&" in url

    async def test_an_outage_ends_in_time_and_is_over_when_the_server_is_back(
        self, opened: Opened, s3: ObjectStore
    ) -> None:
        storage = opened(**s3.environment)
        await storage.put(KEY, b"picture", "image/png")
        s3.stop()
        start = time.monotonic()
        with pytest.raises(StorageUnavailable, match="writing failed"):
            await storage.put(KEY, b"other", "image/png")
        with pytest.raises(StorageUnavailable, match="reading failed"):
            await storage.get(KEY)
        assert not await storage.is_reachable()
        # By themselves, its clients would wait for minutes.
        assert time.monotonic() - start < 3 * TIMEOUT_S + 15
        s3.start()
        assert await storage.get(KEY) == b"picture"
        assert await storage.is_reachable()

    async def test_a_server_that_is_back_in_time_goes_unnoticed(self, opened: Opened, tmp_path: Path) -> None:
        server = ObjectStore(tmp_path)
        storage = opened(**server.environment, JUBAKO_STORAGE_TIMEOUT_S="60")
        writing = asyncio.ensure_future(storage.put(KEY, b"picture", "image/png"))
        await asyncio.sleep(0.5)
        assert not writing.done()
        try:
            await asyncio.to_thread(server.start)
            await writing
        finally:
            server.stop()

    async def test_a_server_that_never_answers_is_given_up(self, opened: Opened, s3: ObjectStore) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
            storage = opened(**{**s3.environment, "AWS_ENDPOINT_URL": endpoint})
            with pytest.raises(StorageUnavailable, match="longer than 2 s"):
                await storage.put(KEY, b"picture", "image/png")

    async def test_wrong_credentials_are_named_and_not_told(
        self, opened: Opened, s3: ObjectStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        storage = opened(**{**s3.environment, "AWS_SECRET_ACCESS_KEY": "wrong-secret-key"})
        with caplog.at_level(logging.WARNING), pytest.raises(StorageUnavailable, match="credentials") as caught:
            await storage.put(KEY, b"picture", "image/png")
        assert "SignatureDoesNotMatch" not in caught.value.message
        assert "403" in caplog.text
        for secret in ("wrong-secret-key", SECRET_ACCESS_KEY):
            assert secret not in caplog.text + str(caught.value.__cause__)
        assert not await storage.is_reachable()

    async def test_a_missing_bucket_is_an_outage(self, opened: Opened, s3: ObjectStore) -> None:
        storage = opened(**{**s3.environment, "S3_BUCKET_NAME": "no-such-bucket"})
        with pytest.raises(StorageUnavailable):
            await storage.put(KEY, b"picture", "image/png")
        assert not await storage.is_reachable()


class TestAddresses:
    AMAZON: ClassVar = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}

    async def test_public_ones_are_those_of_the_contract(self, opened: Opened) -> None:
        storage = opened(**self.AMAZON, S3_BUCKET_NAME=BUCKET, JUBAKO_STORAGE_URLS="public")
        assert await storage.url(KEY) == f"https://{BUCKET}.s3.us-east-1.amazonaws.com/{KEY}"

    async def test_a_bucket_with_dots_is_part_of_the_path(self, opened: Opened) -> None:
        storage = opened(**self.AMAZON, JUBAKO_STORAGE="s3://my.bucket/folder", JUBAKO_STORAGE_URLS="public")
        assert await storage.url(KEY) == f"https://s3.us-east-1.amazonaws.com/my.bucket/folder/{KEY}"

    @pytest.mark.parametrize("place", ["s3://bucket/folder", "."])
    async def test_a_cdn_stands_for_the_place(self, place: str, opened: Opened, tmp_path: Path) -> None:
        storage = opened(
            **self.AMAZON,
            JUBAKO_STORAGE=place if place != "." else str(tmp_path),
            JUBAKO_STORAGE_PUBLIC_URL="https://cdn.example/art/",
        )
        assert await storage.url(KEY) == f"https://cdn.example/art/{KEY}"

    async def test_signing_for_azure(self, opened: Opened) -> None:
        connection = "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=c2VjcmV0PQ==;EndpointSuffix=x"
        storage = opened(AZURE_STORAGE_CONNECTION_STRING=connection, JUBAKO_STORAGE="az://results/folder")
        address, _, query = (await storage.url(KEY)).partition("?")
        assert address == f"https://acct.blob.core.windows.net/results/folder/{KEY}"
        assert "sig=" in query

    async def test_signing_for_google(self, opened: Opened, tmp_path: Path) -> None:
        storage = opened(
            GOOGLE_APPLICATION_CREDENTIALS=str(service_account(tmp_path)), JUBAKO_STORAGE="gs://results/folder"
        )
        address, _, query = (await storage.url(KEY)).partition("?")
        assert address == f"https://storage.googleapis.com/results/folder/{KEY}"
        assert "X-Goog-Signature=" in query

    def test_azure_without_an_account_stops_the_start(self, opened: Opened) -> None:
        with pytest.raises(StartError, match=r"az://results: .*Account must be specified$"):
            opened(JUBAKO_STORAGE="az://results")

    async def test_inputs_have_none(self, local: Storage) -> None:
        with pytest.raises(AssertionError):
            await local.url(input_key(SESSION, "image", "image/png"))


class TestFolderThatCannotBeWritten:
    def test_one_that_cannot_be_made_stops_the_start(self, opened: Opened, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StartError, match="file/folder"):
            opened(JUBAKO_STORAGE=str(tmp_path / "file" / "folder"))

    async def test_it_is_an_outage(self, local: Storage, tmp_path: Path) -> None:
        (tmp_path / "generations").rmdir()
        (tmp_path / "generations").write_text("a file where the folder should be")
        with pytest.raises(StorageUnavailable):
            await local.put(KEY, b"x", "image/png")


def service_account(folder: Path) -> Path:
    """Write a Google service account's file with a fresh key."""
    made = subprocess.run(["openssl", "genrsa", "-traditional", "2048"], capture_output=True, check=True, text=True)
    file = folder / "account.json"
    account = {
        "type": "service_account",
        "private_key": made.stdout,
        "private_key_id": "1",
        "client_email": "jubako@example.iam.gserviceaccount.com",
    }
    file.write_text(json.dumps(account))
    return file
