"""What clients send to draw: the web UI's forms, its extensions' units, and what they are called here."""
