"""A storyboard as files."""
