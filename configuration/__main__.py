"""`python -m configuration` writes the tables of docs/configuration.md anew."""

from __future__ import annotations

from configuration.page import PAGE, with_tables
from settings import Settings

PAGE.write_text(with_tables(PAGE.read_text("utf-8"), Settings), "utf-8")
