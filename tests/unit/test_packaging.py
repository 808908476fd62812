"""The declaration, the lock and the Bento agree."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LOCKED_EXTRAS = ("dev", "bench")
"""What this repository itself is tested with; the others are bound to an operator's hardware or cloud."""
BENTO = yaml.safe_load((ROOT / "bentofile.yaml").read_text())


def pins(name: str) -> dict[str, Version]:
    found = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): Version(version) for package, version in found}


RUNTIME = pins("constraints.txt")
EVERYTHING = RUNTIME | pins("constraints-dev.txt")


@pytest.mark.parametrize("line", PROJECT["dependencies"])
def test_runtime_dependency_is_locked(line: str) -> None:
    requirement = Requirement(line)
    assert RUNTIME[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("line", [line for extra in LOCKED_EXTRAS for line in EXTRAS[extra]])
def test_extra_is_locked(line: str) -> None:
    requirement = Requirement(line)
    assert EVERYTHING[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_extra_upscale_is_locked_beside_the_rest() -> None:
    lock = pins("constraints-upscale.txt")
    (requirement,) = map(Requirement, EXTRAS["upscale"])
    assert lock[canonicalize_name(requirement.name)] in requirement.specifier
    assert lock.keys().isdisjoint(EVERYTHING), "what others have is installed once"
    needed = {Requirement(line).name for line in requires(requirement.name) or ()}
    assert {canonicalize_name(name) for name in needed} - lock.keys() - EVERYTHING.keys() == {"torchvision"}


def test_lock_names_no_build_of_torch() -> None:
    assert all(version.local is None for version in EVERYTHING.values())


def test_the_page_has_what_it_declares_and_shares_the_rest() -> None:
    page = pins("constraints-ui.txt")
    declared = [line for line in (ROOT / "ui/requirements.txt").read_text().splitlines() if not line.startswith("#")]
    for requirement in map(Requirement, declared):
        assert page[canonicalize_name(requirement.name)] in requirement.specifier
    assert page.keys() & RUNTIME.keys() == {"pillow"}, "what both need is installed once"


def test_tools_stay_out_of_the_bento() -> None:
    assert "pytest" not in RUNTIME


def test_bento_installs_the_lock() -> None:
    assert BENTO["python"]["requirements_txt"] == "./constraints.txt"
    assert BENTO["python"]["lock_packages"] is False
