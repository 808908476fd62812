"""The denoiser, and the pipeline it works in."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel

from .captions import plain_caption
from .clip import load_clip
from .concepts import held_out_pairs
from .data import SIZE_PX, Sprites
from .latents import LatentSet, load_latents, load_scaled_vae
from .loop import Schedule, Trainer, load_trained

BATCH = 16
CAPTION_DROPOUT = 0.1
TRAIN_TIMESTEPS = 1000
SHEET_EVERY = 2000
SCHEDULE = Schedule(steps=10_500, learning_rate=1e-3, decay="linear", decay_from=0.6, average=0.999)


def build_unet() -> UNet2DConditionModel:
    """A fresh UNet for 16x16 latents; besides cross-attention, it adds the pooled text to the time embedding."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=(48, 64, 128),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=16,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def build_scheduler() -> DPMSolverMultistepScheduler:
    """The sampler that ships.

    The betas end higher than Stable Diffusion's: at 16x16 the usual last step would still show the background.
    """
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.02,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    # For schedulers made from this one's configuration: DDIM would clip latents to -1..1, as if they were pixels.
    scheduler.register_to_config(clip_sample=False)
    return scheduler


def velocity_loss(unet: UNet2DConditionModel, data: LatentSet, alphas: Tensor, generator: torch.Generator) -> Tensor:
    """The error on one random batch; ``alphas`` is the cumulative product."""
    device = alphas.device

    def draw(high: int) -> Tensor:
        return torch.randint(high, (BATCH,), generator=generator).to(device)

    pair = draw(data.latents.shape[0])
    latents = data.latents[pair, draw(data.latents.shape[1])].float()
    texts = data.texts[pair, draw(data.texts.shape[1])].float()
    dropped = torch.rand(BATCH, generator=generator).to(device) < CAPTION_DROPOUT
    texts = torch.where(dropped[:, None, None], data.empty_text.float(), texts)
    return velocity_error(unet, latents, alphas, generator, encoder_hidden_states=texts)


def velocity_error(
    unet: UNet2DConditionModel, latents: Tensor, alphas: Tensor, generator: torch.Generator, **conditions: Any
) -> Tensor:
    """Mean squared error of the velocity predicted for BATCH noised latents under the UNet's other arguments."""
    device = alphas.device
    # One timestep from each of BATCH equal slices: less noise in the loss than free draws.
    slices = torch.arange(BATCH) + torch.rand(BATCH, generator=generator)
    timesteps = (slices * (TRAIN_TIMESTEPS / BATCH)).long().to(device)
    noise = torch.randn(latents.shape, generator=generator).to(device)
    signal = alphas[timesteps].sqrt()[:, None, None, None]
    sigma = (1 - alphas[timesteps]).sqrt()[:, None, None, None]
    noisy = (signal * latents + sigma * noise).to(memory_format=torch.channels_last)
    predicted = unet(noisy, timesteps, **conditions).sample
    return functional.mse_loss(predicted.float(), signal * noise - sigma * latents)


def train_unet(work: Path, sprites: Sprites, device: torch.device, schedule: Schedule = SCHEDULE) -> None:  # noqa: ARG001  # as every stage of `train`
    """Train the UNet on precomputed latents; resumes from ``work/unet.pt``, draws held-out samples now and then."""
    torch.manual_seed(0)
    unet = build_unet().to(device, memory_format=torch.channels_last)
    data = load_latents(work, device)
    alphas = build_scheduler().alphas_cumprod.to(device)
    trainer = Trainer(unet, work / "unet.pt", schedule)

    def loss_of(step: int) -> Tensor:
        return velocity_loss(unet, data, alphas, torch.Generator().manual_seed(step))

    def watch(step: int) -> None:
        draw_sheet(build_pipeline(work, trainer.averaged).to(device)).save(work / f"samples-{step}.png")

    trainer.run(loss_of, watch, SHEET_EVERY)


def build_pipeline(work: Path, unet: UNet2DConditionModel) -> StableDiffusionPipeline:
    """The trained parts of a work folder around a UNet."""
    clip, tokenizer = load_clip(work)
    text_encoder = CLIPTextModel(clip.config.text_config).eval()
    text_encoder.load_state_dict(clip.text_model.state_dict())
    pipeline = StableDiffusionPipeline(
        vae=load_scaled_vae(work),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_pipeline(work: Path) -> StableDiffusionPipeline:
    """The pipeline with the latest averaged UNet of a work folder."""
    return build_pipeline(work, load_trained(build_unet(), work / "unet.pt"))


def draw_sheet(pipeline: DiffusionPipeline, columns: int = 8, rows: int = 5, **inputs: Any) -> Image.Image:
    """A contact sheet of held-out pairs, spread over the list; `inputs` are passed to the pipeline."""
    count = columns * rows
    pairs = held_out_pairs()
    chosen = [pairs[i * len(pairs) // count] for i in range(count)]
    prompts = [plain_caption(*pair, 0) for pair in chosen]
    generators = [torch.Generator().manual_seed(i) for i in range(count)]
    images = pipeline(prompts, num_inference_steps=20, guidance_scale=3.0, generator=generators, **inputs).images
    sheet = Image.new("RGB", (columns * SIZE_PX, rows * SIZE_PX))
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * SIZE_PX, i // columns * SIZE_PX))
    return sheet
