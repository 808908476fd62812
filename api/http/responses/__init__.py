"""Answers that take their time or their size: files, streams, waiting, and clients that leave."""
