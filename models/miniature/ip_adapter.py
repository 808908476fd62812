"""Train the miniature's IP-Adapter: ``python -m models.miniature.ip_adapter``; ``--evaluate`` measures it.

It draws the character of a reference picture in the caption's setting, in the layout of IP-Adapter Plus (Ye et al.,
2023, arXiv:2308.06721): a resampler turns CLIP's image features into tokens, which every cross-attention reads with
separate keys and values. Only these are trained; the UNet is unchanged.
"""

import argparse
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import IPAdapterPlusImageProjection
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionModelWithProjection

from .concepts import CONCEPTS, training_pairs
from .data import Sprites, fetch_emoji
from .evaluate import CHECKPOINT, load
from .likeness import evaluate
from .loop import Schedule, Trainer
from .references import NAME_TOKENS, ReferenceSet, Sampler, build_references
from .unet import build_scheduler, velocity_error

FILE = Path(__file__).with_name("ip_adapters") / "character.safetensors"
HIDDEN = 96
HEADS = 1  # diffusers takes them to be 64 wide (loaders/unet.py)
SCALES = (0.4, 1.0)  # of the reference while learning, so that weaker ones work as well
NAMING = Schedule(steps=2000, learning_rate=2e-3, weight_decay=0.0)
NAMING_BATCH = 64
SCHEDULE = Schedule(steps=5000, learning_rate=1e-3, decay="linear", decay_from=0.5, average=0.995, weight_decay=0.0)

_PUBLISHED = {
    "ln0": "0.norm1",
    "ln1": "0.norm2",
    "attn.to_q": "0.to_q",
    "attn.to_out.0": "0.to_out",
    "ff.0": "1.0",
    "ff.1.net.0.proj": "1.1",
    "ff.1.net.2": "1.3",
}
"""Modules of a resampler's layer in diffusers, and in the published layout that its loader reads."""


class TrainedAdapter(nn.Module):
    """The trained parts: the resampler, and the attention processors in the order of the UNet's layers."""

    def __init__(self, resampler: IPAdapterPlusImageProjection, processors: list[IPAdapterAttnProcessor2_0]):
        super().__init__()
        self.resampler, self.processors = resampler, nn.ModuleList(processors)

    def scale(self, scale: float) -> None:
        """Set how strongly the reference acts."""
        for processor in self.layers():
            processor.scale = [scale]

    def layers(self) -> list[Any]:
        return list(self.processors)


def load_with_encoder(checkpoint: Path) -> StableDiffusionPipeline:
    """The pipeline in single precision with the vision tower of the checkpoint's CLIP."""
    pipeline = load(checkpoint)
    encoder = CLIPVisionModelWithProjection.from_pretrained(checkpoint / "clip", dtype=torch.float32)
    pipeline.register_modules(image_encoder=encoder)
    return pipeline


def build_adapter(unet: UNet2DConditionModel) -> TrainedAdapter:
    """Put a fresh adapter into a UNet; its keys and values start as copies of the text's."""
    width = unet.config.cross_attention_dim
    resampler = IPAdapterPlusImageProjection(
        embed_dims=width, output_dims=width, hidden_dims=HIDDEN, heads=HEADS, num_queries=NAME_TOKENS
    )
    layers = [unet.get_submodule(name.removesuffix(".processor")) for name in cross_attention(unet).values()]
    values = [(layer.to_k.weight, layer.to_v.weight) for layer in layers]
    unet._load_ip_adapter_weights([published(resampler, values, cross_attention(unet))], low_cpu_mem_usage=False)
    processors = [unet.attn_processors[name] for name in cross_attention(unet).values()]
    return TrainedAdapter(unet.encoder_hid_proj.image_projection_layers[0], processors)


def cross_attention(unet: UNet2DConditionModel) -> dict[int, str]:
    """The processors of the UNet's cross-attention, by their number among all."""
    return {i: name for i, name in enumerate(unet.attn_processors) if name.endswith("attn2.processor")}


