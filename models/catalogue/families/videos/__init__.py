"""Families that generate clips."""
