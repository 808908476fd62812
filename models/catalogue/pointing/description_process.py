"""Describes models in a subprocess, so that this process need not import torch and diffusers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import StartError
from models.catalogue.pointing.model_cache import Fields
from models.catalogue.pointing.pointers import Pointer
from models.catalogue.single_files import CHECKPOINTS

ROOT = Path(__file__).parents[3]
QUIET = {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
"""Its stderr is the operator's terminal."""
COMMAND = (sys.executable, "-m", "models.weights.describing")


@dataclass(frozen=True)
class Permissions:
    """What an operator allows, as the settings say."""

    pickle: bool
    urls: bool
    downloads: Path
    """Where files from addresses are kept."""


def describe_in_subprocess(pointers: Sequence[Pointer], allowed: Permissions) -> list[Fields]:
    """Return an entry's fields for each pointer. Blocks, possibly for downloads. Raises StartError."""
    for each in pointers:
        if each.url is not None and not allowed.urls:
            raise StartError(f"{each.text} is an address; JUBAKO_MODEL_URLS=true allows downloads from addresses")
        if each.url is not None and not each.name.endswith(CHECKPOINTS):
            raise StartError(f"{each.text} must end in the name of a .safetensors or .gguf file")
    asked = {
        "pointers": [
            {"name": each.name, "url": each.url, "source": each.source and each.source.model_dump(mode="json")}
            for each in pointers
        ],
        "pickle": allowed.pickle,
        "downloads": str(allowed.downloads),
    }
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    run = subprocess.run(
        COMMAND,
        input=json.dumps(asked),
        env={**QUIET, **os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if run.returncode:
        names = ", ".join(each.text for each in pointers)
        raise StartError(f"{names}: looking at it failed; the reason is above")
    found = json.loads(run.stdout.splitlines()[-1])
    for each, answer in zip(pointers, found, strict=True):
        if isinstance(answer, str):
            raise StartError(answer if answer.startswith(each.text) else f"{each.text}: {answer}")
    return list(found)
