"""Requests to draw: the web UI's forms and its extensions' units, translated into our fields."""
