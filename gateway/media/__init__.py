"""Files to pictures, and pictures and clips to files."""
