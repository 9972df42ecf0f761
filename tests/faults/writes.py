"""Writes to the records, each of which a process can be killed in the middle of.

`WRITES` says what may become of the tasks; `killed` does the killing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from taskbridge import control, execution
from taskbridge.dispatcher import Dispatcher
from taskbridge.message import seal
from taskbridge.models import PausedQueue, WorkerRecord
from taskbridge.pulse import NEVER, Call, Pulse
from taskbridge.store import Store, Worker
from taskbridge.store.record import message_of_record
from taskbridge.worker.endings import Endings
from tests.unit.store_records import ERROR, referring_table

from .standing import (
    ALIAS,
    CHUNK,
    LEASE_S,
    PAUSED,
    TOKEN,
    id_of,
    let_time_pass,
    memory,
)

WORKER, SILENT = ("1" * 32, "2" * 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One that a process may be killed in the middle of, and what may become of it."""

    act: Callable[[Store], object]
    ends: Mapping[str, str]
    """By the key of a task, or by `pause`, `worker` or `silent`: what becomes of it if
    the write does not happen, or in part, and last if it does, where `/` is an or. What
    has `rerun` had an attempt that counts as lost, and what is `done` has not run in
    the process that asks."""
    then: Callable[[], object] = lambda: None
    """Is called when all of these tasks are there, before the write."""
    around: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    """What there is until all is seen."""
    by_hand: bool = True
    """Whether whoever saw it fail would do it again."""


def _end(how: Callable[[Endings, Call], None], key: str, token: str) -> Any:
    def act(store: Store) -> None:
        pulse = Pulse(1)
        options = replace(memory().durable_options, lease_s=LEASE_S)
        endings = Endings(store, pulse, options, sender=type(memory()))
        now = time.monotonic()
        how(endings, Call(0, 1, os.getpid(), id_of(key), token, now, NEVER))
        pulse.close()

    return act


def _dispatch(store: Store) -> None:
    Dispatcher(memory(), store).deliver_due()


def _deliver(*keys: str) -> Any:
    """Return what runs tasks together, as if they had come in one message a queue."""

    def act(store: Store) -> None:
        records = store.get([id_of(key) for key in keys])
        for each in seal([message_of_record(r) for r in records], len(records)):
            execution.run(each.body)

    return act


def _worker(worker_id: str) -> Worker:
    return Worker(
        id=worker_id, host="here", pid=1, concurrency=1, queues=("default",), version=""
    )


def _have_been_silent() -> None:
    for each in (WORKER, SILENT):
        memory().store.see(_worker(each))
    silent = WorkerRecord.objects.filter(id=SILENT)
    [seen_at] = silent.values_list("seen_at", flat=True)
    silent.update(seen_at=seen_at - timedelta(days=1))


PARKED = [f"parked {n}" for n in range(5)]
"""More than are moved in a statement."""
FIRST, *OTHERS = CHUNKED = sorted((f"chunk {n}" for n in range(3)), key=id_of)
"""In the order in which a worker starts them."""
WAITING = ["waiting 1", "waiting 2"]
SLOW = next(
    key
    for key in (f"slow {n}" for n in itertools.count())
    if id_of(key) < min(map(id_of, WAITING))
)
"""Starts before those that wait."""

