"""`python -m deploy.image`: build the Bento and, on request, its container image."""

from __future__ import annotations

import argparse
import subprocess
import sys

from core.errors import LoadFailed, LoadInterrupted, StartError
from deploy.image.containers import build_image
from deploy.image.packed import build_bento, report
from deploy.packing import EXTRAS
from models.catalogue.pointing.slugs import plain_id


def main() -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args()
    carried = _names(options.carry)
    try:
        extras = _extras(options.extras)
        arguments = {"variant": options.variant, "base": options.base, "extras": ",".join(extras)}
        bento = build_bento({name: value for name, value in arguments.items() if value}, carried)
        _say(report(bento))
        if options.image:
            name = "-".join((options.variant, *extras, *map(plain_id, carried)))
            _say(build_image(str(bento.tag), f"jubako:{name}", options.backend or None))
    except (StartError, LoadFailed, LoadInterrupted) as error:
        print(f"deploy.image: {error}", file=sys.stderr)  # noqa: T201  # a command talks to its terminal
        return 2
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


def _extras(given: str) -> list[str]:
    """Return the extras' names. Raises StartError for one that images cannot have."""
    names = _names(given)
    if unknown := [name for name in names if name not in EXTRAS]:
        raise StartError(f"--extras: {unknown[0]} is not one of {', '.join(EXTRAS)}")
    return names


def _names(given: str) -> list[str]:
    return given.replace(",", " ").split()


def _say(text: str) -> None:
    print(text)  # noqa: T201  # a command talks to its terminal


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.image", description="Build the Bento (docs/deploy/image.md)."
    )
    parser.add_argument("variant", choices=("cpu", "cuda"), help="which build of torch its image gets")
    parser.add_argument("--base", default="", help="the image to build on, with Python 3.11 and pip")
    parser.add_argument(
        "--carry", default="", metavar="MODELS", help="models of the catalogue whose weights go with it"
    )
    parser.add_argument(
        "--extras", default="", metavar="NAMES", help=f"optional dependencies of its image: {', '.join(EXTRAS)}"
    )
    parser.add_argument("--image", action="store_true", help="also build the container image jubako:VARIANT")
    parser.add_argument("--backend", default="", help="what builds the image; default: what is installed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
