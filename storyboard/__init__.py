"""Stories to scenes to consistent frames."""
