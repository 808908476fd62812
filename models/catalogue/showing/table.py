"""The catalogue as text for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from core.generation.request import Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.memory.figures import Figures
from models.catalogue.presence import Presence, presence
from models.catalogue.showing.capabilities import capabilities

SHORT = {
    Task.TEXT_TO_IMAGE: "t2i",
    Task.IMAGE_TO_IMAGE: "i2i",
    Task.INPAINT: "inpaint",
    Task.EDIT: "edit",
    Task.TEXT_TO_VIDEO: "t2v",
    Task.IMAGE_TO_VIDEO: "i2v",
}
NOTES = {
    Presence.TO_DOWNLOAD: "from the Hugging Face hub, when the model is first loaded",
    Presence.GATED: "to download, when you have accepted the licence on the model's page and set HF_TOKEN",
    Presence.MISSING: "`python -m models show MODEL` says where it was looked for",
}
COLUMNS = ("model", "tasks", "size", "steps", "licence", "GiB", "state")
ROOMY_COLUMNS = 100
"""Narrower terminals have no room for licences."""
LABEL_COLUMNS = 14


def print_catalogue(catalogue: Catalogue, console: Console) -> None:
    """Print a row for each model under the name of its family, and what the abbreviations mean."""
    rows = [_row(entry) for entry in catalogue.entries.values()]
    roomy = console.width >= ROOMY_COLUMNS
    columns = [name for name in COLUMNS if name != "licence" or roomy]
    table = Table(box=None, padding=(0, 2 if roomy else 1, 0, 0), pad_edge=False, header_style="bold")
    for name in columns:
        justify: JustifyMethod = "right" if name in ("steps", "GiB") else "left"
        table.add_column(name, justify=justify, no_wrap=name != "licence", overflow="fold")
    for family in dict.fromkeys(row["family"] for row in rows):
        table.add_row(family, style="dim")
        for row in rows:
            if row["family"] == family:
                # Brackets in names are no markup.
                table.add_row(*(Text(row[name]) for name in columns))
    console.print(table)
    _print_note(console, "")
    for note in _notes(catalogue, with_licences=roomy):
        _print_note(console, note)
    states = {row["state"] for row in rows}
    for state, note in NOTES.items():
        if state in states:
            _print_note(console, f"{state}: {note}")


def _notes(catalogue: Catalogue, *, with_licences: bool) -> Iterator[str]:
    entries = catalogue.entries.values()
    tasks = [task for task in SHORT if any(task in entry.tasks for entry in entries)]
    yield ", ".join(f"{SHORT[task]} {task}" for task in tasks if SHORT[task] != task)
    if not with_licences:
        yield "licences: `python -m models show MODEL`, or a wider terminal"
    elif any(entry.gated for entry in entries):
        yield "* gated: the hub asks for an account that has accepted the licence"


def print_entry(entry: Entry, console: Console, sharing: Mapping[str, str] | None) -> None:
    """Print everything about one model; `sharing` is the test's result for an undeclared one."""
    facts = _facts(entry)
    _print_note(console, f"{entry.id}: {entry.title}")
    for label, value in facts.items():
        _print_fact(console, label, value)
    if entry.pipeline is not None:
        _print_sharing(sharing, console)
    for task, settings in capabilities(entry)["tasks"].items():
        _print_note(console, "")
        _print_note(console, task)
        _print_fact(console, "  defaults", _listed(settings["defaults"]))
        _print_fact(console, "  limits", _listed(settings["limits"]))
        _print_fact(console, "  tuning", ", ".join(settings["tuning"]))


def _print_sharing(sharing: Mapping[str, str] | None, console: Console) -> None:
    _print_note(console, "")
    _print_note(console, "passes shared by requests" + ("" if sharing else ": tested when the model is first loaded"))
    for module, found in (sharing or {}).items():
        _print_note(console, f"  {module}: {found}", hanging=4)


def _row(entry: Entry) -> Mapping[str, str]:
    first = next(iter(entry.tasks.values())).defaults
    frames = f"x{first.num_frames}" if first.num_frames > 1 else ""
    return {
        "family": entry.family,
        "model": f"  {entry.id}",
        "tasks": " ".join(SHORT[task] for task in entry.tasks),
        "size": f"{first.width}x{first.height}{frames}",
        "steps": str(first.num_inference_steps),
        "licence": entry.licence + ("*" if entry.gated else ""),
        "GiB": f"{entry.memory_gib:g}",
        "state": presence(entry),
    }


