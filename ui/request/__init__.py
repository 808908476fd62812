"""What a request from the page consists of: the controls that fill it."""
