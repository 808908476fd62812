"""Describes pipelines that no family declares, from their classes' signatures and their configurations."""
