"""`python -m settings` regenerates the tables of docs/configuration.md, and .env.example."""

from __future__ import annotations

from settings import Settings
from settings.configuration_page import PAGE, tables, written
from settings.example import EXAMPLE, example

PAGE.write_text(written(PAGE.read_text("utf-8"), "configuration", tables(Settings)), "utf-8")
EXAMPLE.write_text(example(Settings), "utf-8")
