"""The log: what clients send can neither forge lines of it nor be read there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from io import StringIO

import pytest
from pydantic import TypeAdapter, ValidationError

from core.logs import show_log


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What the logger of some library writes in a process that has shown our log."""
    factory, logger = logging.getLogRecordFactory(), logging.getLogger("library")
    handler = logging.StreamHandler(StringIO())
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    show_log()
    yield handler.stream
    logging.setLogRecordFactory(factory)
    logger.removeHandler(handler)


def test_control_characters_are_escaped(log: StringIO) -> None:
    path = "/a\n[INFO] forged\r\x1b[31m\x00\x7f\x85\u2028\u202e\ud800/b"
    logging.getLogger("library").warning("path=%s", path)
    assert log.getvalue() == ("[WARNING] path=/a\\n[INFO] forged\\r\\x1b[31m\\x00\\x7f\\x85\\u2028\\u202e\\ud800/b\n")


def test_other_writing_is_as_it_was(log: StringIO) -> None:
    logging.getLogger("library").warning("Алдар Көсе 🦊 \\ é")
    assert log.getvalue() == "[WARNING] Алдар Көсе 🦊 \\ é\n"


def test_an_exceptions_message_cannot_begin_a_line(log: StringIO) -> None:
    with pytest.raises(ValueError, match="bad") as caught:
        raise ValueError("bad\n[INFO] forged\x1b[2J")
    logging.getLogger("library").error("failed", exc_info=caught.value)
    first, *others = log.getvalue().splitlines()
    assert first == "[ERROR] failed"
    assert "  Traceback (most recent call last):" in others
    assert others[-2:] == ["  ValueError: bad", "  [INFO] forged\\x1b[2J"]
    assert all(line.startswith("  ") for line in others)


@pytest.mark.parametrize(
    "why", ["CLIP can only handle sequences up to 77 tokens", "`max_sequence_length` is set to  512 tokens"]
)
def test_the_words_that_a_tokenizer_cuts_off_are_not_logged(why: str, log: StringIO) -> None:
    said = f"The following part of your input was truncated because {why}: ['a secret\nfox']"
    logging.getLogger("library").warning(said)
    assert log.getvalue().endswith(f"was truncated because {why}: (not logged)\n")
    assert "secret" not in log.getvalue()
    assert "fox" not in log.getvalue()


def test_what_pydantic_quotes_is_not_logged(log: StringIO) -> None:
    prompt = "a secret fox"
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(int).validate_python(prompt)
    logging.getLogger("library").error("wrong: %s", caught.value, exc_info=caught.value)
    assert log.getvalue().count("input_value=(not logged), input_type=str") == 2
    assert "secret" not in log.getvalue()