def _facts(entry: Entry) -> Mapping[str, str]:
    state = presence(entry)
    own = entry.memory.model_dump(exclude_defaults=True)
    facts = {
        "family": entry.family,
        "weights": f"{entry.source} ({entry.variant or entry.dtype})",
        "state": f"{state}; {NOTES[state]}" if state in (Presence.TO_DOWNLOAD, Presence.GATED) else state.value,
        "download": f"{entry.download_gib:g} GiB" if entry.download_gib and entry.source.path is None else "",
        "licence": entry.licence + (" (gated: to be accepted on the hub)" if entry.gated else ""),
        "memory": f"{entry.memory_gib:g} GiB" + (f" with {_listed(own)}" if own else "") + _elsewhere(entry),
        "counted": "" if entry.figures is None else _counted(entry.figures),
        "samplers": ", ".join(entry.family_spec.schedulers.schedules),
        "+ schedule": "; ".join(_schedules(entry)),
        "LoRAs": ", ".join(sorted(entry.choosable_loras)),
        "built in": ", ".join(name for name, lora in entry.loras.items() if lora.always),
        "embeddings": ", ".join(sorted(entry.embeddings)),
        "replaced": ", ".join(f"{name} by {source}" for name, source in entry.overrides.items()),
        "ControlNets": ", ".join(_controlnets(entry)),
        "Redux" if entry.ip_adapter and entry.ip_adapter.is_redux else "IP-Adapter": _ip_adapter(entry),
        "last frame": "requests may give one" if entry.last_image else "",
        "videos": _animation(entry),
        "camera": ", ".join(capabilities(entry)["camera"]),
        "vocabulary": f"{len(entry.words)} words" if entry.words else "",
    }
    return {label: value for label, value in facts.items() if value}


def _controlnets(entry: Entry) -> Iterator[str]:
    """Yield the types of control images, each with the memory of its ControlNet."""
    known: Mapping[str, float] = {} if entry.figures is None else entry.figures.controlnets_gib
    for kind, net in sorted(entry.controlnets.items()):
        gib = known.get(net.source.repo or "")
        yield kind if gib is None else f"{kind} (+{gib:g} GiB)"


def _ip_adapter(entry: Entry) -> str:
    if entry.ip_adapter is None:
        return ""
    source = str(entry.ip_adapter.source)
    gib = None if entry.figures is None else entry.figures.ip_adapters_gib.get(source)
    return source if gib is None else f"{source} (+{gib:g} GiB)"


def _animation(entry: Entry) -> str:
    videos = capabilities(entry)["animation"]
    if videos is None:
        return ""
    return f"{' and '.join(videos['needed'])}; also {' with '.join(videos['together'])}"


def _elsewhere(entry: Entry) -> str:
    """Return the model's memory on other devices than its own."""
    if entry.figures is None:
        return "".join(f"; {name} on {device}" for name, device in entry.components.items())
    return "".join(f"; {gib:g} GiB on {device}" for device, gib in entry.elsewhere_gib.items())


def _counted(figures: Figures) -> str:
    parts = ", ".join(f"{name} {gib:g}" for name, gib in figures.weights_gib.items())
    return (
        f"weights {figures.all_weights_gib:.1f} GiB ({parts}); a sample of the default size takes "
        f"{figures.denoising_gib:g} to denoise, and {figures.decoding_gib:g} to decode, {figures.tiled_gib:g} in tiles"
    )


def _schedules(entry: Entry) -> Iterator[str]:
    """Yield each set of sigma schedules, with the samplers that take exactly these."""
    schedules = entry.family_spec.schedulers.schedules
    for taken in dict.fromkeys(filter(None, schedules.values())):
        samplers = [name for name, own in schedules.items() if own == taken]
        yield f"{', '.join(taken)} after {', '.join(samplers)}"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    return f"{value[0]:g} to {value[1]:g}" if isinstance(value, list) and len(value) == 2 else str(value)


def _print_fact(console: Console, label: str, value: str) -> None:
    _print_note(console, f"{label:<{LABEL_COLUMNS}}{value}", hanging=LABEL_COLUMNS)


def _print_note(console: Console, text: str, hanging: int = 0) -> None:
    """Print text literally: brackets in names are not markup."""
    lines = textwrap.wrap(text, console.width, subsequent_indent=" " * hanging, break_on_hyphens=False) or [""]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
