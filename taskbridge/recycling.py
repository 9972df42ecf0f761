"""When a process of a pool has run enough, and is to be replaced by a new one.

Tasks are counted where they run: a message may carry a chunk of many, so what the
libraries count is something else.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger("taskbridge")

STATM = Path("/proc/self/statm")

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a process of a pool is used."""

    max_tasks: int | None = None
    """It ends after the message with which it has run so many tasks; None: no limit."""
    max_memory_mib: int | None = None
    """It ends after a message that leaves it with more resident memory than this."""


_limits = Limits()
_ran = 0
"""How many tasks this process has begun."""


def limit(limits: Limits) -> None:
    """Set limits for this process, and for those that it forks."""
    global _limits, _ran  # noqa: PLW0603 - of the process
    _limits = limits
    _ran = 0


def count_task() -> None:
    """Take note that a task begins in this process."""
    global _ran  # noqa: PLW0603 - of the process
    _ran += 1


def is_worn() -> bool:
    """Whether this process is to take nothing more, and to end.

    To be asked between two messages.
    """
    if not _ran or not _is_beyond():
        return False
    logger.info(
        "Process %s is replaced: it has run %s tasks and uses %s MiB.",
        os.getpid(),
        _ran,
        resident_bytes() // MIB,
    )
    return True


def _is_beyond() -> bool:
    if _limits.max_tasks is not None and _ran >= _limits.max_tasks:
        return True
    most = _limits.max_memory_mib
    return most is not None and resident_bytes() > most * MIB


def resident_bytes() -> int:
    """Return how much memory this process has in use.

    Where there is no ``/proc``, it is the most that it ever had.
    """
    try:
        pages = int(STATM.read_bytes().split()[1])
    except OSError:
        return _peak_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes() -> int:
    import resource  # noqa: PLC0415 - not on Windows, which runs no workers

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
