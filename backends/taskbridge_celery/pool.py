"""A prefork pool of Celery 5.7 whose processes end when they have run enough.

Celery's own limits count messages, of which one may carry many tasks, and go by the
most memory that a process ever had. How a process ends, and is replaced, is Celery's.
"""

import os
import signal
import sys
from typing import Any

from billiard.pool import EX_RECYCLE
from celery.concurrency import asynpool, prefork

from taskbridge.recycling import is_worn


class Worker(asynpool.Worker):
    """Runs in a pool process."""

    wait_for_job: Any

    def _make_child_methods(self, *args: Any, **kwargs: Any) -> None:
        super()._make_child_methods(*args, **kwargs)  # type: ignore[misc]  # no stub
        receive: Any = self.wait_for_job

        def wait_for_job() -> Any:
            if is_worn():
                # Of this loop, which first waits until its last result was read.
                sys.exit(EX_RECYCLE)
            return receive()

        self.wait_for_job = wait_for_job

    def _do_exit(self, pid: int, exitcode: int | None, exc: Any = None) -> None:
        """End at once when the main process asks for it, and not a second later."""
        status = int(exc is not None) if exitcode is None else exitcode
        signal.signal(signal.SIGTERM, lambda *_: os._exit(status))
        super()._do_exit(pid, exitcode, exc)  # type: ignore[misc]  # no stub


class Pool(asynpool.AsynPool):
    """The processes, as the main process sees them."""

    Worker = Worker


class TaskPool(prefork.TaskPool):
    """What Celery's worker is told to use."""

    Pool = Pool
