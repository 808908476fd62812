"""Train the miniatures from scratch: ``python -m models.miniature.train`` (all stages) or ``--stage unet``."""

import argparse
from pathlib import Path

import torch

from .clip import train_clip
from .data import Sprites, fetch_emoji
from .dit.training import train_dit
from .export import export
from .judge import train_judge
from .latents import compute_latents
from .unet import train_unet
from .vae import train_vae

STAGES = {
    "vae": train_vae,
    "clip": train_clip,
    "latents": compute_latents,
    "unet": train_unet,
    "judge": train_judge,
    "export": export,
    "dit": train_dit,
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=["all", *STAGES], default="all")
    parser.add_argument("--work", type=Path, default=Path(".miniature"), help="folder of unfinished work")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(exist_ok=True)
    (arguments.work / ".gitignore").write_text("*\n")
    sprites = Sprites(fetch_emoji(arguments.work))
    for name, train in STAGES.items():
        if arguments.stage in ("all", name):
            train(arguments.work, sprites, torch.device(arguments.device))


if __name__ == "__main__":
    main()
