"""`python -m settings` regenerates the tables of docs/configuration.md."""

from __future__ import annotations

from settings import Settings
from settings.page import PAGE, tables, written

PAGE.write_text(written(PAGE.read_text("utf-8"), "configuration", tables(Settings)), "utf-8")