WRITES: Mapping[str, Write] = {
    "cancel": Write(
        act=lambda _: control.cancel(backend=ALIAS, by="bob", kill=True),
        ends={
            "waiting": "ran cancelled",
            "pushed": "ran cancelled",
            "delayed": "delayed cancelled",
            "retried": "delayed cancelled",
            "parked": "parked cancelled",
            "running": "rerun cancelled",
            FIRST: "rerun cancelled",
            OTHERS[0]: "ran cancelled",
            "asked": "cancelled",
            "successful": "done",
            "failed": "failed",
        },
    ),
    "retry": Write(
        act=lambda _: control.retry(backend=ALIAS),
        ends={
            **{f"failed {n}": "failed ran" for n in range(4)},
            "cancelled": "cancelled ran",
            "successful": "done",
        },
    ),
    "run_now": Write(
        act=lambda _: control.run_now(backend=ALIAS),
        ends={
            **{f"delayed {n}": "delayed ran" for n in range(3)},
            **{f"retried {n}": "delayed ran" for n in range(2)},
            "parked": "parked",
        },
    ),
    "forget": Write(
        act=lambda _: control.forget(backend=ALIAS),
        ends={
            **{f"failed {n}": "failed gone" for n in range(3)},
            "cancelled": "cancelled gone",
            "successful 1": "done gone",
            "successful 2": "done gone",
            "successful 3": "done",
            "waiting": "ran",
        },
        around=lambda: referring_table(id_of("successful 3")),
    ),
    "pause": Write(
        act=lambda store: store.pause(PAUSED, by="bob"),
        ends={"pause": "none bob", "posted": "ran parked", "waiting": "ran"},
    ),
    "pause of a paused queue": Write(
        act=lambda store: store.pause(PAUSED, by="bob"),
        ends={"pause": "ann", "held": "parked"},
    ),
    "resume": Write(
        act=lambda store: store.resume(PAUSED),
        ends={
            "pause": "ann none",
            **dict.fromkeys(PARKED, "parked ran"),
            "held": "parked ran",
        },
    ),
    "end_cancelled": Write(
        act=lambda store: store.end_cancelled(
            id_of("asked"), token=TOKEN, errors=[ERROR]
        ),
        ends={"asked": "cancelled", "running": "rerun"},
        by_hand=False,
    ),
    "give_back": Write(
        act=lambda store: store.give_back(list(map(id_of, OTHERS)), token=CHUNK),
        ends={FIRST: "rerun", **dict.fromkeys(OTHERS, "ran")},
        by_hand=False,
    ),
    "timed_out": Write(
        act=_end(Endings.timed_out, OTHERS[0], CHUNK),
        # Alone, it counts as lost, as the first does as long as they are together.
        ends={FIRST: "rerun ran", OTHERS[0]: "ran rerun failed", OTHERS[1]: "ran"},
        by_hand=False,
    ),
    "timed_out, and retried": Write(
        act=_end(Endings.timed_out, "repeating", TOKEN),
        ends={"repeating": "rerun ran"},
        by_hand=False,
    ),
    "killed, since it was cancelled": Write(
        act=_end(Endings.cancelled, OTHERS[0], CHUNK),
        ends={FIRST: "rerun ran", OTHERS[0]: "cancelled", OTHERS[1]: "ran"},
        then=lambda: memory().store.cancel([id_of(OTHERS[0])], by="ann", kill=True),
        by_hand=False,
    ),
    "step of a dispatcher": Write(
        act=_dispatch,
        ends={
            "waiting": "ran",
            "running": "rerun",
            "asked": "cancelled",
            "returned": "cancelled",
            FIRST: "rerun",
            **dict.fromkeys(OTHERS, "ran"),
            "held": "parked",
        },
        then=let_time_pass,
        by_hand=False,
    ),
    "step of a dispatcher after a pause": Write(
        act=_dispatch,
        ends={"waiting": "ran", **dict.fromkeys(PARKED[:3], "ran")},
        then=PausedQueue.objects.all().delete,
        by_hand=False,
    ),
    "delivery": Write(
        act=_deliver(*WAITING, "stopping", "held 1", "held 2"),
        ends={
            **dict.fromkeys(WAITING, "ran rerun done/ran"),
            # It runs again if nothing was written of its cancel.
            "stopping": "stopped cancelled/stopped",
            "held 1": "parked",
            "held 2": "parked",
        },
        by_hand=False,
    ),
    "delivery that gives back what waits": Write(
        act=_deliver(SLOW, *WAITING),
        ends={
            SLOW: "ran rerun done",
            **dict.fromkeys(WAITING, "ran rerun done/ran"),
        },
        by_hand=False,
    ),
    "see": Write(
        act=lambda store: store.see(_worker(WORKER)), ends={"worker": "none there"}
    ),
    "see once more": Write(
        act=lambda store: store.see(_worker(SILENT)),
        ends={"silent": "there"},
        then=_have_been_silent,
    ),
    "leave": Write(
        act=lambda store: store.leave(WORKER),
        ends={"worker": "there none", "silent": "there"},
        then=_have_been_silent,
    ),
    "forget_silent": Write(
        act=lambda store: store.forget_silent(),
        ends={"worker": "there", "silent": "there none"},
        then=_have_been_silent,
    ),
}
