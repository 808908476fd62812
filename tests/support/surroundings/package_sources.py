"""This machine's sources of Python packages, for builds of images that would not see them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit


def pip_settings() -> dict[str, list[str]]:
    """Return what pip was told by files and environment about where packages are."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True)
    lines = [line.partition("=") for line in listed.stdout.splitlines() if "=" in line]
    # `global.find-links='/a /b'`; later lines, those of the environment, come first.
    found = {name.rpartition(".")[2]: str(ast.literal_eval(value)).split() for name, _, value in reversed(lines)}
    return {name: found[name] for name in ("index-url", "extra-index-url", "find-links", "cert") if name in found}


def build_volumes(folder: Path) -> list[str]:
    """Return the mounts, `HOST:IMAGE:ro`, that let pip and uv in a build find what pip finds here.

    None on a machine with pip's defaults: there, builds find what the image itself says. What is mounted is not part
    of the image.
    """
    told = pip_settings()
    if not told:
        return []
    files = {"/etc/pip.conf": folder / "pip.conf", "/etc/uv/uv.toml": folder / "uv.toml"}
    files["/etc/pip.conf"].write_text(
        "[global]\n" + "".join(f"{name} = {' '.join(values)}\n" for name, values in told.items())
    )
    files["/etc/uv/uv.toml"].write_text(_uv_settings(told))
    places = [_local_folder(place) for place in (*told.get("find-links", []), *told.get("extra-index-url", []))]
    here = [*(str(place) for place in places if place), *told.get("cert", [])]
    return [f"{file}:{place}:ro" for place, file in files.items()] + [
        f"{place}:{place}:ro" for place in sorted({*here})
    ]


def _uv_settings(told: dict[str, list[str]]) -> str:
    lists = {name: told[name] for name in ("extra-index-url", "find-links") if name in told}
    # pip takes the best version of all indexes, uv by itself that of the first that has any.
    lines = ["system-certs = true", "[pip]", 'index-strategy = "unsafe-best-match"']
    lines += [f"index-url = {json.dumps(told['index-url'][0])}"] if "index-url" in told else []
    return "\n".join([*lines, *(f"{name} = {json.dumps(values)}" for name, values in lists.items())]) + "\n"


def _local_folder(place: str) -> Path | None:
    """The folder of a local place; of an index the one above, since its files may be beside its pages."""
    if place.startswith("/"):
        return Path(place)
    parts = urlsplit(place)
    return Path(parts.path).parent if parts.scheme == "file" else None
