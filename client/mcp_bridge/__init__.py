"""The bridge between agents and a server: a Model Context Protocol server on standard input and output."""
