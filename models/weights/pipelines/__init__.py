"""Pieces that pipelines need and diffusers lacks, or has in versions that do not fit together."""
