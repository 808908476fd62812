"""`python -m tools.supply.sbom IMAGE FILE`: what is in a container image, as a CycloneDX bill of materials.

Python and its packages, with the libraries and crates that their wheels carry, and Debian's packages.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from tools.supply.container_images import unpacked
from tools.supply.lock import UI_FOLDER

SCHEMA = SchemaVersion.V1_6
FOLDERS_OF_PACKAGES = ("site-packages", "dist-packages")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.supply.sbom", description="Write the CycloneDX SBOM of an image."
    )
    parser.add_argument("image", help="an image of the builder's, or the folder of a root file system")
    parser.add_argument("file", type=Path, help="the JSON file to write")
    parser.add_argument("--backend", default=None, help="what the image is with: docker, podman or buildah")
    options = parser.parse_args()
    folder = Path(options.image)
    with nullcontext(folder) if folder.is_dir() else unpacked(options.image, options.backend) as root:
        options.file.write_text(bill_of(root, options.image), "utf-8")


def bill_of(root: Path, image: str) -> str:
    """Return the bill of everything installed below a folder, as JSON."""
    bom = _python_packages(root)
    bom.metadata.component = Component(name=image, type=ComponentType.CONTAINER, bom_ref="image")
    bom.components.update(_debian_packages(root))
    bom.components.update(_system(root))
    bom.register_dependency(bom.metadata.component, bom.components)
    return make_outputter(bom, OutputFormat.JSON, SCHEMA).output_as_string(indent=2)


def _python_packages(root: Path) -> Bom:
    """Return the service's packages and the page's, which has some in other versions."""
    bom = _packages_in(_folders(root, *FOLDERS_OF_PACKAGES))
    if of_page := _folders(root, UI_FOLDER):
        page = _packages_in(of_page)
        bom.components.update(page.components)
        bom.dependencies.update(page.dependencies)
    return bom


def _folders(root: Path, *names: str) -> list[str]:
    return [str(folder) for name in names for folder in sorted(root.rglob(name)) if folder.is_dir()]


def _packages_in(folders: Sequence[str]) -> Bom:
    bom = _bill_of_folders(folders)
    by_name = {canonicalize_name(component.name): component for component in bom.components}
    for folder in folders:
        for file in sorted(Path(folder).glob("*.dist-info/sboms/*.json")):
            package = by_name[canonicalize_name(file.parents[1].name.partition("-")[0])]
            package.components.update(_carried(file, package))
        for libraries in sorted(Path(folder).glob("*.libs")):
            if package := by_name.get(canonicalize_name(libraries.stem)):
                package.components.update(_libraries(libraries, package))
    return bom


def _bill_of_folders(folders: Sequence[str]) -> Bom:
    """Ask cyclonedx-py about a Python that cannot run here, since it belongs to another system.

    It only asks an interpreter for its package folders, which a script can print too.
    """
    with tempfile.TemporaryDirectory() as scratch:
        python = Path(scratch, "python")
        python.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(list(folders))}\nEND\n", "utf-8")
        python.chmod(0o700)
        program = str(Path(sys.executable).with_name("cyclonedx-py"))
        command = [program, "environment", "--spec-version", SCHEMA.to_version(), "--no-validate", str(python)]
        bill = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    bom: Bom = Bom.from_json(bill)  # type: ignore[attr-defined]  # its decorator adds it
    return bom


def _carried(file: Path, package: Component) -> Iterator[Component]:
    """Yield what a wheel's own bill names: libraries, and crates in its binaries."""
    for part in json.loads(file.read_text("utf-8")).get("components", ()):
        purl = part.get("purl")
        if purl is None or canonicalize_name(part["name"]) == canonicalize_name(package.name):
            continue
        yield Component(
            name=part["name"],
            version=part.get("version"),
            purl=PackageURL.from_string(purl),
            bom_ref=f"{package.bom_ref.value} carries {part.get('bom-ref', purl)}",
        )


def _libraries(folder: Path, package: Component) -> Iterator[Component]:
    """Yield the libraries that auditwheel put beside a package; their file names end in hashes."""
    for file in sorted(folder.iterdir()):
        yield Component(name=file.name, type=ComponentType.FILE, bom_ref=f"{package.bom_ref.value} carries {file.name}")


def _debian_packages(root: Path) -> Iterator[Component]:
    """Yield dpkg's packages; images without a shell have a file for each package in place of its list."""
    distribution = _release(root)
    for package in _stanzas(root):
        if package.get("Status", "install ok installed").endswith(" installed"):
            name, version, architecture = (package[key] for key in ("Package", "Version", "Architecture"))
            place = {"arch": architecture, "distro": f"{distribution.get('ID')}-{distribution.get('VERSION_ID')}"}
            purl = PackageURL("deb", distribution.get("ID"), name, version, place)
            yield Component(
                name=name, version=version, purl=purl, bom_ref=str(purl), description=package["Description"]
            )


def _stanzas(root: Path) -> Iterator[dict[str, str]]:
    dpkg = root / "var/lib/dpkg"
    files = [file for file in (dpkg / "status", *sorted((dpkg / "status.d").glob("*"))) if file.is_file()]
    for file in files:
        for stanza in file.read_text("utf-8").split("\n\n"):
            lines = [line.partition(": ") for line in stanza.splitlines() if line[:1].isalpha()]
            if lines:
                yield {key: value for key, _, value in lines}


def _system(root: Path) -> Iterator[Component]:
    """Yield the distribution, and the Python that Docker's official images compile, which no package owns."""
    if release := _release(root):
        version = release.get("VERSION_ID")
        yield Component(name=release["ID"], version=version, type=ComponentType.OPERATING_SYSTEM, bom_ref="system")
    for header in root.glob("usr/local/include/python3*/patchlevel.h"):
        if found := re.search(r'#define PY_VERSION\s+"(.+)"', header.read_text("utf-8")):
            purl = PackageURL("generic", None, "python", found[1])
            yield Component(name="python", version=found[1], type=ComponentType.PLATFORM, purl=purl, bom_ref=str(purl))


def _release(root: Path) -> dict[str, str]:
    file = root / "etc/os-release"
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines) if key}


if __name__ == "__main__":
    main()
