"""What a terminal is shown: bars and previews."""
