"""A sentinel for Django-Q2 1.11 that does not hang after a kill -9.

Its processes share two queues, and an idle one waits for work with the lock of a queue
in its hand. Killed there (by the OOM killer, or by hand) it leaves the lock locked, and
its successor and all others wait for ever.
"""

import logging
import os
from contextlib import nullcontext
from ctypes import c_byte, c_float
from multiprocessing import RawValue
from multiprocessing.process import BaseProcess

from django_q import cluster
from django_q.signals import post_execute_in_worker, pre_execute
from django_q.worker import worker

logger = logging.getLogger("taskbridge")


def install() -> None:
    """Let the clusters of this process have our sentinel."""
    cluster.Sentinel = MortalSentinel
    pre_execute.connect(_begin)
    post_execute_in_worker.connect(_end)


class MortalSentinel(cluster.Sentinel):
    """Ends when a process was killed that may have held a lock of its queues.

    The supervisor then starts the worker anew, with new queues. A process that was
    killed in the middle of a task held none: it alone is replaced.
    """

    def spawn_worker(self) -> None:
        """Start a pool process; see Django-Q2."""
        global _timer  # noqa: PLW0603 - what a forked process knows of itself
        _timer = _Timer()
        self.spawn_process(
            worker, self.task_queue, self.result_queue, _timer, self.timeout
        )

    def reincarnate(self, process: BaseProcess) -> None:
        """Replace a dead process; see Django-Q2."""
        timer = getattr(process, "timer", None)
        was_killed = process.exitcode is not None and process.exitcode < 0
        if was_killed and not (timer and timer.busy.value):
            logger.error(
                "Process %s of Django-Q2's cluster was killed by signal %s, maybe with "
                "a lock that the others wait for: the worker starts anew.",
                process.pid,
                -(process.exitcode or 0),
            )
            os._exit(1)  # nothing to clean up: the supervisor ends the others
        super().reincarnate(process)


class _Timer:
    """What Django-Q2 asks of a shared Value, without a lock that could stay locked.

    It counts the seconds to TIMEOUT, which is not set here.
    """

    def __init__(self) -> None:
        self.busy = RawValue(c_byte, 0)
        self._value = RawValue(c_float, -1)

    @property
    def value(self) -> float:
        return self._value.value

    @value.setter
    def value(self, value: float) -> None:
        self._value.value = value

    def get_lock(self) -> nullcontext[None]:
        return nullcontext()


_timer: _Timer | None = None


def _begin(**kwargs: object) -> None:
    if _timer:
        _timer.busy.value = 1


def _end(**kwargs: object) -> None:
    if _timer:
        _timer.busy.value = 0
