"""`python -m tools.supply.licences` writes the table in docs/licences.md: locked packages and their licences.

The licences come from the installed packages' metadata, by pip-licenses. Any that is not plainly permissive needs a
note here, or the command fails.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import canonicalize_name

from settings.configuration_page import written
from tools.supply.lock import ROOT, UI_FOLDER, UI_LOCK, pins

PAGE = ROOT / "docs" / "licences.md"
PERMISSIVE = re.compile(
    r"(Apache[ -]|BSD|0BSD|BSL-1\.0|CC0|CNRI-Python|ISC|LLVM-exception|MIT|PSF-|Python Software Foundation|Zlib)"
    r"(?!.*(GPL|Mozilla|MPL))"
)
"""Each part of an expression must begin like one of these."""
UNCHANGED = "Used unchanged: its licence asks for the source of changes to its own files only."
NOTES: Mapping[str, str] = {
    "av": "The wheel carries FFmpeg (LGPL-3.0-or-later) and libraries that it loads, among them **x264 and x265 "
    "(GPL-2.0-or-later)**, LAME, GnuTLS and GMP (LGPL). Distributing an image distributes those too, and so under the "
    "GPL; running one does not. PyAV builds from source against an FFmpeg without them.",
    "certifi": f"Mozilla's list of certificates. {UNCHANGED}",
    "fastapi-offline": "Carries Swagger UI (Apache-2.0) and ReDoc (MIT), which the pages load; its code is not used.",
    "numpy": "The wheel carries OpenBLAS (BSD), and GCC's libgfortran (GPL-3.0 with the runtime exception) and "
    "libquadmath (LGPL-2.1-or-later).",
    "orjson": f"Its own code is under the MPL-2.0. {UNCHANGED}",
    "pathspec": UNCHANGED,
    "pillow": "The wheel carries libjpeg-turbo, libtiff, libwebp, libavif, FreeType (FTL), HarfBuzz and the like, all "
    "permissive.",
    "pillow-heif": "The wheel carries libheif and libde265 (LGPL-3.0-or-later), which read, and **x265 "
    "(GPL-2.0-or-later)**, which only writes; the same holds as for `av`. It builds from source against a libheif "
    "without x265.",
    "pyzmq": "The wheel carries libzmq (MPL-2.0) and libsodium (ISC).",
    "scipy": "The wheel carries OpenBLAS and LAPACK (BSD), and GCC's libgfortran (GPL-3.0 with the runtime exception) "
    "and libquadmath (LGPL-2.1-or-later).",
    "torch": "The wheels carry GCC's libgomp (GPL-3.0 with the runtime exception). Those with CUDA install NVIDIA's "
    "`nvidia-*` packages beside it, which are proprietary and may be handed on with an application under NVIDIA's "
    "terms.",
    "tqdm": UNCHANGED,
}


def main() -> None:
    PAGE.write_text(written(PAGE.read_text("utf-8"), "licences", table()), "utf-8")


def table() -> str:
    """Return a table of the locked packages. Raises ValueError for packages that lack a needed note."""
    licences = installed_licences()
    locked = sorted([*pins().items(), *pins(UI_LOCK).items()], key="==".join)
    if strange := [name for name, _ in locked if not is_permissive(licences[name]) and name not in NOTES]:
        raise ValueError(f"say in tools/supply/licences.py why these may be used: {', '.join(strange)}")
    rows = (
        f"| {name} | {pin} | {licences[name]} | {NOTES.get(name, '')} |\n"
        for name, pin in sorted(locked, key="==".join)
    )
    return "| package | version | licence | note |\n| --- | --- | --- | --- |\n" + "".join(rows)


def installed_licences() -> dict[str, str]:
    """Return the licence in the metadata of each package of this environment and of the page's."""
    command = [str(Path(sys.executable).with_name("pip-licenses")), "--with-system", "--format=json", "--from=mixed"]
    with_page = {**os.environ, "PYTHONPATH": str(Path(sys.prefix) / UI_FOLDER)}
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=with_page).stdout)
    return {canonicalize_name(each["Name"]): each["License"] for each in found}


def is_permissive(licence: str) -> bool:
    """Whether every part of a licence's name or SPDX expression is known to require no more than a mention."""
    return all(PERMISSIVE.match(part) for part in re.split(r" AND | WITH |; ", licence))


if __name__ == "__main__":
    main()
