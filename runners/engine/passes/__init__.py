"""Forward passes: many pipelines' calls of the same module are merged, run as one, and the outputs split."""
