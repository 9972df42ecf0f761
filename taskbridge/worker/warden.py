"""The warden: kills a process whose task must not go on, and that alone.

It is a process of its own below the supervisor, since a pool process may be past
hearing: it holds the GIL, blocks every signal, or was stopped. What each of them is in
is in the shared memory of `Pulse`.

Two threads share the work, as in a dispatcher, which never forks either. One kills what
takes too long, and needs no store for that. The other asks the store who has hold of
what runs, and writes what became of those that were killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from taskbridge import events
from taskbridge.adapter import pass_over
from taskbridge.backend import Backend
from taskbridge.compat import task_backends
from taskbridge.exceptions import StoreUnavailable
from taskbridge.pulse import Call, Pulse
from taskbridge.store import Standing, Store

from .endings import Endings

logger = logging.getLogger("taskbridge")

LOOK_EVERY_S = 0.25
ASK_EVERY_S = 1.0
ASK_AFTER_S = 1.0
"""How long a task has run before the store is asked about it."""
DIES_WITHIN_S = 5
"""How long to wait for the end of a process that was killed; it runs no code of ours
meanwhile, whatever the kernel waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """A call whose process was killed, and what is to be written of it."""

    call: Call
    write: Callable[[Endings, Call], None]
    give_up_at: float
    """time.monotonic() when the lease may end the attempt instead."""


class Warden:
    """Watches the processes of one worker; `step` is to be called all the time.

    They may run tasks of other aliases, too: queues of one name in one broker are one.

    Args:
        backend: whose worker.
        open_store: returns the store of the records of an alias.
        pulse: tells what runs.
    """

    def __init__(
        self, backend: Backend, open_store: Callable[[str], Store], pulse: Pulse
    ) -> None:
        self._open_store = open_store
        self._store = open_store(backend.alias)
        self._pulse = pulse
        self._patience_s = backend.durable_options.patience_s
        self._endings: dict[str, Endings] = {}
        """By alias."""
        self._killed: deque[Killed] = deque()
        self._seen: set[Call] = set()
        """What ran too long at the last look."""
        self._strangers: set[Call] = set()
        """What the store did not know as running at the last answer."""
        self._asked_at = 0.0
        self._looking = threading.Lock()
        """Held to look at places: the locks of a process do not exclude its threads."""
        self._killing = threading.Lock()
        """Held from before a process is killed until it is noted what is to be written
        of it: meanwhile it seems that nothing runs, and nothing is left."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, and nothing is left to be written."""
        with self._killing, self._looking:
            return not self._pulse.running and not self._killed

    def kill_overdue(self) -> None:
        """Kill what has not ended some time after its timeout.

        It was seen before, in the same call: what is read of one that has just begun
        may be what its place held before, on processors that reorder writes.
        """
        now = time.monotonic()
        overdue = {call for call in self._pulse.calls() if call.kill_at <= now}
        for call in overdue & self._seen:
            self._kill(call, "it took too long", Endings.timed_out)
        self._seen = overdue

    def step(self) -> None:
        """Write what became of those that were killed, and ask about the others."""
        for _ in range(len(self._killed)):
            self._end(self._killed.popleft())
        with self._killing:
            self._pulse.has_unwritten = bool(self._killed)
        now = time.monotonic()
        if now - self._asked_at >= ASK_EVERY_S:
            self._asked_at = now
            try:
                self._ask(
                    [c for c in self._pulse.calls() if now - c.began > ASK_AFTER_S]
                )
            except Exception:
                logger.exception("It cannot be seen who has hold of what runs.")
                self._strangers = set()

    def _ask(self, calls: list[Call]) -> None:
        """Kill what runs although its record says that it does not, or must not."""
        current = [call for call in calls if self._is_current(call)]
        if not current:
            self._strangers = set()
            return
        try:
            found = self._standing(current)
        except StoreUnavailable as exc:
            # No answer is no reason to kill, nor half of one.
            logger.info("It cannot be asked who has hold of what runs: %s", exc)
            self._strangers = set()
            return
        standings = {each.id: each for each in found}
        strangers = set()
        for call in current:
            standing = standings.get(call.record_id)
            if standing is None:
                strangers.add(call)
            elif _backend_of(standing.alias) is None:
                continue  # nobody here can say what it means
            elif not _is_held(call, standing):
                strangers.add(call)
            elif standing.kill:
                self._kill(call, "it was cancelled", Endings.cancelled)
        for call in strangers & self._strangers:
            # Nothing is written: whoever has hold of the record by now does that.
            self._is_killed(call, "its record is not held by it any more")
        self._strangers = strangers

    def _kill(
        self, call: Call, why: str, write: Callable[[Endings, Call], None]
    ) -> None:
        """Kill the process of a call, and note what is to be written of it."""
        with self._killing:
            # Before: whoever sees that the process has ended sees this as well.
            self._pulse.has_unwritten = True
            if self._is_killed(call, why):
                give_up_at = time.monotonic() + self._patience_s
                killed = Killed(call=call, write=write, give_up_at=give_up_at)
                self._killed.append(killed)

    def _is_killed(self, call: Call, why: str) -> bool:
        """Kill the process of a call; False: it has ended, or is in another call."""
        if not self._is_current(call):
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(call.pid, signal.SIGKILL)
        events.killed(call.record_id, call.pid, why)
        deadline = time.monotonic() + DIES_WITHIN_S
        while self._is_current(call) and time.monotonic() < deadline:
            time.sleep(0.01)
        return True

    def _is_current(self, call: Call) -> bool:
        with self._looking:
            return self._pulse.is_current(call)

    def _standing(self, calls: Collection[Call]) -> list[Standing]:
        """Return how their records stand, whichever alias they are of."""
        return self._store.standing([call.record_id for call in calls], of_any=True)

    def _end(self, killed: Killed) -> None:
        """Write what became of it; if the store is away, it is tried again."""
        try:
            for standing in self._standing([killed.call]):
                if endings := self._endings_of(standing.alias):
                    killed.write(endings, killed.call)
        except StoreUnavailable as exc:
            if time.monotonic() < killed.give_up_at:
                self._killed.append(killed)
            else:
                events.not_ended([killed.call.record_id], exc)
        except Exception as exc:  # noqa: BLE001 - it stops no other; its lease ends it
            events.not_ended([killed.call.record_id], exc)

    def _endings_of(self, alias: str) -> Endings | None:
        backend = _backend_of(alias)
        if alias not in self._endings and backend is not None:
            self._endings[alias] = Endings(
                *(self._open_store(alias), self._pulse, backend.durable_options),
                sender=type(backend),
            )
        return self._endings.get(alias)


