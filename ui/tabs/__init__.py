"""One file for each tab; each lays out its own components and handlers."""
