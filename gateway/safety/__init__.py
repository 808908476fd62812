"""Safety checks of prompts and images, off by default. Independent of any contract."""
