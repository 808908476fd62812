"""Images and videos as requests carry them: how they are read, fitted to a size, and cut into tiles."""
