"""Inpainting for web sites: on a server, in this process, or as dummy images."""
