"""What the catalogue says of its models: for callers, for operators, as a file."""
