"""Tells threads of this process, which run tasks, that there may be something to do."""

from __future__ import annotations

import os
from collections.abc import Callable

_bells: dict[str, Callable[[], None]] = {}
"""What rings, by alias in TASKS."""


def hang(alias: str, ring: Callable[[], None]) -> None:
    """Have something called when a task of an alias was enqueued in this process.

    It may be called in any thread, and must not wait.
    """
    _bells[alias] = ring


def ring(alias: str) -> None:
    """Tell that a task was enqueued; where nobody listens, nothing happens."""
    if bell := _bells.get(alias):
        bell()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    # The threads are those of the parent, and so is the lock of what they wait for.
    os.register_at_fork(after_in_child=_bells.clear)
