"""What operators see of the settings: their variables, the lines at the start, and docs/configuration.md."""
