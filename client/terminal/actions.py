"""What each command does."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from ..calls import STREAM_TASKS, VIDEOS, first_able
from ..display.bars import bar
from ..display.terminal_images import as_text
from ..jubako import Jubako
from ..results import Image, Model, Result, StoryFiles, file_stems

Action = Callable[[Jubako, argparse.Namespace], None]

PREVIEW_EVERY = 4
"""Steps."""
FILE_WIDTH = 200
"""Width of a table, in characters, if the output is not a terminal."""
FORMATS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".mp4": "mp4",
    ".webm": "webm",
    ".gif": "gif",
}
FACTORS = (2, 4)
"""Of upscaling."""
ENDINGS = {"image/jpeg": ".jpg"}


class UsageError(Exception):
    """Something on the command line is wrong."""


def draw(jubako: Jubako, chosen: argparse.Namespace) -> None:
    images = {"num_images": chosen.count if chosen.count > 1 else None, "upscale": chosen.upscale}
    if chosen.mask is not None:
        if len(chosen.image) != 1:
            raise UsageError("--mask needs one --image, whose white part is repainted")
        _generate(jubako, chosen, "inpaint", image=chosen.image[0], mask=chosen.mask, **images)
    elif not chosen.image:
        _generate(jubako, chosen, "text_to_image", **images)
    elif len(chosen.image) > 1 or _edits(jubako.models(), chosen.model):
        _generate(jubako, chosen, "edit", images=chosen.image, **images)
    else:
        _generate(jubako, chosen, "image_to_image", image=chosen.image[0], **images)


def video(jubako: Jubako, chosen: argparse.Namespace) -> None:
    if len(chosen.image) > 1:
        raise UsageError("a video starts with one --image")
    followed = {name: getattr(chosen, name) for name in (*VIDEOS, "last_image") if getattr(chosen, name) is not None}
    if chosen.image:
        _generate(jubako, chosen, "image_to_video", image=chosen.image[0], **followed)
    elif followed:
        raise UsageError(f"--{next(iter(followed)).replace('_', '-')} needs an --image, which the video starts with")
    else:
        _generate(jubako, chosen, "text_to_video")


def upscale(jubako: Jubako, chosen: argparse.Namespace) -> None:
    output = chosen.output or "upscaled.png"
    parameters: dict[str, Any] = {"upscale": chosen.upscale, "output_format": _format(output)}
    image = jubako.upscale(chosen.image, **parameters)
    _print(image.save(output))
    if image.hint is not None:
        Console(stderr=True).print(image.hint, style="yellow", markup=False)


def story(jubako: Jubako, chosen: argparse.Namespace) -> None:
    parameters = {"model": chosen.model, "seed": chosen.seed, "images": chosen.image or None, **_settings(chosen)}
    job = jubako.submit(chosen.prompt, "storyboard", **parameters)
    results = jubako.wait(job, progress=not chosen.quiet)
    files = StoryFiles.of(results, jubako.job(job.id).results[0]["seed"])
    folder = Path(chosen.output or "storyboard")
    folder.mkdir(parents=True, exist_ok=True)
    for name, images in (("frame", files.frames), ("reference", files.references)):
        for number, image in enumerate(images, start=1):
            _print(image.save(folder / f"{name}_{number:03d}{_ending(image)}"))
    _print(files.sheet.save(folder / f"sheet{_ending(files.sheet)}"))


def models(jubako: Jubako, chosen: argparse.Namespace) -> None:  # noqa: ARG001 - every action's
    table = Table("model", "state", "tasks", "steps", "size", box=None)
    for model in jubako.models():
        first = next(iter(model.tasks.values()))["defaults"]
        size = f"{first['width']} x {first['height']}"
        table.add_row(model.id, model.state, ", ".join(model.tasks), str(first["num_inference_steps"]), size)
    _print_table(table)


def jobs(jubako: Jubako, chosen: argparse.Namespace) -> None:
    if chosen.job is None:
        table = Table(Column("job", no_wrap=True), "status", "%", "model", "task", "created", box=None)
        for each in jubako.jobs():
            table.add_row(each.id, each.status, str(each.progress), each.model, each.task, each.created_at[:19])
        _print_table(table)
    elif chosen.cancel:
        _print(jubako.cancel(jubako.job(chosen.job)).status)
    else:
        _save_all(jubako.wait(jubako.job(chosen.job), progress=not chosen.quiet), Path(chosen.output), chosen.job)


def mcp(jubako: Jubako, chosen: argparse.Namespace) -> None:  # noqa: ARG001 - every action's
    try:
        from ..mcp_bridge.server import serve
    except ImportError as error:
        raise UsageError(f"this needs the extra mcp: pip install 'jubako-client[mcp]' ({error})") from error
    serve(chosen.url)


def _generate(jubako: Jubako, chosen: argparse.Namespace, api: str, **own: Any) -> None:
    settings = _settings(chosen)
    named = {
        "model": chosen.model or first_able(jubako.models(), api, {**own, **settings}),
        "seed": chosen.seed,
        "width": chosen.width,
        "height": chosen.height,
        "num_inference_steps": chosen.steps,
        "guidance_scale": chosen.guidance,
        "negative_prompt": chosen.negative,
        "output_format": None if chosen.output is None else _format(chosen.output),
        **own,
    }
    parameters = {**named, **settings}
    if chosen.background:
        _print(jubako.submit(chosen.prompt, api, **parameters).id)
        return
    results = _results(jubako, chosen, api, parameters)
    for path, result in zip(_paths(chosen.output, results), results, strict=True):
        _print(result.save(path))
        if not chosen.quiet and isinstance(result, Image) and sys.stdout.isatty():
            Console().print(as_text(result.pillow))


def _results(jubako: Jubako, chosen: argparse.Namespace, api: str, parameters: dict[str, Any]) -> list[Result]:
    if not chosen.quiet:
        parameters["preview_every"] = PREVIEW_EVERY
    with bar(chosen.prompt, shown=not chosen.quiet) as shown:
        results = {}
        for event in jubako.stream(chosen.prompt, api, **parameters):
            shown.show(event)
            if event.result is not None:
                results[event.data["index"]] = event.result
            if event.name == "started" and event.data.get("hint"):
                Console(stderr=True).print(event.data["hint"], style="yellow", markup=False)
    return [results[index] for index in sorted(results)]


def _settings(chosen: argparse.Namespace) -> dict[str, Any]:
    return dict(_setting(each) for each in chosen.set)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _format(output: str) -> str:
    suffix = Path(output).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"--output {output}: must end in one of {', '.join(FORMATS)}")
    return FORMATS[suffix]


def _paths(output: str | None, results: list[Result]) -> list[Path]:
    """Return a path for each result, all different."""
    if output is None:
        return [_named(result, stem) for result, stem in zip(results, file_stems(results), strict=True)]
    path = Path(output)
    if len(results) == 1:
        return [path]
    return [path.with_stem(f"{path.stem}-{number}") for number in range(1, len(results) + 1)]


def _named(result: Result, stem: str) -> Path:
    kind = "image" if isinstance(result, Image) else "video"
    return Path(f"{kind}-{stem}{_ending(result)}")


def _save_all(results: list[Result], folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, result in enumerate(results):
        _print(result.save(folder / f"{name}_{number}{_ending(result)}"))


def _ending(result: Result) -> str:
    return ENDINGS.get(result.media_type) or "." + result.media_type.partition("/")[2]


def _edits(served: list[Model], name: str | None) -> bool:
    """Whether a model, by default the first that takes images, edits them rather than starts from them."""
    wanted = (STREAM_TASKS["edit"], STREAM_TASKS["image_to_image"])
    able = [model for model in served if (name is None or model.id == name) and not set(wanted).isdisjoint(model.tasks)]
    return bool(able) and STREAM_TASKS["edit"] in able[0].tasks


def _print_table(table: Table) -> None:
    console = Console()
    if not console.is_terminal:
        # Programs that read it want unbroken lines.
        console.width = FILE_WIDTH
    console.print(table)


def _print(line: object) -> None:
    Console().print(str(line), markup=False, highlight=False, soft_wrap=True)
