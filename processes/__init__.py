"""What the processes of a server have in common: how they end, and how they reach each other."""
