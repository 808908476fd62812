"""`python -m models.weights.describing`: the subprocess of `pointing.description_process`; it speaks JSON."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from core.errors import LoadFailed, LoadInterrupted
from models.catalogue.sources import Source
from models.weights.describing.describe import describe
from models.weights.describing.url_files import downloaded
from models.weights.fetching.fetch import refuse_pickle_name


class OneLine(logging.Formatter):
    """Shows errors without tracebacks: the operator who started the server sees them, and they say what to do."""

    def format(self, record: logging.LogRecord) -> str:
        cause = record.exc_info[1] if record.exc_info else None
        said = f": {type(cause).__name__}: {cause}" if cause else ""
        return " ".join(f"jubako: {record.getMessage()}{said}".split())


def main() -> None:
    """Answer with a list: an entry's fields for each pointer, or a text that says why there are none."""
    terminal = logging.StreamHandler()
    terminal.setFormatter(OneLine())
    logging.getLogger("jubako").addHandler(terminal)
    asked = json.load(sys.stdin)
    answers = [_answer(each, Path(asked["downloads"]), pickle=asked["pickle"]) for each in asked["pointers"]]
    sys.stdout.write(json.dumps(answers) + "\n")


def _answer(each: Any, downloads: Path, *, pickle: bool) -> dict[str, Any] | str:
    try:
        sys.stderr.write(f"jubako: looking at {each['name']}\n")
        source = Source.model_validate(each["source"]) if each["source"] else _fetched(each, downloads, pickle=pickle)
        return describe(source, each["name"], allow_pickle=pickle)
    except (LoadFailed, LoadInterrupted) as error:
        return str(error)


def _fetched(each: Any, downloads: Path, *, pickle: bool) -> Source:
    if not pickle:
        refuse_pickle_name(each["name"])
    return downloaded(each["url"], downloads)


if __name__ == "__main__":
    main()
