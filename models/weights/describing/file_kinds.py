"""Finds the family of a single file by its tensors, using diffusers' own inference where that works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diffusers.loaders.single_file_utils import DIFFUSERS_DEFAULT_PIPELINE_PATHS, infer_diffusers_model_type

from core.errors import LoadFailed
from core.generation.request import Task
from core.wording import some
from models.weights.describing.not_pipelines import IN_AN_ENTRY
from models.weights.files.contents import DENOISER, Contents, Tensors

TYPES: Mapping[str, str] = {
    "inpainting": "stable-diffusion",
    "inpainting_v2": "stable-diffusion",
    "v2": "stable-diffusion",
    "xl_base": "stable-diffusion-xl",
    "xl_inpaint": "stable-diffusion-xl",
    "playground-v2-5": "stable-diffusion-xl",
    "sd3": "stable-diffusion-3",
    "sd35_medium": "stable-diffusion-3",
    "sd35_large": "stable-diffusion-3",
    "flux-dev": "flux",
    "flux-schnell": "flux-schnell",
    "flux-fill": "flux-fill",
    "chroma": "chroma",
    "flux-2-dev": "flux2-klein",
    "ltx-video": "ltx",
    "ltx-video-0.9.1": "ltx",
    "ltx-video-0.9.5": "ltx",
    "ltx-video-0.9.7": "ltx",
    "wan-t2v-1.3B": "wan",
    "wan-t2v-14B": "wan",
    "wan-i2v-14B": "wan-i2v",
    "wan-vace-1.3B": "wan-vace",
    "wan-vace-14B": "wan-vace",
    "wan-animate-14B": "wan-animate",
    "z-image-turbo": "z-image",
    "qwen-image-2.1": "qwen-image-2.1",
    "hidream": "hidream",
}
"""The family of each type that diffusers infers; other types have none."""
UNKNOWN_TYPE = "v1"
"""Diffusers' answer for unknown files, and for Stable Diffusion 1.x."""
LTX_2, ORIGINAL_LTX_2 = "audio_proj_in.weight", "audio_patchify_proj.weight"
"""The layer that takes latents of sound, by diffusers' name and by the original one."""
FLF2V, ORIGINAL_FLF2V = "condition_embedder.image_embedder.pos_embed", "img_emb.emb_pos"
"""Wan FLF2V's position embedding of its two images, by diffusers' name, and by the original one, which diffusers
does not convert."""
MARKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("stable-diffusion-xl", ("input_blocks.0.0.weight", "label_emb.0.0.weight")),
    (
        "stable-diffusion-xl",
        ("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight", "add_embedding.linear_1.weight"),
    ),
    ("stable-diffusion", ("input_blocks.0.0.weight",)),
    ("stable-diffusion", ("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight", "time_embedding.linear_1.weight")),
    ("stable-diffusion-3", ("joint_blocks.0.context_block.adaLN_modulation.1.bias",)),
    ("stable-diffusion-3", ("pos_embed.proj.weight", "transformer_blocks.0.norm1_context.linear.weight")),
    ("flux", ("time_text_embed.text_embedder.linear_1.weight", "single_transformer_blocks.0.proj_mlp.weight")),
    ("flux2-klein", ("single_stream_modulation.linear.weight",)),
    ("qwen-image", ("txt_norm.weight", "transformer_blocks.0.img_mod.1.weight")),
    ("sana-sprint", ("transformer_blocks.0.ff.conv_inverted.weight", "time_embed.guidance_embedder.linear_1.weight")),
    ("sana", ("transformer_blocks.0.ff.conv_inverted.weight", "caption_norm.weight")),
    ("glm-image", ("prior_token_embedding.weight", "glyph_projector.net.0.proj.weight")),
    ("z-image", ("all_x_embedder.2-1.weight",)),
    ("wan", ("patch_embedding.weight", "condition_embedder.time_proj.weight")),
    ("hunyuan-video-1.5", ("context_embedder_2.linear_1.weight", "cond_type_embed.weight")),
    ("kandinsky-5", ("visual_embeddings.in_layer.weight", "pooled_text_embeddings.in_layer.weight")),
    ("ltx-2", (LTX_2, "caption_projection.linear_1.weight")),
    ("ltx-2.3", (LTX_2, "prompt_adaln.linear.weight")),
    ("ltx", ("scale_shift_table", "caption_projection.linear_1.weight", "time_embed.linear.weight")),
)
"""Names of the denoiser's tensors in layouts that diffusers' inference does not know, mainly diffusers' own."""
ALONE: tuple[tuple[str, tuple[str, ...]], ...] = (
    (f"a ControlNet; name it in `controlnets` {IN_AN_ENTRY}", ("control_model.", "controlnet_", "input_hint_block.")),
    (f"a ControlNet; name it in `controlnets` {IN_AN_ENTRY}", ("control_layers.", "control_all_x_embedder.")),
    (f"an IP-Adapter; name it in `ip_adapter` {IN_AN_ENTRY}", ("image_proj.", "ip_adapter.")),
    (f"FLUX.1 Redux; name its repository or folder in `ip_adapter` {IN_AN_ENTRY}", ("redux_up.",)),
    (f"an embedding of new words; name it in `embeddings` {IN_AN_ENTRY}", ("emb_params", "clip_l", "clip_g")),
    (
        f"a text encoder alone; name it as `text_encoder` {IN_AN_ENTRY}",
        (
            "text_model.",
            "encoder.block.",
            "shared.weight",
            "model.embed_tokens.",
            "text_encoders.",
            "cond_stage_model.",
            "conditioner.",
            "token_embedding.",
            "transformer.text_model.",
        ),
    ),
    (
        f"a VAE alone; name it as `vae` {IN_AN_ENTRY}",
        (
            "encoder.conv_in.",
            "decoder.conv_in.",
            "encoder.conv1.",
            "decoder.conv1.",
            "decoder.middle.",
            "vae.",
            "first_stage_model.",
            "quant_conv.",
            "encoder.down_blocks.",
        ),
    ),
    ("a motion module of AnimateDiff, which is not used", ("down_blocks.0.motion_modules.",)),
    ("an upscaler, which is not used", ("body.0.rdb1.", "model.0.", "conv_first.")),
)
"""What a file without a denoiser is, by the beginnings of its tensor names."""
SEEN_CHANNELS: Mapping[int, tuple[Task, ...]] = {4: (), 9: (Task.INPAINT,)}
"""The tasks of a UNet by its input channels; empty: all of its family."""
FIRST_LAYERS = ("input_blocks.0.0.weight", "conv_in.weight")
FILL_CHANNELS = 384
I2V_CHANNELS, TI2V_CHANNELS = 36, 48
GUIDED_FLUX_2 = ("guidance_in.", "guidance_embedder.")
"""Layers that dev has and klein lacks."""
EDIT_PLUS = ("2509", "2511", "plus")


