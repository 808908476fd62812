"""The log of everything under `jubako`, on stderr beside that of BentoML, which shows its own only.

A line of the log is one line, whatever clients put into paths, headers and names, and holds no words of their prompts.
Both are kept for every library in the process, by the class of its records.
"""

from __future__ import annotations

import logging
import re
from typing import Any

_UNSAFE = "\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_NOT_IN_A_TRACEBACK = re.compile(f"[{_UNSAFE}]")
_NOT_IN_A_LINE = re.compile(f"[\n{_UNSAFE}]")
"""Control characters, those that turn the direction of text around, and surrogates, which cannot be written."""
_PROMPT = re.compile(r"(?s:(?<=input was truncated because )(.*?: ).*)|(input_value=).*(?=, input_type=)")
"""Where libraries quote prompts: diffusers' pipelines, when there are too many words, and pydantic."""
_format_traceback = logging.Formatter().formatException


class SafeRecord(logging.LogRecord):
    """A record that all handlers write as one line, its traceback as indented ones."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info:
            # Formatters take what is here; the message of an exception could look like a line of the log.
            text = _NOT_IN_A_TRACEBACK.sub(_escaped, _without_prompt(_format_traceback(self.exc_info)))
            self.exc_text = "  " + text.replace("\n", "\n  ")

    def getMessage(self) -> str:  # noqa: N802 - the name is the library's
        return _NOT_IN_A_LINE.sub(_escaped, _without_prompt(super().getMessage()))


def _without_prompt(text: str) -> str:
    return _PROMPT.sub(lambda found: f"{found[1] or found[2]}(not logged)", text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def show_log() -> None:
    """Write what `jubako.*` logs, from INFO on, and make all records safe; asked again, it changes nothing."""
    logging.setLogRecordFactory(SafeRecord)
    logger = logging.getLogger("jubako")
    if logger.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s] [%(name)s] %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    logger.addHandler(handler)
    # In the processes of services BentoML's own handler, at the root, would write each line again.
    logger.propagate = False
    logger.setLevel(logging.INFO)
