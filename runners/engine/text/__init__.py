"""Encodings of prompts that pipelines cannot make themselves: long prompts, and weighted ones."""
