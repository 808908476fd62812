"""`python -m models.weights.describing`: for `models.catalogue.pointing.looking`, which asks and reads in JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from core.errors import LoadFailed, LoadInterrupted
from models.catalogue.sources import Source
from models.weights.describing.addresses import downloaded
from models.weights.describing.describe import describe


def main() -> None:
    """Answer with a list: an entry's fields for each pointer, or a text that says why there are none."""
    asked = json.load(sys.stdin)
    answers = [_answer(each, Path(asked["downloads"]), pickle=asked["pickle"]) for each in asked["pointers"]]
    sys.stdout.write(json.dumps(answers) + "\n")


def _answer(each: Any, downloads: Path, *, pickle: bool) -> dict[str, Any] | str:
    try:
        source = downloaded(each["url"], downloads) if each["url"] else Source.model_validate(each["source"])
        return describe(source, each["name"], allow_pickle=pickle)
    except (LoadFailed, LoadInterrupted) as error:
        return str(error)


if __name__ == "__main__":
    main()