def _backend_of(alias: str) -> Backend | None:
    """Return the backend of an alias; None: whose records they are is not known here.

    It may deliver natively by now: its messages with records run all the same.
    """
    backend = task_backends[alias] if alias in task_backends.settings else None
    return backend if isinstance(backend, Backend) else None


def _is_held(call: Call, standing: Standing) -> bool:
    return standing.status == "RUNNING" and standing.token == call.token


def run(
    backend: Backend,
    open_store: Callable[[str], Store],
    pulse: Pulse,
    supervisor: int,
) -> int:
    """Run the warden of a worker until that has ended, whatever signals come.

    Only SIGKILL ends it before, or the loss of its supervisor once nothing runs.
    """
    warden = Warden(backend, open_store, pulse)
    wait = _until_woken()
    threading.Thread(
        target=_keep_calling,
        args=(warden.kill_overdue,),
        name="taskbridge-warden",
        daemon=True,
    ).start()
    while True:
        is_over = pulse.is_over or os.getppid() != supervisor
        warden.step()
        if is_over and warden.is_idle:
            return 0
        wait(LOOK_EVERY_S)


def _keep_calling(look: Callable[[], None]) -> None:
    while True:
        try:
            look()
        except Exception:
            logger.exception("It cannot be seen what takes too long.")
        time.sleep(LOOK_EVERY_S)


def _until_woken() -> Callable[[float], None]:
    """Return a wait that SIGTERM cuts short; it does nothing else."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, pass_over)

    def wait(seconds: float) -> None:
        if select.select([reader], [], [], seconds)[0]:
            os.read(reader, 4096)

    return wait
