"""`python -m access new NAME`: make a key, shown once, and the line for the file of keys."""

from __future__ import annotations

import argparse
import sys

from access.keys import hash_of, new_key


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m access", description="Keys for clients.")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="make a key")
    new.add_argument("name", help="its owner")
    new.add_argument("--admin", action="store_true", help="it may also load, unload and move models")
    arguments = parser.parse_args()
    key = new_key()
    hashed = hash_of(key)
    line = f"{{hash: {hashed!r}, admin: true}}" if arguments.admin else hashed
    # The line alone on stdout, so that it can be appended to the file: python -m access new NAME >> keys.yaml
    sys.stderr.write(f"The key, which is shown only now: {key}\nAdd this line to the file of JUBAKO_API_KEYS_FILE:\n")
    sys.stdout.write(f"{arguments.name}: {line}\n")


if __name__ == "__main__":
    main()
