"""Reading of request bodies, shared by all contracts."""
