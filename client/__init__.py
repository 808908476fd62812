"""A Jubako server from Python: typed APIs, streams with progress, jobs, batches and storyboards.

    jubako = Jubako("http://127.0.0.1:3000")
    jubako.text_to_image("a fox", seed=7, progress=True).save("fox.png")

`generate_inpainting` is for web sites: it generates on a server or in this process, or returns dummy images. Installed
as `jubako_client`, with the command `jubako`; it needs httpx, Pillow and rich, and does not itself import torch or
BentoML.
"""

from .asynchronous import AsyncJubako
from .errors import Refused, Unreachable
from .events import Event
from .files import ImageSource
from .inpainting.generating import Generated, GenerationError, Way, chosen_way, generate_inpainting
from .jubako import Jubako
from .parameters import VideoSource
from .results import Animation, Frame, Image, Job, Model, Reference, Storyboard, Video

__all__ = [
    "Animation",
    "AsyncJubako",
    "Event",
    "Frame",
    "Generated",
    "GenerationError",
    "Image",
    "ImageSource",
    "Job",
    "Jubako",
    "Model",
    "Reference",
    "Refused",
    "Storyboard",
    "Unreachable",
    "Video",
    "VideoSource",
    "Way",
    "chosen_way",
    "generate_inpainting",
]
