"""A draft against its entry: what it leaves out is filled in, and every limit is checked."""
