"""What can go wrong with storage. The messages may be shown to callers: they name no credentials and no locations."""

from __future__ import annotations

from core.errors import JubakoError

RETRY_S = 5


class StorageUnavailable(JubakoError):
    """Storage is unreachable or refuses; a retry may succeed later. The cause is in the server's log."""

    code = "storage_unavailable"
    status = 503

    def __init__(self, message: str) -> None:
        super().__init__(message, RETRY_S)


class NotStored(JubakoError):
    """Storage answers, but has no such file: it was never written, or has been deleted."""

    code = "not_stored"
    status = 404

    def __init__(self) -> None:
        super().__init__("there is no such file, or it has been deleted")
