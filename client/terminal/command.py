"""`jubako`: draw, edit, follow jobs and list models, from a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from ..connection import DEFAULT_URL, KEY, URL
from ..errors import Refused, Unreachable
from ..jubako import Jubako
from . import actions


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    chosen = parser().parse_args(arguments)
    try:
        with Jubako(chosen.url) as jubako:
            chosen.action(jubako, chosen)
    except (Refused, Unreachable, actions.UsageError, OSError) as error:
        Console(stderr=True).print(f"jubako: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    whole = argparse.ArgumentParser(prog="jubako", description=f"A Jubako server from the shell. {KEY} has its key.")
    whole.add_argument("--url", help=f"the server's address; default: {URL}, or {DEFAULT_URL}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    _add_drawing(commands.add_parser("draw", help="generate, edit or inpaint an image"), actions.draw, "image")
    _add_drawing(commands.add_parser("video", help="generate a video"), actions.video, "video")
    _add_upscaling(commands.add_parser("upscale", help="upscale an image"))
    story = commands.add_parser("story", help="illustrate a story")
    story.add_argument("prompt")
    story.add_argument("-i", "--image", action="append", default=[], help="a reference of each character, for editors")
    _add_common(story, actions.story, "folder for the frames; default: storyboard")
    models = commands.add_parser("models", help="list the models and what they do")
    models.set_defaults(action=actions.models)
    _add_jobs(commands.add_parser("jobs", help="list, follow, fetch and cancel jobs"))
    bridge = commands.add_parser("mcp", help="run an MCP server on standard input and output, for agents")
    bridge.set_defaults(action=actions.mcp)
    return whole


def _add_drawing(command: argparse.ArgumentParser, action: actions.Action, what: str) -> None:
    command.add_argument("prompt")
    command.add_argument(
        "-i", "--image", action="append", default=[], help="an image to start from; editors take several"
    )
    if what == "image":
        command.add_argument("--mask", help="white is repainted")
        command.add_argument("--upscale", type=int, choices=actions.FACTORS, help="times wider and higher")
        command.add_argument("-n", "--count", type=int, default=1, help="images, with seed, seed + 1, ..., or layers")
    else:
        command.add_argument("--last-image", metavar="FILE", help="an image to end with")
        command.add_argument("--pose-video", metavar="FILE", help="poses that the figure in the image takes")
        command.add_argument("--face-video", metavar="FILE", help="a face whose expressions it takes")
        command.add_argument("--background-video", metavar="FILE", help="a video in which it replaces a figure")
        command.add_argument("--mask-video", metavar="FILE", help="where: white is generated")
    for name in ("width", "height", "steps"):
        command.add_argument(f"--{name}", type=int)
    command.add_argument("--guidance", type=float)
    command.add_argument("--negative", metavar="PROMPT")
    command.add_argument("--background", action="store_true", help="submit a job and print its id")
    _add_common(command, action, f"the file; default: {what}-SEED; its ending chooses the format")


def _add_upscaling(command: argparse.ArgumentParser) -> None:
    command.add_argument("image")
    command.add_argument(
        "--upscale", type=int, choices=actions.FACTORS, default=2, help="times wider and higher; default: 2"
    )
    command.add_argument("-o", "--output", help="the file; default: upscaled.png; its ending chooses the format")
    command.set_defaults(action=actions.upscale)


def _add_common(command: argparse.ArgumentParser, action: actions.Action, output: str) -> None:
    command.add_argument("-m", "--model")
    command.add_argument("-s", "--seed", type=int)
    command.add_argument("-o", "--output", help=output)
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other parameter")
    command.add_argument("-q", "--quiet", action="store_true", help="no bar and no preview")
    command.set_defaults(action=action)


def _add_jobs(command: argparse.ArgumentParser) -> None:
    command.add_argument("job", nargs="?", help="follow it and fetch its results; default: list the newest")
    command.add_argument("--cancel", action="store_true")
    command.add_argument("-o", "--output", default=".", help="folder for the results")
    command.add_argument("-q", "--quiet", action="store_true", help="no bar and no preview")
    command.set_defaults(action=actions.jobs)


if __name__ == "__main__":
    sys.exit(main())
