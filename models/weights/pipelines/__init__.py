"""What pipelines need beside diffusers: pieces that it lacks or that do not fit each other."""
