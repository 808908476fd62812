"""`python -m configuration` writes the tables of docs/configuration.md anew."""

from __future__ import annotations

from configuration.page import PAGE, tables, written
from settings import Settings

PAGE.write_text(written(PAGE.read_text("utf-8"), "configuration", tables(Settings)), "utf-8")
