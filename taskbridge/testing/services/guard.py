"""End the servers of a test process that died too suddenly to end them itself.

Runs as a script of its own, in its own session, fed through standard input by
`process.Guard`. Each line is ``+PID SIGNAL`` (a process group to end, and the signal
its leader gets first) or ``-PID`` (it has ended). When the parent is gone, the guard
ends what remains and deletes the parent's temporary directory.

A guard rather than PR_SET_PDEATHSIG, because that one fires when the parent *thread*
ends, is cleared by a change of user, does not reach the children of a server, and
exists on Linux only.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

POLL_S = 1.0
GRACE_S = 6.0


def groups_left_by(parent: int) -> dict[int, int]:
    """Follow standard input until the parent is gone.

    Args:
        parent: the process id of the parent.

    Returns:
        The first signal for each process group left, by its id.
    """
    groups: dict[int, int] = {}
    unread = b""
    while True:
        if not select.select([0], [], [], POLL_S)[0]:
            # A forked child of the parent can hold the pipe open after its death.
            if os.getppid() != parent:
                return groups
            continue
        received = os.read(0, 4096)
        if not received:
            return groups
        *lines, unread = (unread + received).split(b"\n")
        for line in lines:
            group, *first = (int(number) for number in line.split())
            if first:
                groups[group] = first[0]
            else:
                groups.pop(-group, None)


def end(groups: dict[int, int]) -> None:
    """Send each group its first signal, then SIGKILL to what remains of it."""
    for group, first in groups.items():
        with contextlib.suppress(ProcessLookupError):
            os.kill(group, first)
    deadline = time.monotonic() + GRACE_S
    for group, first in groups.items():
        with contextlib.suppress(ProcessLookupError):
            while first != signal.SIGKILL and time.monotonic() < deadline:
                os.killpg(group, 0)
                time.sleep(0.02)
            os.killpg(group, signal.SIGKILL)


def end_inside(directory: Path) -> None:
    """Send SIGKILL to the processes that work in a directory, where /proc tells.

    They are those the parent was about to report when it died, and the children that
    made themselves a group of their own, as those of PostgreSQL do.
    """
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            # The directory may be deleted by now: its name ends in " (deleted)" then.
            if f"{link.readlink()}/".startswith((f"{directory}/", f"{directory} (")):
                os.kill(int(link.parent.name), signal.SIGKILL)


def delete(directory: Path) -> None:
    """Delete a directory in which a dying process may still be writing."""
    deadline = time.monotonic() + GRACE_S
    while directory.exists() and time.monotonic() < deadline:
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(0.02)


if __name__ == "__main__":
    end(groups_left_by(int(sys.argv[1])))
    end_inside(Path(sys.argv[2]))
    delete(Path(sys.argv[2]))
