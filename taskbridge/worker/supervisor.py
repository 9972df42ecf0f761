"""Supervises the processes of one backend: its worker and a dispatcher."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial

from taskbridge import __version__
from taskbridge.adapter import WorkerOptions
from taskbridge.backend import Backend
from taskbridge.identity import new_id
from taskbridge.pulse import Pulse
from taskbridge.store import Worker
from taskbridge.worker_id import host

from .child import Child, Main
from .forks import close_connections, watched_forks
from .roles import (
    ADOPT_EVERY_S,
    ADOPT_FOR_S,
    DELIVERED,
    Errand,
    Role,
    adopt,
    deliver_due,
    looks_for_former_names,
    run_dispatcher,
    run_native_worker,
    run_warden,
    run_worker,
)
from .threads import warn_of_threads
from .watch import Watch

logger = logging.getLogger("taskbridge")

ONE_SIGNAL_S = 1
"""Stop signals within this time are one: coreutils' `timeout`, process managers and the
init of a container send it to a process and, milliseconds later, to its group."""


WARDEN_WRITES_FOR_S = 5
"""How long the warden may take, at least, when the worker has ended."""


class Supervisor:
    """Runs the worker of a backend, and a dispatcher, in child processes.

    SIGTERM or SIGINT lets running tasks finish; another one a second or more later, or
    `graceful_timeout_s` after the first, kills what is left. A child that dies is
    started again after a pause that grows, except in burst.

    Args:
        backend: whose worker and whose records.
        options: of the worker; None: only a dispatcher runs.
        graceful_timeout_s: seconds.
        with_native: whether the library's own worker runs as well; not in burst.
    """

    def __init__(
        self,
        backend: Backend,
        options: WorkerOptions | None,
        *,
        graceful_timeout_s: float,
        with_native: bool = False,
    ) -> None:
        self._backend = backend
        self._options = options
        self._graceful_timeout_s = graceful_timeout_s
        self._with_native = with_native
        self._stopped_at: float | None = None
        """time.monotonic() of the first stop signal."""
        self._is_impatient = False
        self._deadline = 0.0
        self._pulse: Pulse | None = None
        self._warden: Role | None = None
        """Ends after the worker, which it watches to its end."""

    def run(self) -> int:
        """Supervise until stopped, or until burst ends.

        Returns:
            The exit status: 0 if every task could finish, 1 if one was killed, or the
            worker of a burst failed.
        """
        close_connections()  # a pool of them has threads
        warn_of_threads()
        wakeups = _wakeups(self._on_stop_signal, lambda: self._is_stopping)
        with watched_forks(), wakeups as wait:
            if self._options and self._options.burst:
                return self._run_burst(self._options, wait)
            return self._run_until_stopped(wait)

    def _on_stop_signal(self) -> None:
        now = time.monotonic()
        if self._stopped_at is None:
            self._stopped_at = now
        elif now - self._stopped_at >= ONE_SIGNAL_S:
            self._is_impatient = True

    @property
    def _is_stopping(self) -> bool:
        return self._stopped_at is not None

    def _run_until_stopped(self, wait: Callable[[float], None]) -> int:
        roles = []
        watch = None
        if options := self._options:
            pulse = self._pulse_of(options)
            watch = Watch(self._backend, options, pulse)
            roles = self._worker_roles(options, pulse)
        if self._backend.keeps_records:
            main = partial(run_dispatcher, worker=self._described())
            roles.append(Role(f"dispatcher of {self._backend}", main))
        while not self._is_stopping:
            for role in roles:
                role.keep_running(self._fork)
            self._keep_warden()
            if watch:
                watch.step(roles[0].child, self._fork)
            wait(0.5)
        if watch:
            watch.close()
        children = {role.child: role for role in roles if role.child}
        self._ask_to_end(list(children))
        statuses = {
            self._wait_for_end(child, wait)
            for child, role in children.items()
            if not isinstance(role, Errand)  # which runs no tasks
        }
        self._end_warden(wait)
        # -SIGTERM: it was stopped before it could take any task.
        return int(not statuses <= {0, -signal.SIGTERM})

    def _pulse_of(self, options: WorkerOptions) -> Pulse:
        pulse = self._pulse = Pulse(options.concurrency)
        main = partial(run_warden, pulse=pulse, supervisor=os.getpid())
        self._warden = Role(f"warden of {self._backend}", main)
        return pulse

    def _keep_warden(self) -> None:
        """Keep the warden running, from when there is something to watch.

        A worker in native delivery has that only if its queues bring durable messages:
        of another alias, or of the time before its delivery was changed.
        """
        if self._warden is None or self._pulse is None:
            return
        is_needed = self._backend.keeps_records or self._warden.child
        if is_needed or self._pulse.calls():
            self._warden.keep_running(self._fork)

    def _wait_until_written(self, pulse: Pulse, wait: Callable[[float], None]) -> None:
        """Wait until records say what became of the processes that were killed.

        Another attempt may be due at once, and so is the rest of a chunk.
        """
        give_up_at = time.monotonic() + self._backend.durable_options.patience_s
        while pulse.has_unwritten and time.monotonic() < give_up_at:
            if self._is_stopping:
                return
            self._keep_warden()
            wait(0.1)

    def _end_warden(self, wait: Callable[[float], None]) -> None:
        """Let the warden write what is left to be written, now that nothing runs."""
        child = self._warden.child if self._warden else None
        if child is None or self._pulse is None:
            return
        self._pulse.end_for_good()
        self._deadline = max(self._deadline, time.monotonic() + WARDEN_WRITES_FOR_S)
        child.terminate()  # which only wakes it
        while not child.has_ended():
            if time.monotonic() > self._deadline or self._is_impatient:
                child.kill()
            wait(0.5)
        child.reap()

    def _described(self) -> Worker:
        options = self._options
        return Worker(
            id=new_id(),
            host=host(),
            pid=os.getpid(),
            concurrency=options.concurrency if options else 0,
            queues=options.queues if options else (),
            version=__version__,
        )

    def _worker_roles(self, options: WorkerOptions, pulse: Pulse) -> list[Role]:
        backend = self._backend
        main = partial(run_worker, options=options, pulse=pulse)
        roles = [Role(f"worker of {backend}", main)]
        if looks_for_former_names(backend):
            roles.append(
                Errand(
                    f"look for former names of queues of {backend}",
                    partial(adopt, queues=options.queues),
                    every_s=ADOPT_EVERY_S,
                    limit_s=ADOPT_FOR_S,
                )
            )
        if self._with_native:
            roles.append(Role(f"native worker of {backend}", run_native_worker))
        return roles

    def _run_burst(self, options: WorkerOptions, wait: Callable[[float], None]) -> int:
        """Run the worker, and again for as long as the dispatcher finds more to do."""
        is_durable = self._backend.keeps_records
        if looks_for_former_names(self._backend):
            self._run_child(partial(adopt, queues=options.queues), wait)
        if is_durable and self._run_child(deliver_due, wait) not in {0, DELIVERED}:
            return 1
        with contextlib.closing(self._pulse_of(options)) as pulse:
            status = self._run_workers(options, pulse, wait)
            self._end_warden(wait)
        return status

    def _run_workers(
        self, options: WorkerOptions, pulse: Pulse, wait: Callable[[float], None]
    ) -> int:
        is_durable = self._backend.keeps_records
        main = partial(run_worker, options=options, pulse=pulse)
        while not self._is_stopping:
            status = self._run_child(main, wait)
            if status or not is_durable:
                return int(bool(status) and not self._is_early_stop(status))
            self._wait_until_written(pulse, wait)
            status = self._run_child(deliver_due, wait)
            if status != DELIVERED:
                return int(bool(status) and not self._is_early_stop(status))
        return 0

    def _is_early_stop(self, status: int) -> bool:
        return self._is_stopping and status == -signal.SIGTERM

    def _run_child(self, main: Main, wait: Callable[[float], None]) -> int:
        child = self._fork(main)
        while not child.has_ended():
            self._keep_warden()
            if self._is_stopping:
                self._ask_to_end([child])
                return self._wait_for_end(child, wait)
            wait(0.5)
        return child.reap()

    def _fork(self, main: Main) -> Child:
        return Child.fork(self._backend, main, self._graceful_timeout_s)

    def _ask_to_end(self, children: list[Child]) -> None:
        self._deadline = time.monotonic() + self._graceful_timeout_s
        for child in children:
            child.terminate()

    def _wait_for_end(self, child: Child, wait: Callable[[float], None]) -> int:
        """Kill a child if it is late, and return its status."""
        killed = False
        while not child.has_ended():
            is_late = time.monotonic() > self._deadline
            if not killed and (is_late or self._is_impatient):
                killed = True
                logger.error(
                    "The worker of %s did not finish in time and is killed; tasks that "
                    "were running are cut off.",
                    self._backend,
                )
                child.kill()
            self._keep_warden()  # a task that is waited for has its timeout
            wait(0.5)
        return child.reap()


@contextlib.contextmanager
def _wakeups(
    on_stop: Callable[[], None], is_stopping: Callable[[], bool]
) -> Iterator[Callable[[float], None]]:
    """Catch stop signals, and yield a wait that any signal cuts short.

    Once it was told to stop, another signal must not change the status of the process,
    which is about to end.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    handlers = {
        signal.SIGTERM: lambda *_: on_stop(),
        signal.SIGINT: lambda *_: on_stop(),
        signal.SIGCHLD: lambda *_: None,  # only its byte in the pipe is wanted
    }
    previous = {number: signal.signal(number, h) for number, h in handlers.items()}
    previous_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def wait(seconds: float) -> None:
        if select.select([reader], [], [], seconds)[0]:
            os.read(reader, 4096)

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(previous_fd)
        if is_stopping():
            # Unlike a handler, that holds until the very end of the interpreter.
            previous |= dict.fromkeys((signal.SIGTERM, signal.SIGINT), signal.SIG_IGN)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
