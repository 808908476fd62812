"""The file `.env` of the working folder: variables for this process, for the libraries in it, and for its children."""

from __future__ import annotations

import os
from pathlib import Path

from dotenv import load_dotenv

from core.errors import StartError

VARIABLE = "JUBAKO_ENV_FILE"
DEFAULT = Path(".env")


def read_env_file() -> None:
    """Add the file's variables to the environment, whose own take precedence. Raises StartError."""
    named = os.environ.get(VARIABLE)
    file = Path(named) if named else DEFAULT
    if named and not file.exists():
        raise StartError(f"{VARIABLE}: there is no file {file}")
    try:
        load_dotenv(file)
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"{file}: cannot be read: {error}") from error
