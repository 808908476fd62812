"""Answers that are long or large: files, streams, waiting, and clients that leave."""
