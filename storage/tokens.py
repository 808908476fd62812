"""Tokens in addresses of results in a local folder, so that only those who were given an address can use it.

A result's name contains its session id, which logs and metrics may show. So where keys are needed, the address also has
a token, like the signature of a cloud's address. It is valid as long as the file exists.
"""

from __future__ import annotations

import hmac
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

SECRET_FILE = "address-secret"
"""In the storage folder but not served, so that all processes that serve the folder make the same tokens."""
SECRET_BYTES = 32
TOKEN_CHARS = 32


@dataclass(frozen=True)
class AddressTokens:
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, folder: Path) -> AddressTokens:
        """Return the tokens of a folder; the first call writes its secret.

        Raises OSError, or ValueError when the secret is damaged.
        """
        file = folder / SECRET_FILE
        if not file.exists():
            _write_once(file, secrets.token_bytes(SECRET_BYTES))
        secret = file.read_bytes()
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"{SECRET_FILE} is damaged; delete it, and addresses of earlier results end")
        return cls(secret)

    def token(self, key: str) -> str:
        """Return the token for a file's name."""
        return hmac.digest(self.secret, key.encode(), "sha256").hex()[:TOKEN_CHARS]

    def fits(self, key: str, token: str) -> bool:
        """Whether a token belongs to a file's name."""
        return hmac.compare_digest(self.token(key).encode(), token.encode())


def _write_once(file: Path, data: bytes) -> None:
    """Write a file atomically, unless another process has written it first."""
    with NamedTemporaryFile(dir=file.parent) as whole:
        whole.write(data)
        whole.flush()
        with suppress(FileExistsError):
            file.hardlink_to(whole.name)
