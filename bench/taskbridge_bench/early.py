"""Starts before their time: an error of a scheduler, never a merit of it."""

from collections.abc import Sequence

from .verdict import WrongExecution

CLOCK_MS = 20.0
"""The wall clock, which schedulers read, may be slewed by 0.5 ms each second (NTP)."""
GRAIN_MS = 1_000.0
"""Some libraries keep due times in whole seconds: an error, and it is counted."""


def count_early(late_ms: Sequence[float]) -> int:
    """Count the starts so far before their time that no clock explains it.

    Args:
        late_ms: start minus asked time of each task; negative: it was early.

    Raises:
        WrongExecution: one was earlier than whole seconds explain; its lateness would
            pass for a merit.
    """
    if min(late_ms) < -GRAIN_MS - CLOCK_MS:
        raise WrongExecution(f"started before their time: {early_fact(late_ms)}")
    return sum(each < -CLOCK_MS for each in late_ms)


def early_fact(late_ms: Sequence[float]) -> str:
    """Say how many starts were before their time, by however little."""
    early = [each for each in late_ms if each < 0]
    if not early:
        return "none"
    return f"{len(early)} of {len(late_ms)}, the earliest by {-min(early):.1f} ms"