@dataclass(frozen=True)
class FileKind:
    """What a single file is."""

    family: str
    bases: tuple[str, ...] = ()
    """The repository that diffusers takes it for, if any."""
    tasks: tuple[Task, ...] = ()


def kind_of(tensors: Tensors, held: Contents, name: str) -> FileKind:
    """Return what a file is; `name`, in lower case, tells what tensors do not. Raises LoadFailed."""
    inferred = _inferred(tensors, held)
    family = _family(inferred, held.denoiser)
    if family is None:
        raise LoadFailed(_refusal(tensors, inferred))
    exact = _within(family, held.denoiser, name)
    repo = _repo(inferred) if inferred != UNKNOWN_TYPE or family == "stable-diffusion" else ""
    return FileKind(exact, _bases(exact, family, repo, name), _tasks(held.denoiser))


def _family(inferred: str, denoiser: Tensors) -> str | None:
    if inferred not in ("", UNKNOWN_TYPE):
        # diffusers mistakes Wan's VAE alone for the pipeline.
        alone = not denoiser or (inferred.startswith("wan") and "patch_embedding.weight" not in denoiser)
        return None if alone else TYPES.get(inferred)
    return next((family for family, names in MARKS if all(name in denoiser for name in names)), None)


def _repo(inferred: str) -> str:
    return str(DIFFUSERS_DEFAULT_PIPELINE_PATHS[inferred]["pretrained_model_name_or_path"]) if inferred else ""


