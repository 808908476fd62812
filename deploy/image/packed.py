"""The Bento: built from the bentofile, with or without models' weights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import bentoml
import yaml

from deploy.image.carrying import write_carried
from models.catalogue.pointing.pointed_entries import whole_catalogue
from settings import settings
from settings.variables import PREFIX

ROOT = Path(__file__).parents[2]
BENTOFILE = "bentofile.yaml"


def build_bento(arguments: dict[str, str], carried: Sequence[str] = ()) -> bentoml.Bento:
    """Build a Bento with these arguments (`bentoml build --arg`) that carries these models of the catalogue.

    Raises StartError and LoadFailed if a model cannot be carried, and CalledProcessError if BentoML fails, having
    printed the reason.
    """
    with _context(carried) as folder:
        named = [f"--arg={name}={value}" for name, value in arguments.items()]
        command = [sys.executable, "-m", "bentoml", "build", "--output", "tag", *named]
        # An operator's settings for serving must not affect what is packed.
        environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
        done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    # The tag comes last; the service may have logged something when it was imported.
    return bentoml.bentos.get(done.stdout.split("__tag__:")[-1].strip())


def report(bento: bentoml.Bento) -> str:
    """Describe a Bento's contents, with sizes."""
    embedded = _size(Path(bento.path, "src", "models", "miniature"))
    parts = [f"the embedded models {_mb(embedded)}", f"code and the rest {_mb(_size(Path(bento.path)) - embedded)}"]
    models = [bentoml.models.get(model.tag) for model in bento.info.all_models]
    parts += [f"carried {model.tag} {_mb(model.file_size)}" for model in models]
    total = _size(Path(bento.path)) + sum(model.file_size for model in models)
    return f"{bento.tag} ({bento.info.labels['variant']}): {_mb(total)}: {', '.join(parts)}"


@contextmanager
def _context(carried: Sequence[str]) -> Iterator[Path]:
    """Yield the folder to build from: a copy of the sources, with the carried models' entries.

    In the repository itself, BentoML would look at every file, including the virtual environment's.
    """
    with tempfile.TemporaryDirectory(prefix="jubako-bento-") as folder:
        _copy_sources(Path(folder))
        if carried:
            catalogue = whole_catalogue(carried, settings())
            write_carried(Path(folder, "models", "catalogue"), [catalogue.find(model) for model in carried])
        yield Path(folder)


def _copy_sources(folder: Path) -> None:
    """Copy the bentofile and the files that it names."""
    bentofile = yaml.safe_load((ROOT / BENTOFILE).read_text(encoding="utf-8"))
    for name in (
        BENTOFILE,
        bentofile["docker"]["setup_script"],
        *(pattern.strip("/") for pattern in bentofile["include"]),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
