"""Encodings of prompts that a pipeline does not make itself: long ones, and ones with weights."""
