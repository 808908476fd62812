"""`python -m jubako_client`: the command `jubako`."""

import sys

from .terminal.command import main

if __name__ == "__main__":
    sys.exit(main())
