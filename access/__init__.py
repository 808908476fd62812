"""Who may call this server, and how much: keys, roles, rates. Knows nothing of any contract."""
