"""The calls that pipelines make of denoisers and decoders, at a model's default size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from core.generation.request import Task
from models.catalogue.entry import Entry
from models.catalogue.families.videos.ltx2 import TEXT_TOKENS
from models.weights.counting.glm_image import edited_image
from models.weights.counting.hidream import hidream_pass
from models.weights.counting.hunyuan_video import hunyuan_video_pass
from models.weights.counting.ltx2 import sound_latents
from models.weights.counting.qwen_image_21 import qwen_image_21_pass

Arguments = dict[str, Any]
LAYERS = 4
"""The layers that one image is taken apart into."""
EDITED_TOKENS = 4096
"""Of one image that an edit sees, scaled to about a megapixel."""
REDUX_TOKENS = 729
"""Tokens that a reference image adds to the prompt: SigLIP's 27x27 patches."""


def denoising(entry: Entry, denoiser: Any, samples: int) -> Arguments:
    """Return the arguments of one call of an entry's denoiser."""
    dtype, make = denoiser.dtype, _DENOISERS[type(denoiser).__name__]
    return make(entry, denoiser.config, samples, lambda *shape: torch.empty(shape, dtype=dtype, device="meta"))


def denoising_pass(denoiser: Any) -> Callable[..., Any]:
    """Return the function to call with these arguments: the denoiser, or a variant that does not depend on values."""
    passes: dict[str, Callable[..., Any]] = {
        "HiDreamImageTransformer2DModel": hidream_pass,
        "HunyuanVideo15Transformer3DModel": hunyuan_video_pass,
        "QwenImage21Transformer2DModel": qwen_image_21_pass,
    }
    made = passes.get(type(denoiser).__name__)
    return denoiser if made is None else partial(made, denoiser)


def decoding(entry: Entry, vae: Any, samples: int) -> Arguments:
    """Return the arguments of one call of an entry's decoder."""
    images = LAYERS if entry.family_spec.layered else 1
    arguments: Arguments = {"z": latents(entry, vae, samples * images)}
    if vae.config.get("timestep_conditioning"):
        arguments["temb"] = _times(samples)
    return arguments


