"""The server that OpenAI's API and other people's clients are tried on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import ANIMATE_ENTRY, EDITING_ENTRY, ENTRY_FIELDS, MAX_UPLOAD_BYTES, VIDEO_ENTRY
from tests.tiny.conditions import tiny_lora
from tests.tiny.controlnets import tiny_controlnets
from tests.tiny.images.flux2 import tiny_flux2_klein
from tests.tiny.images.stable_diffusion import tiny_stable_diffusion
from tests.tiny.videos.wan import tiny_wan_animate, tiny_wan_ti2v

MODELS = ("tiny-edit", "tiny", "miniature", "tiny-video", "tiny-animate")
THEIR_NAMES = ("gpt-image-2", "dall-e-2", "dall-e-3")
"""OpenAI's models, for which `tiny` stands in."""
MAX_LORA_BYTES = 3 * MAX_UPLOAD_BYTES


@contextmanager
def openai_replica(folder: Path) -> Iterator[Replica]:
    """Run a server that is set by the document's variables, with some of OpenAI's names as aliases."""
    theirs = {"DIFFUSER_MODEL_ID": ",".join(MODELS), "DIFFUSER_DEVICE": "cpu", "DIFFUSER_ENABLE_WARMUP": "true"}
    aliases = ",".join(f"{name}=tiny" for name in THEIR_NAMES)
    names = {"JUBAKO_MODELS": "", "JUBAKO_DEVICE": "", "JUBAKO_ALIASES": aliases}
    (folder / "loras").mkdir()
    loras = {"JUBAKO_LORA_FOLDER": str(folder / "loras"), "JUBAKO_MAX_LORA_BYTES": str(MAX_LORA_BYTES)}
    with replica(_write_catalogue(folder), **names, **theirs, **loras) as running:
        yield running


def _write_catalogue(folder: Path) -> Path:
    """Write a catalogue of `tiny`; of `tiny-edit`, which edits several pictures and does nothing else; of videos."""
    sd = tiny_stable_diffusion(folder / "sd")
    controlnets = {kind: net.model_dump(mode="json") for kind, net in tiny_controlnets(sd, folder).items()}
    loras = {"character": tiny_lora(sd, folder / "character.safetensors").model_dump(mode="json")}
    tiny_flux2_klein(folder / "klein")
    tiny_wan_ti2v(folder / "wan")
    tiny_wan_animate(folder / "animate")
    entries = {
        "tiny": {
            **ENTRY_FIELDS,
            "family": "stable-diffusion",
            "source": {"path": "sd"},
            "controlnets": controlnets,
            "loras": loras,
        },
        "tiny-edit": EDITING_ENTRY,
        "tiny-video": VIDEO_ENTRY,
        "tiny-animate": ANIMATE_ENTRY,
    }
    file = folder / "catalogue.yaml"
    file.write_text(yaml.safe_dump(entries))
    return file
