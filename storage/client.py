"""Reads and writes files in any storage, within a bounded time and with one error for all outages."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from obstore import sign_async
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore

from core.errors import StartError
from settings import Settings
from settings.locations import local_folder
from storage.errors import NotStored, StorageUnavailable
from storage.file_keys import CACHE_CONTROL, RESULTS, media_type_of
from storage.private import make_private_folders
from storage.stores import CloudStore, Store, store_at
from storage.tokens import AddressTokens

if TYPE_CHECKING:
    from obstore import Attributes

LOCAL_ADDRESS = "/files"
"""Where the gateway serves results that are kept in a local folder; see api/http/result_files.py."""
PROBE_KEY = "reachable"
PROBE_TIMEOUT_S = 2.0
"""Health checks give up on a server after a few seconds; storage must have answered before that."""

logger = logging.getLogger(__name__)


class Storage:
    """Files by key. Each method raises StorageUnavailable when storage fails for longer than `timeout`."""

    def __init__(
        self,
        store: Store,
        timeout: timedelta,
        url_ttl: timedelta,
        signed: bool,
        base: str | None,
        tokens: AddressTokens | None = None,
    ) -> None:
        """`base` is the storage's public address, if it is not the cloud's own. With `tokens`, this server serves
        results only at addresses that include a token.
        """
        self._tokens = tokens
        self._store = store
        self._timeout_s = timeout.total_seconds()
        self._url_ttl = url_ttl
        self._signed = signed
        self._base = base

    @property
    def is_local(self) -> bool:
        return isinstance(self._store, LocalStore)

    async def put(self, key: str, data: bytes, media_type: str) -> None:
        """Write a file, or replace it; readers see all of it or nothing."""
        # A folder cannot store attributes: there the extension gives the media type.
        attributes: Attributes | None = {"Content-Type": media_type, "Cache-Control": CACHE_CONTROL}
        async with _bounded("writing", self._timeout_s):
            await self._store.put_async(key, data, attributes=None if self.is_local else attributes)

    async def get(self, key: str) -> bytes:
        """Read a file. Raises NotStored when there is none of that name."""
        async with _bounded("reading", self._timeout_s):
            try:
                found = await self._store.get_async(key)
                return bytes(await found.bytes_async())
            except FileNotFoundError as error:
                raise NotStored from error

    async def exists(self, key: str) -> bool:
        """Whether there is a file of that name."""
        async with _bounded("reading", self._timeout_s):
            try:
                await self._store.head_async(key)
            except FileNotFoundError:
                return False
        return True

    async def copy(self, key: str, copy: str) -> None:
        """Copy a file to another name. Raises NotStored when there is none of the first name."""
        if self.is_local:
            # In folders, obstore makes hard links, which mounted buckets do not support.
            await self.put(copy, await self.get(key), media_type_of(key))
            return
        async with _bounded("copying", self._timeout_s):
            try:
                await self._store.copy_async(key, copy)
            except FileNotFoundError as error:
                raise NotStored from error

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete files; missing ones are ignored."""
        async with _bounded("deleting"):
            try:
                await self._store.delete_async(keys)
            except FileNotFoundError:
                # All stores but S3 stop at the first missing file.
                for key in keys:
                    with suppress(FileNotFoundError):
                        await self._store.delete_async(key)

    async def url(self, key: str) -> str:
        """Return the address at which a result can be fetched without credentials.

        For a local folder it is a path on this server. Signed addresses expire: get a new one for each response.
        """
        assert key.startswith(f"{RESULTS}/"), key
        if self._base is not None:
            token = f"?token={self._tokens.token(key)}" if self._tokens is not None else ""
            return f"{self._base}/{quote(key)}{token}"
        async with _bounded("signing", self._timeout_s):
            address: str = await sign_async(self._cloud, "GET", key, self._url_ttl)
        # The signature is in the query.
        return address if self._signed else address.partition("?")[0]

    def is_open(self, key: str, token: str) -> bool:
        """Whether this server serves a result to requests with this token."""
        return self._tokens is None or self._tokens.fits(key, token)

    async def is_reachable(self) -> bool:
        """Whether storage answers: reads a small file, which the first call writes."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._probe()
        except (StorageUnavailable, TimeoutError):
            return False
        return True

    async def sweep(self, prefix: str, older_than: timedelta) -> int:
        """Delete files under a prefix such as `generations` that are older than `older_than`; return how many."""
        limit = datetime.now(UTC) - older_than
        async with _bounded("listing"):
            files = await self._store.list_async(prefix).collect_async()
        old = [file["path"] for file in files if file["last_modified"] < limit]
        await self.delete(old)
        return len(old)

    @property
    def _cloud(self) -> CloudStore:
        assert not isinstance(self._store, LocalStore)
        return self._store

    async def _probe(self) -> None:
        # Without permission to list a bucket, a missing file also gives "forbidden": only a write shows the difference.
        with suppress(NotStored, StorageUnavailable):
            await self.get(PROBE_KEY)
            return
        await self.put(PROBE_KEY, b"", "application/octet-stream")


@asynccontextmanager
async def _bounded(doing: str, timeout_s: float | None = None) -> AsyncIterator[None]:
    """Turn every outage into StorageUnavailable. Without `timeout_s`, only single requests are bounded, by obstore."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise StorageUnavailable(f"storage: {doing} took longer than {timeout_s:g} s") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        _log(doing, error)
        raise StorageUnavailable(f"storage: {doing} was refused; this server's credentials are wrong") from error
    except (BaseError, OSError) as error:
        _log(doing, error)
        raise StorageUnavailable(f"storage: {doing} failed; storage is broken or unreachable") from error


def _log(doing: str, error: Exception) -> None:
    logger.warning("storage: %s failed: %s", doing, _first_line(error))


def _first_line(error: Exception) -> str:
    """Drop the dump of internal structures that obstore appends."""
    return str(error).partition("\n")[0]


def open_storage(settings: Settings) -> Storage:
    """Return the configured storage. Raises StartError when it is unusable."""
    timeout = timedelta(seconds=settings.storage_timeout_s)
    try:
        store = store_at(settings.storage_location, os.environ, timeout)
        make_private_folders(settings)
        folder = local_folder(settings.storage_location)
        tokens = AddressTokens.of(folder) if folder is not None and settings.needs_keys else None
    except (BaseError, OSError, ValueError) as error:
        raise StartError(f"{settings.storage_location}: {_first_line(error)}") from error
    base = settings.storage_public_url or (LOCAL_ADDRESS if isinstance(store, LocalStore) else None)
    signed = settings.storage_urls == "presigned"
    return Storage(store, timeout, timedelta(seconds=settings.url_ttl_s), signed, base, tokens)
