"""What Jubako is made of: licences, known vulnerabilities, bills of images, and images that stay what they are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.packing import BASE_IMAGE
from settings.configuration_page import written
from tests.support.servers.serving import free_port
from tests.support.surroundings.containers import can_build
from tools.supply import audit
from tools.supply.container_images import unpacked
from tools.supply.licences import PAGE, is_permissive, table
from tools.supply.lock import LOCK, ROOT, UI_FOLDER, UI_LOCK, pins
from tools.supply.sbom import bill_of

PINNED = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
TRACKED = [Path(name) for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()]
DOCKERFILES = [ROOT / file for file in TRACKED if "Dockerfile" in file.name]
COMPOSE = [ROOT / file for file in TRACKED if file.match("*compose*.yaml")]
USERS = {"deploy/runpod/Dockerfile": "root"}
"""RunPod's volumes can be written by root only."""
BUILD_TOOLS = re.compile(r"build-essential|\bgcc\b|\bg\+\+|\bgit\b|\bmake\b|apt-get install|apk add")


class TestLicences:
    def test_page_is_what_is_installed(self) -> None:
        page = PAGE.read_text("utf-8")
        assert page == written(page, "licences", table()), "run `make licences`"

    def test_page_has_the_lock(self) -> None:
        rows = re.findall(r"^\| ([\w.-]+) \| (\d\S*) \|", PAGE.read_text("utf-8"), re.MULTILINE)
        locked = [*pins().items(), *pins(UI_LOCK).items()]
        assert rows == sorted(locked, key="==".join), "run `make licences`"

    @pytest.mark.parametrize(
        ("licence", "permissive"),
        [
            ("MIT License", True),
            ("Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND BSD-3-Clause", True),
            ("BSD License; Apache Software License", True),
            ("MIT AND LGPL-2.1-or-later", False),
            ("MIT OR GPL-2.0-only", False),
            ("Mozilla Public License 2.0 (MPL 2.0)", False),
            ("UNKNOWN", False),
        ],
    )
    def test_what_asks_for_more_than_a_mention_is_found(self, licence: str, permissive: bool) -> None:
        assert is_permissive(licence) is permissive


