"""What the web UI keeps for its one user, and this server for each caller: choices, options, progress."""
