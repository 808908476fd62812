"""Completes a draft with its entry's defaults, and checks it against every limit."""
