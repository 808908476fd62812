"""Pipelines that no family declares, by the signatures of their classes and their configurations."""
