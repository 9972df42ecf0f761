"""A sentinel for Django-Q2 1.11 that does not hang after a kill -9.

Its processes share two queues, and an idle one holds the lock of a queue while it waits
for work. Killed then (by the OOM killer, or by hand), it leaves the lock locked, and
its successor and all others wait for ever.
"""

from __future__ import annotations

import logging
import os
import signal
from contextlib import nullcontext
from ctypes import c_byte, c_float
from multiprocessing import RawValue, active_children, parent_process, util
from typing import Any

from django_q import cluster
from django_q.queues import Queue
from django_q.signals import (
    post_execute,
    post_execute_in_worker,
    post_spawn,
    pre_execute,
)
from django_q.worker import worker

from taskbridge.execution import run
from taskbridge.pulse import begin_task, end_task
from taskbridge.recycling import is_worn

from .joining import NATIVE_TASK

logger = logging.getLogger("taskbridge")

STOP = "STOP"
"""What Django-Q2 puts into a queue to end a process."""
IDLE, RECYCLED = -1, -2
"""What Django-Q2 writes into the timer of a process."""
REPLACED_WITHIN_S = 0.1
LAST_OF_ALL = -1000
"""When a process has handed over its results: multiprocessing does that at -5."""


def install() -> None:
    """Make the clusters of this process use our sentinel."""
    cluster.Sentinel = MortalSentinel
    post_spawn.connect(_leave_children_alone)
    pre_execute.connect(_begin)
    post_execute_in_worker.connect(_end)
    pre_execute.connect(begin_task)
    post_execute_in_worker.connect(end_task)


class MortalSentinel(cluster.Sentinel):
    """Ends when a process was killed that may have held a lock of its queues.

    The supervisor then starts the worker anew, with new queues. A process that was
    killed in the middle of a task held none: it alone is replaced.
    """

    def spawn_worker(self) -> None:
        """Start a pool process; see Django-Q2."""
        global _timer  # noqa: PLW0603 - what a forked process knows about itself
        _timer = _Timer()
        tasks = _Tasks(self.task_queue, _timer, self._stopping)
        self.spawn_process(
            worker, tasks, _Results(self.result_queue), _timer, self.timeout
        )

    def stop(self) -> None:
        """End all processes, once what was taken has run; see Django-Q2.

        It counts on every process to take what is left, so those that end by
        themselves are replaced first.
        """
        self._stopping.value = 1
        while ending := [p for p in self.pool if p.timer.value == RECYCLED]:
            for process in ending:
                process.join(REPLACED_WITHIN_S)
                if not process.is_alive():
                    self.reincarnate(process)
        super().stop()

    def start(self) -> None:
        """Start all processes and guard them; see Django-Q2."""
        self._stopping = RawValue(c_byte, 0)
        # Django-Q2 looks only twice a second, and not at all once it is told to stop.
        signal.signal(signal.SIGCHLD, self._on_end_of_child)
        super().start()

    def _on_end_of_child(self, *_: object) -> None:
        if os.getpid() != self.pid:
            return  # inherited
        for process in (*self.pool, self.monitor, self.pusher):
            timer = getattr(process, "timer", None)
            exit_code = process.exitcode if process else None
            if exit_code and exit_code < 0 and not (timer and timer.busy.value):
                logger.error(
                    "Process %s of Django-Q2's cluster was killed by signal %s, maybe "
                    "holding a lock that the others wait for: the worker starts anew.",
                    process.pid,
                    -exit_code,
                )
                os._exit(1)  # nothing to clean up: the supervisor ends the others


class _Tasks:
    """Hands tasks to a process, which need not look up our function each time."""

    def __init__(self, queue: Queue, timer: _Timer, stopping: Any) -> None:
        self._queue = queue
        self._timer = timer
        self._stopping = stopping

    def get(self) -> Any:
        task = STOP if self._is_recycled() else self._queue.get()
        if task == STOP:
            # Otherwise multiprocessing would wait for what a task has left running.
            for child in active_children():
                child.kill()
            if parent_process():
                util.Finalize(None, _end_at_once, exitpriority=LAST_OF_ALL)
        if isinstance(task, dict) and task["func"] == NATIVE_TASK:
            task["func"] = run
        return task

    def _is_recycled(self) -> bool:
        """Whether this process ends here, and the sentinel knows that it does.

        Either it sees that the sentinel stops, or the sentinel sees that it ends.
        """
        if not is_worn():
            return False
        self._timer.value = RECYCLED
        if self._stopping.value:
            self._timer.value = IDLE
            return False
        return True


def _end_at_once() -> None:
    """End this process, though a task may have left threads: Python would wait."""
    util._flush_std_streams()  # type: ignore[attr-defined]  # noqa: SLF001 - as it does
    os._exit(0)


class _Results:
    """Hands results to the monitor, except those that it would only drop.

    The monitor saves what is to be kept, acknowledges what the broker has numbered
    (Redis does not) and sends Django-Q2's signal. Waking it costs as much as a small
    task.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def put(self, task: dict[str, Any]) -> None:
        is_kept = task.get("save", True) or task.get("cached") or not task["success"]
        if is_kept or task["ack_id"] or post_execute.has_listeners("django_q"):
            self._queue.put(task)


class _Timer:
    """What Django-Q2 needs of a shared Value, without a lock that could stay locked.

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


def _leave_children_alone(**kwargs: object) -> None:
    """Drop the inherited handler: the children of a pool process are its task's."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _begin(**kwargs: object) -> None:
    if _timer:
        _timer.busy.value = 1


def _end(**kwargs: object) -> None:
    if _timer:
        _timer.busy.value = 0
