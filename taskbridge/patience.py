"""Asking again while a database or broker is busy or away."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import close_old_connections

T = TypeVar("T")

LONGEST_PAUSE_S = 2


def insist(
    query: Callable[[int], T],
    errors: type[Exception] | tuple[type[Exception], ...],
    *,
    for_s: float,
) -> T:
    """Return what the query returns, asking again after each of these errors.

    Args:
        query: called with the number of tries before, 0 at first. A try that raised may
            have done its work all the same.
        errors: those after which it is worth another try.
        for_s: seconds; an error after that is raised.
    """
    deadline = time.monotonic() + for_s
    pause_s = 0.05
    tries = 0
    while True:
        try:
            return query(tries)
        except errors:
            if time.monotonic() + pause_s > deadline:
                raise
        close_old_connections()
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        tries += 1
