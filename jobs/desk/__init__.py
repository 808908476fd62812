"""Where jobs are handed in, looked up and ended."""
