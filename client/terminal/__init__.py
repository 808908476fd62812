"""The command `jubako`."""
