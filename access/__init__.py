"""Who may call this server, and how much: keys, roles, rates. Does not depend on any contract."""
