"""Families that generate images."""
