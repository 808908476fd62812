"""Which models a server offers, and which of them a request means."""
