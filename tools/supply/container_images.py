"""The root file system of a container image, as a folder."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.image.containers import backend_of


@contextmanager
def unpacked(image: str, backend: str | None) -> Iterator[Path]:
    """Yield a folder with an image's files until the block ends; with buildah this needs root."""
    found = backend_of(backend)
    if found == "buildah":
        container = _output_of(found, "from", "--pull-never", image)
        try:
            yield Path(_output_of(found, "mount", container))
        finally:
            _output_of(found, "rm", container)
        return
    container = _output_of(found, "create", image)
    with tempfile.TemporaryDirectory() as folder:
        try:
            exported = subprocess.Popen([found, "export", container], stdout=subprocess.PIPE)
            subprocess.run(["tar", "--extract", "--directory", folder], stdin=exported.stdout, check=True)
            exported.wait()
        finally:
            _output_of(found, "rm", container)
        yield Path(folder)


def _output_of(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
