"""Units of the web UI's ControlNet extension, as far as we support them: one ControlNet and one IP-Adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.http.refusals import InvalidForm
from api.http.requests.base64_text import decoded_base64
from core.errors import InvalidRequest
from core.generation.hints import ignored_hint
from core.pixels.fitting import Fit
from core.pixels.upload import Pixels
from gateway.media.reading.decoded_kinds import CONTROL, IMAGE
from gateway.media.reading.decoding import uploaded
from models.catalogue.entry import Entry
from settings import settings

SCRIPTS = "alwayson_scripts"
CONTROLNET = "controlnet"
_ADAPTER = "ip-adapter"
_FITS = {
    "0": Fit.STRETCH,
    "1": Fit.CROP,
    "2": Fit.PAD,
    "just resize": Fit.STRETCH,
    "crop and resize": Fit.CROP,
    "resize and fill": Fit.PAD,
}
_BALANCED = ("0", "balanced")


class Unit(BaseModel):
    """One of the extension's units (`internal_controlnet/args.py`), without its fields for preprocessors."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    enabled: bool = True
    image: str | Mapping[str, str | None] | None = None
    input_image: str | None = None
    module: str = "none"
    model: str = "None"
    weight: float = Field(default=1.0, ge=0, le=2)
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    control_mode: str | int = "Balanced"
    resize_mode: str | int = "Crop and Resize"

    @property
    def is_adapter(self) -> bool:
        return _ADAPTER in self.module.lower() or _ADAPTER in self.model.lower().replace("_", "-")

    @property
    def file(self) -> str | None:
        """Its image in base64, from whichever field this version of the extension uses."""
        image = self.image.get("image") if isinstance(self.image, Mapping) else self.image
        return image or self.input_image or None


def control_fields(
    scripts: Mapping[str, Any], entry: Entry, init_image: Pixels | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the draft's fields for a request's scripts, and hints. Blocks. Raises InvalidRequest."""
    units = [unit for unit in _units(scripts) if unit.enabled]
    fields: dict[str, Any] = {}
    for unit in units:
        own = _adapter(unit) if unit.is_adapter else _control(unit, entry, init_image)
        if own.keys() & fields.keys():
            raise InvalidRequest(SCRIPTS, "ControlNet: one unit and one IP-Adapter are all that a request may have")
        fields |= own
    return fields, tuple(hint for unit in units for hint in _idle(unit))


def _units(scripts: Mapping[str, Any]) -> Iterator[Unit]:
    for name, script in scripts.items():
        arguments = script.get("args", []) if isinstance(script, Mapping) else []
        if not isinstance(arguments, list):
            raise InvalidRequest(SCRIPTS, f"{name[:40]}: args must be a list")
        if name.lower() != CONTROLNET:
            if any(map(_is_on, arguments)):
                raise InvalidRequest(SCRIPTS, f"there is no script {name[:40]!r} here, only ControlNet")
            continue
        # The extension also accepts its on/off switches in front of the units.
        yield from (_unit(each) for each in arguments if isinstance(each, Mapping))


def _is_on(argument: Any) -> bool:
    if isinstance(argument, Mapping):
        return any(argument.get(name, False) is True for name in ("enable", "enabled"))
    return argument is True


def _unit(fields: Mapping[str, Any]) -> Unit:
    try:
        return Unit.model_validate({name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        raise InvalidRequest(SCRIPTS, f"ControlNet: {InvalidForm(error)}") from error


def _adapter(unit: Unit) -> dict[str, Any]:
    if unit.file is None:
        raise InvalidRequest(SCRIPTS, "ControlNet: image: an IP-Adapter needs one")
    return {"reference_image": _uploaded(unit.file, is_map=False), "reference_scale": unit.weight}


def _control(unit: Unit, entry: Entry, init_image: Pixels | None) -> dict[str, Any]:
    if unit.module.lower() not in ("none", ""):
        reason = f"there is no preprocessor {unit.module[:40]!r} here; send the map itself, with module none"
        raise InvalidRequest(SCRIPTS, f"ControlNet: module: {reason}")
    image = init_image if unit.file is None else _uploaded(unit.file, is_map=True)
    if image is None:
        raise InvalidRequest(SCRIPTS, "ControlNet: image: is missing")
    kind = {"control_type": _kind(unit.model, entry)}
    fit = {} if init_image is not None else {"fit": _FITS.get(str(unit.resize_mode).lower())}
    return {"control_image": image, "control_scale": unit.weight, **kind, **fit}


def _kind(model: str, entry: Entry) -> str | None:
    """Return the ControlNet that a name such as `control_v11p_sd15_canny [d14c016b]` means; None for the only one."""
    if model.lower() in ("none", ""):
        return None
    found = [kind for kind in entry.controlnets if kind.lower() in model.lower()]
    if not found:
        known = ", ".join(sorted(entry.controlnets)) or "none"
        raise InvalidRequest(SCRIPTS, f"ControlNet: model: {model[:60]!r} is unknown; {entry.id} has: {known}")
    return max(found, key=len)


def _idle(unit: Unit) -> Iterator[str]:
    if (unit.guidance_start, unit.guidance_end) != (0, 1):
        yield ignored_hint("guidance_start", "a ControlNet acts at all steps here")
    if str(unit.control_mode).lower() not in _BALANCED:
        yield ignored_hint("control_mode", "prompt and ControlNet are balanced here")


def _uploaded(text: str, *, is_map: bool) -> Pixels:
    try:
        file = decoded_base64(text)
    except ValueError as error:
        raise InvalidRequest(SCRIPTS, "ControlNet: image: must be base64 text") from error
    return uploaded(file, SCRIPTS, settings().max_image_px, CONTROL if is_map else IMAGE)
