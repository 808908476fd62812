"""How well frames show their prompts, by CLIP."""
