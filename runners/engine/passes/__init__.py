"""Forward passes: calls of the same module that many pipelines have made are merged, run once and split again."""
