"""What tasks print: a process that is killed, or calls `os._exit`, writes no more."""

from __future__ import annotations

import contextlib
import sys


def write_lines_at_once() -> None:
    """Write each line as it is printed, also into a file or a pipe."""
    for stream in (sys.stdout, sys.stderr):
        # A project may have put something else in its place.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def flush_output() -> None:
    """Write what was printed."""
    for stream in (sys.stdout, sys.stderr):
        # It may be closed, or None.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
