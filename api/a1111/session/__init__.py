"""What the web UI shows and keeps for its one user, and this server for each caller: choices, options, progress."""