def latents(entry: Entry, vae: Any, samples: int) -> torch.Tensor:
    """Return the decoder's input: (B, C, h, w), or (B, C, f, h, w) for video autoencoders."""
    defaults, config = entry.defaults, vae.config
    spatial, temporal = _factors(vae)
    size = (defaults.height // spatial, defaults.width // spatial)
    channels = config.get("latent_channels") or config.get("z_dim")
    frames = () if temporal is None else ((defaults.num_frames - 1) // temporal + 1,)
    return torch.empty((samples, channels, *frames, *size), dtype=vae.dtype, device="meta")


def _factors(vae: Any) -> tuple[int, int | None]:
    """Return the pixels of a side and the frames that one latent stands for; None frames for images."""
    name = type(vae).__name__
    if name in ("AutoencoderKLLTXVideo", "AutoencoderKLLTX2Video"):
        return vae.spatial_compression_ratio, vae.temporal_compression_ratio
    if name == "AutoencoderKLWan":
        return vae.config.scale_factor_spatial, vae.config.scale_factor_temporal
    if name.startswith("AutoencoderKLHunyuanVideo"):
        return vae.spatial_compression_ratio, vae.temporal_compression_ratio
    if name == "AutoencoderKLQwenImage21":
        return vae.spatial_compression_ratio, vae.config.scale_factor_temporal
    if name == "AutoencoderDC":
        return vae.spatial_compression_ratio, None
    return 8, 4 if name == "AutoencoderKLQwenImage" else None


def _packed_tokens(entry: Entry) -> int:
    """Return FLUX's tokens: each has 2x2 latents of 8x8 pixels; an edit also sees those of its image."""
    seen = EDITED_TOKENS if Task.EDIT in entry.tasks and not entry.family.startswith("flux2") else 0
    return entry.defaults.width * entry.defaults.height // 256 + seen


def _times(samples: int) -> torch.Tensor:
    return torch.empty(samples, device="meta")


def _unet(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    h, w = entry.defaults.height // 8, entry.defaults.width // 8
    arguments = {
        "sample": empty(samples, config.in_channels, h, w),
        "timestep": _times(samples),
        "encoder_hidden_states": empty(samples, 77, config.cross_attention_dim),
    }
    if config.addition_embed_type == "text_time":
        added = {"text_embeds": empty(samples, 1280), "time_ids": empty(samples, 6)}
        return {**arguments, "added_cond_kwargs": added}
    return arguments


def _sd3(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    h, w = entry.defaults.height // 8, entry.defaults.width // 8
    return {
        "hidden_states": empty(samples, 16, h, w),
        "encoder_hidden_states": empty(samples, 77 + 256, config.joint_attention_dim),
        "pooled_projections": empty(samples, config.pooled_projection_dim),
        "timestep": _times(samples),
    }


def _flux(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    tokens, text = _packed_tokens(entry), 512
    if entry.ip_adapter is not None and entry.ip_adapter.is_redux:
        text += REDUX_TOKENS
    arguments = {
        "hidden_states": empty(samples, tokens, config.in_channels),
        "encoder_hidden_states": empty(samples, text, config.joint_attention_dim),
        "pooled_projections": empty(samples, config.pooled_projection_dim),
        "timestep": _times(samples),
        "img_ids": empty(tokens, 3),
        "txt_ids": empty(text, 3),
    }
    return {**arguments, "guidance": _times(samples)} if config.guidance_embeds else arguments


def _flux2(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    tokens = _packed_tokens(entry)
    arguments = {
        "hidden_states": empty(samples, tokens, config.in_channels),
        "encoder_hidden_states": empty(samples, 512, config.joint_attention_dim),
        "timestep": _times(samples),
        "img_ids": empty(tokens, 4),
        "txt_ids": empty(512, 4),
    }
    return {**arguments, "guidance": _times(samples)} if config.guidance_embeds else arguments


def _ltx(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    defaults = entry.defaults
    f, h, w = (defaults.num_frames - 1) // 8 + 1, defaults.height // 32, defaults.width // 32
    return {
        "hidden_states": empty(samples, f * h * w, config.in_channels),
        "encoder_hidden_states": empty(samples, 256, config.caption_channels),
        "encoder_attention_mask": empty(samples, 256),
        "timestep": _times(samples),
        "num_frames": f,
        "height": h,
        "width": w,
    }


def _ltx2(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    arguments, sound = _ltx(entry, config, samples, empty), sound_latents(entry)
    # Only the first version projects encodings in the denoiser.
    widths = (
        (config.caption_channels, config.caption_channels)
        if config.use_prompt_embeddings
        else (config.cross_attention_dim, config.audio_cross_attention_dim)
    )
    texts = [empty(samples, TEXT_TOKENS, width) for width in widths]
    mask = empty(samples, TEXT_TOKENS)
    return {
        **arguments,
        "encoder_hidden_states": texts[0],
        "audio_encoder_hidden_states": texts[1],
        "encoder_attention_mask": mask,
        "audio_encoder_attention_mask": mask,
        "audio_hidden_states": empty(samples, sound, config.audio_in_channels),
        "audio_num_frames": sound,
        "sigma": _times(samples),
    }


def _qwen_image(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    side = (1, entry.defaults.height // 16, entry.defaults.width // 16)
    seen = [(1, 64, 64)] if Task.EDIT in entry.tasks else []
    # Beside the layers there are the whole image as one more, which the pipeline drops, and the input image.
    shapes = [side] * (LAYERS + 2) if entry.family_spec.layered else [side, *seen]
    arguments = {
        "hidden_states": empty(samples, sum(h * w for _, h, w in shapes), config.in_channels),
        "encoder_hidden_states": empty(samples, 512, config.joint_attention_dim),
        "timestep": _times(samples),
        "img_shapes": [shapes] * samples,
    }
    if config.use_additional_t_cond:
        return {**arguments, "additional_t_cond": torch.zeros(samples, dtype=torch.long, device="meta")}
    return arguments


def _qwen_image_21(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    seen = EDITED_TOKENS if Task.EDIT in entry.tasks else 0
    return {
        "hidden_states": empty(samples, seen + entry.defaults.width * entry.defaults.height // 256, config.in_channels),
        "encoder_hidden_states": empty(samples, 512, config.context_in_dim),
        "timestep": _times(samples),
        "seen_tokens": seen,
    }


def _z_image(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    h, w = entry.defaults.height // 8, entry.defaults.width // 8
    return {
        "x": [empty(config.in_channels, 1, h, w) for _ in range(samples)],
        "t": _times(samples),
        "cap_feats": [empty(512, config.cap_feat_dim) for _ in range(samples)],
    }


def _glm_image(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    h, w = entry.defaults.height // 8, entry.defaults.width // 8
    image_tokens = h * w // config.patch_size**2
    return {
        "hidden_states": empty(samples, config.in_channels, h, w),
        # About a hundred quoted words.
        "encoder_hidden_states": empty(samples, 512, config.text_embed_dim),
        "prior_token_id": torch.empty(samples, image_tokens, dtype=torch.long, device="meta"),
        # None are dropped: which ones would be depends on values.
        "prior_token_drop": slice(0),
        "timestep": _times(samples),
        "target_size": empty(samples, 2),
        "crop_coords": empty(samples, 2),
        "kv_caches": edited_image(config, EDITED_TOKENS, empty),
    }


def _hidream(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    h, w = entry.defaults.height // 8, entry.defaults.width // 8
    t5_width, llama_width = config.caption_channels
    return {
        "hidden_states": empty(samples, config.in_channels, h, w),
        "timesteps": _times(samples),
        "encoder_hidden_states_t5": empty(samples, 128, t5_width),
        "encoder_hidden_states_llama3": empty(max(config.llama_layers) + 1, samples, 128, llama_width),
        "pooled_embeds": empty(samples, config.text_emb_dim),
    }


def _wan(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    defaults, pixels = entry.defaults, 16 if entry.family == "wan-ti2v" else 8
    f = (defaults.num_frames - 1) // 4 + 1
    arguments = {
        "hidden_states": empty(samples, config.in_channels, f, defaults.height // pixels, defaults.width // pixels),
        "timestep": _times(samples),
        "encoder_hidden_states": empty(samples, 512, config.text_dim),
    }
    if config.get("image_dim") is None:
        return arguments
    images = 1 if config.pos_embed_seq_len is None else 2
    return {**arguments, "encoder_hidden_states_image": empty(images * samples, 257, config.image_dim)}


def _chroma(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    tokens = _packed_tokens(entry)
    return {
        "hidden_states": empty(samples, tokens, config.in_channels),
        "encoder_hidden_states": empty(samples, 512, config.joint_attention_dim),
        "attention_mask": empty(samples, 512 + tokens),
        "timestep": _times(samples),
        "img_ids": empty(tokens, 3),
        "txt_ids": empty(512, 3),
    }


def _sana(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    h, w = entry.defaults.height // 32, entry.defaults.width // 32
    arguments = {
        "hidden_states": empty(samples, config.in_channels, h, w),
        "encoder_hidden_states": empty(samples, 300, config.caption_channels),
        "encoder_attention_mask": empty(samples, 300),
        "timestep": _times(samples),
    }
    return {**arguments, "guidance": _times(samples)} if config.guidance_embeds else arguments


def _hunyuan_video(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    defaults = entry.defaults
    f, h, w = (defaults.num_frames - 1) // 4 + 1, defaults.height // 16, defaults.width // 16
    return {
        "hidden_states": empty(samples, config.in_channels, f, h, w),
        "timestep": _times(samples),
        # The encodings of both encoders, and of an image, which is absent.
        "encoder_hidden_states": empty(samples, 1000 + 256 + 729, config.text_embed_dim),
    }


def _kandinsky(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    defaults = entry.defaults
    size = ((defaults.num_frames - 1) // 4 + 1, defaults.height // 8, defaults.width // 8)
    channels = 2 * config.in_visual_dim + 1 if config.visual_cond else config.in_visual_dim
    patches = [length // patch for length, patch in zip(size, config.patch_size, strict=True)]
    return {
        "hidden_states": empty(samples, *size, channels),
        "encoder_hidden_states": empty(samples, 512, config.in_text_dim),
        "pooled_projections": empty(samples, config.in_text_dim2),
        "timestep": _times(samples),
        "visual_rope_pos": [torch.empty(length, dtype=torch.long, device="meta") for length in patches],
        "text_rope_pos": torch.empty(512, dtype=torch.long, device="meta"),
    }


def _wan_vace(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    arguments = _wan(entry, config, samples, empty)
    size = arguments["hidden_states"].shape[2:]
    return {**arguments, "control_hidden_states": empty(samples, config.vace_in_channels, *size)}


def _wan_animate(entry: Entry, config: Any, samples: int, empty: Callable[..., torch.Tensor]) -> Arguments:
    arguments = _wan(entry, config, samples, empty)
    _, channels, f, h, w = arguments["hidden_states"].shape
    side = config.motion_encoder_size
    return {
        **arguments,
        # The first is the figure, which has no pose.
        "hidden_states": empty(samples, channels, f + 1, h, w),
        "pose_hidden_states": empty(samples, config.latent_channels, f, h, w),
        "face_pixel_values": empty(samples, 3, entry.defaults.num_frames, side, side),
    }


_DENOISERS: dict[str, Callable[..., Arguments]] = {
    "UNet2DConditionModel": _unet,
    "SD3Transformer2DModel": _sd3,
    "FluxTransformer2DModel": _flux,
    "Flux2Transformer2DModel": _flux2,
    "LTXVideoTransformer3DModel": _ltx,
    "LTX2VideoTransformer3DModel": _ltx2,
    "QwenImageTransformer2DModel": _qwen_image,
    "QwenImage21Transformer2DModel": _qwen_image_21,
    "ZImageTransformer2DModel": _z_image,
    "GlmImageTransformer2DModel": _glm_image,
    "HiDreamImageTransformer2DModel": _hidream,
    "WanTransformer3DModel": _wan,
    "WanVACETransformer3DModel": _wan_vace,
    "WanAnimateTransformer3DModel": _wan_animate,
    "Kandinsky5Transformer3DModel": _kandinsky,
    "HunyuanVideo15Transformer3DModel": _hunyuan_video,
    "SanaTransformer2DModel": _sana,
    "ChromaTransformer2DModel": _chroma,
}
