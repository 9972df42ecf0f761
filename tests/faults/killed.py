"""A process that does writes of `writes`, and is killed in the middle: ``serve()``.

It never connects to the database itself. Each write is done by a process forked from
it, which takes a hundredth of the time that a new one needs.
"""

import functools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from taskbridge import control
from taskbridge.store import database, pausing

from .standing import memory, pace
from .writes import WRITES

STEPS = ((CursorWrapper, "execute"), (BaseDatabaseWrapper, "commit"))
"""What this process is killed before, in whichever thread and on any connection."""


def serve() -> None:
    """For each line, a name of `WRITES` and a number of steps, tell how it ended."""
    control.PAGE = 4
    pausing.ROWS_AT_ONCE = 4
    pausing.ROWS_PER_UPDATE = pausing.LEFT_OVER_AT_ONCE = 2
    database.SETTLE_S = 0  # nobody else writes
    pace.slow_s = 0.3
    _import_once()
    for line in sys.stdin:
        name, after = json.loads(line)
        pid = os.fork()
        if not pid:
            _write(name, after)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _import_once() -> None:
    """Import what each of the processes would import, since the driver is new to it."""
    "localhost".encode("idna")
    connection.ops.compiler("SQLCompiler")
    assert memory().store


def _write(name: str, after: int) -> None:
    """Do a write, and die after so many steps."""
    try:
        store = memory().store
        store.check()  # it connects, which is not what is interrupted
        left = iter([None] * after)
        for owner, method in STEPS:
            setattr(owner, method, _deadly(getattr(owner, method), left))
        WRITES[name].act(store)
        os._exit(0)  # without a word to the database
    except BaseException:  # noqa: BLE001 - told by the status
        traceback.print_exc()
    os._exit(1)


def _deadly(step: Callable[..., Any], left: Iterator[None]) -> Callable[..., Any]:
    @functools.wraps(step)
    def step_or_die(*args: Any, **kwargs: Any) -> Any:
        for _ in left:
            return step(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("This process lives.")

    return step_or_die
