"""Logging of everything under `jubako`, to stderr, since BentoML shows its own records only.

Every log record is one line, whatever clients put into paths, headers and names, and quotes no prompts. A record
class of our own ensures both for every library in the process.
"""

from __future__ import annotations

import logging
import re
from typing import Any

_UNSAFE = "\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_NOT_IN_A_TRACEBACK = re.compile(f"[{_UNSAFE}]")
_NOT_IN_A_LINE = re.compile(f"[\n{_UNSAFE}]")
"""Control characters, those that change the direction of text, and surrogates, which cannot be encoded."""
_PROMPT = re.compile(r"(?s:(?<=input was truncated because )(.*?: ).*)|(input_value=).*(?=, input_type=)")
"""Where libraries quote prompts: diffusers' pipelines when truncating one, and pydantic."""
_format_traceback = logging.Formatter().formatException


class SafeRecord(logging.LogRecord):
    """A record that all handlers write as one line, followed by its traceback as indented lines."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info:
            # Formatters use this text as it is; an exception's message could otherwise pass for a log line.
            text = _NOT_IN_A_TRACEBACK.sub(_escaped, _without_prompt(_format_traceback(self.exc_info)))
            self.exc_text = "  " + text.replace("\n", "\n  ")

    def getMessage(self) -> str:  # noqa: N802 - the name is the library's
        return _NOT_IN_A_LINE.sub(_escaped, _without_prompt(super().getMessage()))


def _without_prompt(text: str) -> str:
    return _PROMPT.sub(lambda found: f"{found[1] or found[2]}(not logged)", text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def show_log() -> None:
    """Write what `jubako.*` logs, from INFO up, and make all records safe. Idempotent."""
    logging.setLogRecordFactory(SafeRecord)
    logger = logging.getLogger("jubako")
    if logger.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s] [%(name)s] %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    logger.addHandler(handler)
    # In service processes, BentoML's handler on the root logger would write each line again.
    logger.propagate = False
    logger.setLevel(logging.INFO)
