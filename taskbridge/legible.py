"""What people read, in logs and errors: no passwords, one line, and an end to it."""

from __future__ import annotations

import logging
import re
from types import NoneType
from typing import Any

LONGEST = 2000
"""Characters of a value in a line of the log."""
LONGEST_TRACEBACK = 60_000

# Somebody may have forgotten to escape "/", "?" or "#" in a password, and that is then
# what the error is about. What looks like a port and a path is no password.
_IN_PLACE = re.compile(
    r"(?<=://)([^\s/@:?#]*):(?:[^\s/?#]*|(?!\d+[/?#])(?:(?!://)\S)*)@"
)
_IN_QUERY = re.compile(
    r"([?&;\s]\w*(?:password|passwd|pwd|secret|token)\w*=)[^&;\s'\")]+", re.IGNORECASE
)
# Controls, line separators, and what turns the direction of writing or hides.
_CONTROL = "\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff"
_UNSAFE = re.compile(f"[{_CONTROL}\ud800-\udfff]")
_UNSAFE_BUT_LINES = re.compile(f"(?![\n\t])[{_CONTROL}\ud800-\udfff]")


def without_passwords(text: str) -> str:
    """Return a text, or a URL, with the passwords of its URLs starred out."""
    return _IN_QUERY.sub(r"\1***", _IN_PLACE.sub(r"\1:***@", text))


def legible(value: object) -> str:
    """Return a value as one line of text, which is cut if it is long."""
    return _cleaned(str(value), _UNSAFE, LONGEST)


LONGEST_URL = 2_000


def _cleaned(text: str, unsafe: re.Pattern[str], longest: int) -> str:
    shown = text
    if len(text) > longest:
        # A password may begin before the cut, and be known for one by what follows.
        shown = without_passwords(text[: longest + LONGEST_URL])[:longest]
        shown = f"{shown}... ({len(text):,} characters)"
    return unsafe.sub(_escape, without_passwords(shown))


def _escape(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


class _Legible:
    """A value of a line of the log, made legible only if the line is written."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return legible(self._value)

    def __repr__(self) -> str:
        return legible(repr(self._value))


class LegibleFilter(logging.Filter):
    """Keeps what a task or a stranger can choose from forging lines of the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Make the values of a line, and its traceback, legible."""
        if isinstance(record.args, tuple):
            record.args = tuple(map(_made_legible, record.args))
        if record.exc_info and not record.exc_text:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_text = _cleaned(text, _UNSAFE_BUT_LINES, LONGEST_TRACEBACK)
        return True


def _made_legible(value: Any) -> Any:
    return value if isinstance(value, int | float | NoneType) else _Legible(value)


_filter = LegibleFilter()


def install() -> None:
    """Have all lines of TaskBridge's logger made legible."""
    logging.getLogger("taskbridge").addFilter(_filter)
