"""Inpainting for web sites: one call that generates on a server, in this process, or returns dummy images.

Installed as `jubako_client`; it needs httpx and Pillow, and imports neither torch nor BentoML by itself.
"""

from .files import ImageSource
from .generating import Generated, GenerationError, Way, chosen_way, generate_inpainting

__all__ = ["Generated", "GenerationError", "ImageSource", "Way", "chosen_way", "generate_inpainting"]
