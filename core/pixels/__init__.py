"""Images as requests carry them: how they are fitted to a size, and cut into tiles."""