def published(
    resampler: nn.Module, values: list[tuple[Tensor, Tensor]], places: dict[int, str]
) -> dict[str, dict[str, Tensor]]:
    """Weights in the published layout: of the resampler, and each layer's for keys and values."""
    weights = resampler.state_dict()
    image_proj = {}
    for name, value in weights.items():
        if not name.startswith("layers."):
            image_proj[name] = value
            continue
        _, layer, rest = name.split(".", 2)
        module, kind = rest.rsplit(".", 1)
        if module == "attn.to_k":
            image_proj[f"layers.{layer}.0.to_kv.{kind}"] = torch.cat([value, weights[name.replace("to_k", "to_v")]])
        elif module != "attn.to_v":
            image_proj[f"layers.{layer}.{_PUBLISHED[module]}.{kind}"] = value
    ip_adapter: dict[str, Tensor] = {}
    for place, (keys, own_values) in zip(places, values, strict=True):
        ip_adapter |= {f"{place}.to_k_ip.weight": keys, f"{place}.to_v_ip.weight": own_values}
    return {"image_proj": image_proj, "ip_adapter": ip_adapter}


def train(work: Path, device: torch.device) -> None:
    """Train the adapter and write it to FILE; resumes from ``work/ip-adapter.pt``."""
    torch.manual_seed(0)
    pipeline = load_with_encoder(CHECKPOINT).to(device)
    cache = work / "references.pt"
    if not cache.exists():
        torch.save(build_references(pipeline, Sprites(fetch_emoji(work))), cache)
    data = torch.load(cache, map_location=device, weights_only=False)
    sampler = Sampler(data)
    alphas = build_scheduler().alphas_cumprod.to(device)
    unet = pipeline.unet.requires_grad_(False)
    adapter = build_adapter(unet).requires_grad_(True)
    unet.to(device=device, memory_format=torch.channels_last)
    name_things(adapter.resampler, data, work)

    def loss_of(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        adapter.scale(float(torch.empty(1).uniform_(*SCALES, generator=generator)))
        batch = sampler.batch(generator)
        return velocity_error(
            unet,
            batch.latents,
            alphas,
            generator,
            encoder_hidden_states=batch.texts,
            added_cond_kwargs={"image_embeds": [batch.states[:, None]]},
        )

    trainer = Trainer(adapter, work / "ip-adapter.pt", SCHEDULE)
    averaged = cast(TrainedAdapter, trainer.averaged)
    places = cross_attention(unet)
    trainer.run(loss_of, lambda _step: save(averaged, places), watch_every=300)
    save(averaged, places)


def name_things(resampler: nn.Module, data: ReferenceSet, work: Path) -> None:
    """Teach a fresh resampler to give for each reference what the text encoder gives for its concept's name.

    Since the keys and values start as copies of the text's, the adapter then starts by drawing that concept. Without
    this, it learnt nothing in 1,500 steps with the UNet.
    """
    concepts = [list(CONCEPTS).index(concept) for concept, _ in training_pairs()]
    wanted = data.names[concepts].float()  # (P, NAME_TOKENS, width)

    def loss_of(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        pair = torch.randint(len(wanted), (NAMING_BATCH,), generator=generator)
        copy = torch.randint(len(data.looks), (NAMING_BATCH,), generator=generator)
        return functional.mse_loss(resampler(data.states[pair, copy].float()), wanted[pair])

    Trainer(resampler, work / "ip-adapter-names.pt", NAMING).run(loss_of)


def save(adapter: TrainedAdapter, places: dict[int, str]) -> None:
    """Write an adapter in half precision, as ``load_ip_adapter`` reads it."""
    values = [(processor.to_k_ip[0].weight, processor.to_v_ip[0].weight) for processor in adapter.layers()]
    weights = {
        f"{group}.{name}": value.detach().half().contiguous()
        for group, tensors in published(adapter.resampler, values, places).items()
        for name, value in tensors.items()
    }
    FILE.parent.mkdir(exist_ok=True)
    save_file(weights, FILE)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluate", action="store_true", help="measure what is there instead of training")
    parser.add_argument("--count", type=int, default=72, help="pictures of each kind to measure")
    parser.add_argument("--sheet", type=Path, help="file for a contact sheet of the measured pictures")
    parser.add_argument("--work", type=Path, default=Path(".miniature"), help="folder of unfinished work")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.evaluate:
        pipeline = load_with_encoder(CHECKPOINT)
        pipeline.load_ip_adapter(FILE.parent, subfolder="", weight_name=FILE.name)
        evaluate(pipeline, Sprites(fetch_emoji(arguments.work)), arguments.count, arguments.sheet)
        return
    train(arguments.work, torch.device(arguments.device))


if __name__ == "__main__":
    main()
