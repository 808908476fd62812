"""The Model Context Protocol: agents, IDEs and chat programs generate with the server's models as tools.

Every generating tool is a job: its call waits and reports progress, or answers at once with the job's id, and what it
made can be the input of the next call. Only `server.py` imports the official SDK, which takes half a second.
"""