def _bases(exact: str, family: str, repo: str, name: str) -> tuple[str, ...]:
    if exact == "qwen-image-edit-plus" and "2511" in name:
        return ("Qwen/Qwen-Image-Edit-2511",)
    return (repo,) if repo and exact == family else ()


def _refusal(tensors: Tensors, inferred: str) -> str:
    for kind, starts in ALONE:
        if any(name.startswith(starts) for name in tensors):
            return f"it is {kind}"
    if inferred not in ("", UNKNOWN_TYPE):
        return (
            f"it is of the kind of {_repo(inferred)}, which is read as a folder or repository in diffusers layout only"
        )
    return f"its tensors are those of no model that is known: {some(list(tensors))}"


def _within(family: str, denoiser: Tensors, name: str) -> str:
    """Tell apart the families of one architecture."""
    if family.startswith("flux2"):
        return "flux2" if any(part in each for each in denoiser for part in GUIDED_FLUX_2) else "flux2-klein"
    if family.startswith("flux"):
        return _flux(denoiser, name)
    if family.startswith("wan"):
        return _wan(denoiser)
    if family.startswith("ltx") and "distilled" in name:
        return f"{family}-distilled"
    if family == "qwen-image" and "time_text_embed.addition_t_embedding.weight" in denoiser:
        return "qwen-image-layered"
    if family == "qwen-image" and "edit" in name:
        return "qwen-image-edit-plus" if any(each in name for each in EDIT_PLUS) else "qwen-image-edit"
    return family


def _flux(denoiser: Tensors, name: str) -> str:
    first = next(denoiser[each] for each in ("img_in.weight", "x_embedder.weight") if each in denoiser)
    if first.shape[1] == FILL_CHANNELS:
        return "flux-fill"
    if not any("guidance_" in each for each in denoiser):
        return "flux-schnell"
    return "flux-kontext" if "kontext" in name else "flux"


def _wan(denoiser: Tensors) -> str:
    if any(each.startswith("vace_") for each in denoiser):
        return "wan-vace"
    if any(each.startswith("motion_encoder.") for each in denoiser):
        return "wan-animate"
    if denoiser["patch_embedding.weight"].shape[1] == TI2V_CHANNELS:
        return "wan-ti2v"
    if ORIGINAL_FLF2V in denoiser:
        raise LoadFailed("it is Wan 2.1 FLF2V, which is read as a folder or repository in diffusers layout only")
    if FLF2V in denoiser:
        return "wan-flf2v"
    from_image = any(each.startswith(("img_emb.", "condition_embedder.image_embedder.")) for each in denoiser)
    return "wan-i2v" if from_image or denoiser["patch_embedding.weight"].shape[1] == I2V_CHANNELS else "wan"


def _tasks(denoiser: Tensors) -> tuple[Task, ...]:
    first = next((denoiser[each] for each in FIRST_LAYERS if each in denoiser), None)
    if first is None:
        return ()
    if first.shape[1] not in SEEN_CHANNELS:
        raise LoadFailed(
            f"its UNet takes {first.shape[1]} channels, as InstructPix2Pix does; such models are read as a folder or "
            "repository in diffusers layout only"
        )
    return SEEN_CHANNELS[first.shape[1]]


def _inferred(tensors: Tensors, held: Contents) -> str:
    """Return the type that diffusers infers from the names; empty if it fails for unknown sizes."""
    # diffusers checks for LTX-Video first, whose block names LTX-2 has too.
    if ORIGINAL_LTX_2 in held.denoiser:
        return "ltx2-dev"
    if LTX_2 in held.denoiser:
        return ""
    named = {**tensors, **held.denoiser, **{f"{DENOISER[0]}{name}": each for name, each in held.denoiser.items()}}
    try:
        return str(infer_diffusers_model_type(named))
    except (KeyError, ValueError, UnboundLocalError):
        return ""
