"""What the kernel says about processes: their processor time and their memory.

Third parties: psutil 7.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import psutil

MEMORY = "PSS" if psutil.LINUX else "USS"
"""Which memory `memory_mb` sums up.

The proportional set size counts a page that n processes share as 1/n in each. Where a
system has none it is the unique set size, which leaves out what is shared.
"""


def cpu_s(pids: Iterable[int]) -> float:
    """Return the processor time of processes, and of their children that have ended.

    A child that lives is one of `pids` itself. One that has ended is in its parent's
    account, once that has waited for it, and stays there. It is counted in ticks, which
    are 10 ms on Linux.
    """
    return sum(map(sum, _times(pids)))


def _times(pids: Iterable[int]) -> Iterator[tuple[float, ...]]:
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            yield (
                times.user,
                times.system,
                times.children_user,
                times.children_system,
            )


def idle_cpu_s(pids: Collection[int]) -> float:
    """Return the processor time of threads that live, to the nanosecond on Linux.

    Ticks are too coarse for those who hardly run, and of those who rest no thread ends.
    """
    nanoseconds = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                nanoseconds += int(path.read_text().split()[0])
    return nanoseconds / 1e9 if nanoseconds else cpu_s(pids)


def memory_mb(pids: Iterable[int]) -> float:
    """Return the sum of the memory of processes, in MB of 10^6 bytes; see MEMORY."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += getattr(psutil.Process(pid).memory_full_info(), MEMORY.lower())
    return total / 1e6


def servers_cpu_s(workers: Collection[int]) -> Counter[str]:
    """Return the processor time of what else this process has started, by its name.

    Args:
        workers: the processes that are left out, with all that they have started.
    """
    found: Counter[str] = Counter()
    for child in psutil.Process().children():
        if child.pid in workers:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (child, *child.children(recursive=True)):
                found[process.name()] += cpu_s([process.pid])  # type: ignore[assignment]  # it adds floats as well
    return found
