"""What makes the address of a result in a local folder one that only those who were given it can use.

The name of a result has its session id in it, which logs and metrics may show: where keys are needed, the address
also has a token, as the addresses of clouds have signatures. It lasts as long as the file.
"""

from __future__ import annotations

import hmac
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

SECRET_FILE = "address-secret"
"""In the folder of results, beside what is served: all processes that serve the folder make the same tokens."""
SECRET_BYTES = 32
TOKEN_CHARS = 32


@dataclass(frozen=True)
class AddressTokens:
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, folder: Path) -> AddressTokens:
        """Return the tokens of a folder, whose secret the first call writes.

        Raises OSError, or ValueError when it is damaged.
        """
        file = folder / SECRET_FILE
        if not file.exists():
            _write_once(file, secrets.token_bytes(SECRET_BYTES))
        secret = file.read_bytes()
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"{SECRET_FILE} is damaged; delete it, and addresses of earlier results end")
        return cls(secret)

    def token(self, key: str) -> str:
        """Return the token of a file's name."""
        return hmac.digest(self.secret, key.encode(), "sha256").hex()[:TOKEN_CHARS]

    def fits(self, key: str, token: str) -> bool:
        """Whether a token is that of a file's name."""
        return hmac.compare_digest(self.token(key).encode(), token.encode())


def _write_once(file: Path, data: bytes) -> None:
    """Write a file that nobody sees before it is whole; another process may be faster."""
    with NamedTemporaryFile(dir=file.parent) as whole:
        whole.write(data)
        whole.flush()
        with suppress(FileExistsError):
            file.hardlink_to(whole.name)
