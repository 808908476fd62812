"""Recognises files that are not LoRAs, or LoRAs in unsupported layouts, by the names of their tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

TRAIN = "train or convert it as a LoRA"
EMBEDDING = "an embedding of new words; name it in the entry's `embeddings`, or put it into the folder of them"
CHECKPOINT = "a whole checkpoint; make a catalogue entry of it"
KINDS: Mapping[str, str] = {
    ".oft_": f"an OFT; {TRAIN}",
    "oft_blocks": f"an OFT; {TRAIN}",
    "oft_diag": f"an OFT; {TRAIN}",
    ".on_input": f"an (IA)³; {TRAIN}",
    ".a1.weight": f"a GLoRA; {TRAIN}",
    ".dora_scale": "a DoRA in kohya's layout; convert it to diffusers' or peft's, with `lora_magnitude_vector`",
    "bundle_emb.": "a LoRA with embeddings of new words (bundle_emb), a layout that is not read; save the LoRA without "
    "them, and each embedding as a file of its own for `embeddings`",
    "string_to_param": EMBEDDING,
    "emb_params": EMBEDDING,
    "ip_adapter.": "an IP-Adapter; name it in the entry's `ip_adapter`",
    "image_proj.": "an IP-Adapter; name it in the entry's `ip_adapter`",
    "control_model.": "a ControlNet; name it in the entry's `controlnets`",
    "lora_controlnet": "a Control-LoRA; use the whole ControlNet, in the entry's `controlnets`",
    ".query_norm.scale": "a Control-LoRA of FLUX, which changes what the model takes in; it cannot be one request's",
    "first_stage_model.": CHECKPOINT,
    "model.diffusion_model.input_blocks.0.0.weight": CHECKPOINT,
}
"""By a substring of a file's keys: what the file is instead of a readable LoRA, and what to do with it."""


def unread_kind(names: Iterable[str]) -> str | None:
    """Return what a file with these tensor names is instead of a readable LoRA; None if nothing known."""
    return next((kind for part, kind in KINDS.items() if any(part in name for name in names)), None)
