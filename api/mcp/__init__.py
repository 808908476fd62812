"""The Model Context Protocol: agents, IDEs and chat programs generate with the server's models as tools.

Every generating tool runs a job: its call waits and reports progress, or answers at once with the job's id, and its
results can be inputs of the next call. Only `server.py` imports the official SDK, which takes half a second.
"""
