"""Ollama's API of image generation (experimental there), for its clients: `/ollama/api/generate`, and the models."""
