"""Predictions as Replicate's clients know them, under `/replicate/v1`, and as containers of Cog, at `/predictions`.

A prediction is a job of the job desk: it outlives its connection, and a restart of the server.
"""
