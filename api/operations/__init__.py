"""How the server and its models are, and loading and unloading them."""
