"""Predictions as on Replicate, under `/replicate/v1`, and as in Cog's containers, at `/predictions`.

A prediction is a job of the job desk: it outlives its connection, and a restart of the server.
"""