class Advisories(BaseHTTPRequestHandler):
    """Stands in for OSV: knows one vulnerability of urllib3 1.26.4, and nothing against anything else."""

    KNOWN: ClassVar = {
        "id": "PYSEC-2021-108",
        "aliases": ["CVE-2021-33503"],
        "summary": "Catastrophic backtracking",
        "affected": [
            {
                "package": {"name": "urllib3", "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.26.5"}]}],
            }
        ],
    }

    def do_POST(self) -> None:  # as its base wants it
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        hit = (asked["package"]["name"], asked["version"]) == ("urllib3", "1.26.4")
        body = json.dumps({"vulns": [self.KNOWN]} if hit else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def advisories() -> Iterator[list[str]]:
    """Run the stand-in; yields the options with which pip-audit asks it."""
    with HTTPServer(("127.0.0.1", 0), Advisories) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield ["--vulnerability-service=osv", f"--osv-url=http://127.0.0.1:{server.server_port}/"]
        server.shutdown()


class TestAudit:
    def lock(self, folder: Path, *lines: str) -> Path:
        file = folder / "lock.txt"
        file.write_text("\n".join(lines))
        return file

    def test_a_known_vulnerability_fails(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with advisories() as options:
            assert audit.main(self.lock(tmp_path, "urllib3==1.26.4", "torch==2.13.0"), options) == 1
        assert capsys.readouterr().out.splitlines() == [
            "urllib3 1.26.4: PYSEC-2021-108, CVE-2021-33503; mended in 1.26.5",
            "audit: 1 known vulnerabilities in 2 packages",
        ]

    def test_what_is_locked_can_be_asked_about(self, capsys: pytest.CaptureFixture[str]) -> None:
        with advisories() as options:
            assert audit.main(LOCK, options) == 0
        assert capsys.readouterr().out == f"audit: 0 known vulnerabilities in {len(pins())} packages\n"

    def test_without_advisories_it_is_skipped_and_says_so(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        nowhere = ["--vulnerability-service=osv", f"--osv-url=http://127.0.0.1:{free_port()}/"]
        assert audit.main(self.lock(tmp_path, "torch==2.13.0"), nowhere) == 0
        assert capsys.readouterr().out.startswith("audit: SKIPPED, no advisories to be had: ")

    def test_a_wrong_lock_is_no_outage(self, tmp_path: Path) -> None:
        with advisories() as options:
            assert audit.main(self.lock(tmp_path, "urllib3 is what we need"), options) != 0


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that say what is in an image of Debian with a Python of its own and the package av."""
    folder = tmp_path_factory.mktemp("root")
    site = folder / "usr/local/lib/python3.11/site-packages"
    (folder / "var/lib/dpkg").mkdir(parents=True)
    (folder / "var/lib/dpkg/status").write_text(
        "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:1.3.1-1+b1\n"
        "Description: compression library - runtime\n zlib is a library.\n\n"
        "Package: perl\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 5.40\nDescription: gone\n"
    )
    (folder / "etc").mkdir()
    (folder / "etc/os-release").write_text('PRETTY_NAME="Debian"\nID=debian\nVERSION_ID="13"\n')
    (folder / "usr/local/include/python3.11").mkdir(parents=True)
    (folder / "usr/local/include/python3.11/patchlevel.h").write_text('#define PY_VERSION      "3.11.17"\n')
    for package in ("av", "safetensors"):
        files = distribution(package).files or ()
        for file in (each for each in files if ".dist-info" in each.parts[0] or each.parts[0].endswith(".libs")):
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).write_bytes(file.read_binary() if ".dist-info" in file.parts[0] else b"")
    page = folder / "app/.venv" / UI_FOLDER
    for about in (each for each in (Path(sys.prefix) / UI_FOLDER).glob("pillow-*.dist-info/*") if each.is_file()):
        (page / about.parent.name).mkdir(parents=True, exist_ok=True)
        (page / about.parent.name / about.name).write_bytes(about.read_bytes())
    (sboms := next(site.glob("av-*.dist-info")) / "sboms").mkdir(exist_ok=True)
    ffmpeg = {"type": "library", "name": "ffmpeg", "version": "8.0", "purl": "pkg:generic/ffmpeg@8.0"}
    (sboms / "auditwheel.cdx.json").write_text(json.dumps({"components": [ffmpeg]}))
    return folder


def by_name(bill: str) -> dict[str, dict[str, Any]]:
    return {component["name"]: component for component in json.loads(bill)["components"]}


@pytest.fixture(scope="module")
def bill(root: Path) -> str:
    return bill_of(root, "jubako:cpu")


class TestBillOfMaterials:
    def test_is_cyclonedx(self, bill: str) -> None:
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
        assert json.loads(bill)["metadata"]["component"]["name"] == "jubako:cpu"

    def test_has_what_is_installed(self, bill: str) -> None:
        assert {name: part.get("purl") for name, part in by_name(bill).items()} == {
            "debian": None,
            "zlib1g": "pkg:deb/debian/zlib1g@1:1.3.1-1%2Bb1?arch=amd64&distro=debian-13",
            "python": "pkg:generic/python@3.11.17",
            "av": f"pkg:pypi/av@{pins()['av']}",
            "safetensors": f"pkg:pypi/safetensors@{pins()['safetensors']}",
            "pillow": f"pkg:pypi/pillow@{pins(UI_LOCK)['pillow']}",
        }

    def test_has_licences(self, bill: str) -> None:
        assert by_name(bill)["av"]["licenses"][0]["license"]["id"] == "BSD-3-Clause"

    def test_has_what_wheels_carry(self, bill: str) -> None:
        """A crate that is part of a binary, and a library that was built for the wheel."""
        crates = {part.get("purl", "").partition("@")[0] for part in by_name(bill)["safetensors"]["components"]}
        assert "pkg:cargo/serde" in crates
        carried = by_name(bill)["av"]["components"]
        assert any(part["name"].startswith("libx264") for part in carried)
        assert "pkg:generic/ffmpeg@8.0" in {part.get("purl") for part in carried}, "its bill gives it no bom-ref"

    @pytest.mark.skipif(not can_build(), reason="needs root and buildah")
    def test_is_that_of_an_image(self, bill: str, root: Path) -> None:
        container = subprocess.check_output(["buildah", "from", "scratch"], text=True).strip()
        image = f"bill-{free_port()}"
        try:
            subprocess.run(["buildah", "copy", "--quiet", container, root, "/"], check=True)
            subprocess.run(["buildah", "commit", "--quiet", container, image], check=True)
            with unpacked(image, "buildah") as folder:
                assert by_name(bill_of(folder, "jubako:cpu")) == by_name(bill)
        finally:
            subprocess.run(["buildah", "rm", container], check=True)
            subprocess.run(["buildah", "rmi", image], check=True)


class TestImages:
    """What the files that are tracked say of images; tests/deploy/test_image.py looks into one that is built."""

    def test_there_are_files_to_look_at(self) -> None:
        assert DOCKERFILES
        assert COMPOSE

    def test_the_bento_is_built_on_a_digest(self) -> None:
        assert PINNED.fullmatch(BASE_IMAGE)

    @pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: str(file.relative_to(ROOT)))
    def test_a_dockerfile_builds_on_a_digest_and_ends_without_root_and_tools(self, file: Path) -> None:
        text = re.sub(r"^\s*#.*$", "", file.read_text("utf-8"), flags=re.MULTILINE)
        arguments = dict(re.findall(r"^ARG (\w+)=(\S+)", text, re.MULTILINE))
        stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?", text, re.MULTILINE)
        named = {name for _, name in stages}
        bases = [re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], base) for base, _ in stages]
        assert all(PINNED.fullmatch(base) or base in named or base.startswith("jubako:") for base in bases), bases
        last = re.split(r"^FROM ", text, flags=re.MULTILINE)[-1]
        assert re.findall(r"^USER (\S+)", last, re.MULTILINE)[-1] == USERS.get(str(file.relative_to(ROOT)), "1034:1034")
        assert not BUILD_TOOLS.search(last)

    @pytest.mark.parametrize("file", COMPOSE, ids=lambda file: str(file.relative_to(ROOT)))
    def test_compose_names_ours_and_digests(self, file: Path) -> None:
        images = re.findall(r"^\s*image: (\S+)", file.read_text("utf-8"), re.MULTILINE)
        ours = re.compile(r"(\$\{\w+:-)?jubako:")
        assert [image for image in images if not PINNED.fullmatch(image) and not ours.match(image)] == []

    def test_the_image_of_the_bento_loses_what_installs(self) -> None:
        setup = (ROOT / "deploy/image/setup").read_text("utf-8")
        assert re.search(r"pip uninstall .*\buv\b.*\bpip\b", setup)
        assert not BUILD_TOOLS.search(setup)
