"""What a server's processes share: how they end, and how they reach each other."""
