"""kill -9 in the middle of what people, and the parts of a worker, write to records.

A process is killed before each statement of a write, before each commit, and after the
last one. Then its caller does it again, or nobody does; workers and a dispatcher go on.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest
from django.db import transaction
from django.utils import timezone

from taskbridge import control, execution
from taskbridge.dispatcher import Dispatcher
from taskbridge.exceptions import TaskCancelled
from taskbridge.models import PausedQueue, TaskRecord, WorkerRecord
from taskbridge.store import Record, database
from taskbridge.store.parked import PARKED_FROM, parked_at
from taskbridge.store.record import result_of_record
from taskbridge.store.session import close_sessions
from taskbridge.testing.harness import wait_until
from tests.conftest import database_url

from .scene import Scene
from .standing import KINDS, LATER, PAUSED, id_of, kind_of, let_time_pass, memory, ran
from .tasks import tell_time
from .writes import SILENT, WORKER, WRITES, Write

Kill = Callable[[str, int], bool]

MOST_STATEMENTS = 200
"""Far more than any of them executes."""
CASES = [
    pytest.param(name, is_repeated, id=f"{name}{', repeated' if is_repeated else ''}")
    for name, write in WRITES.items()
    for is_repeated in [False, True][: 1 + write.by_hand]
]


@pytest.fixture(scope="module")
def kill(django_db_setup: None) -> Iterator[Kill]:
    """Have a process do a write, and die after so many steps; False: it had done it."""
    program = "import django; django.setup(); from tests.faults import killed as k; "
    process = subprocess.Popen(
        [sys.executable, "-c", f"{program}k.serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        text=True,
    )
    assert process.stdin
    assert process.stdout
    to, answers = process.stdin, process.stdout

    def kill(name: str, after: int) -> bool:
        print(json.dumps([name, after]), file=to, flush=True)
        status = int(answers.readline())
        assert status in {0, -signal.SIGKILL}, "see what the process has printed"
        return status != 0

    try:
        yield kill
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def emptied(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Nothing is there before a test and after it, and whenever this is called."""

    def empty() -> None:
        for each in (TaskRecord, PausedQueue, WorkerRecord):
            each.objects.all().delete()
        memory().purge(memory().queues)
        ran.clear()

    monkeypatch.setattr(database, "SETTLE_S", 0)  # nobody else writes
    empty()
    yield empty
    empty()
    close_sessions()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("name", "is_repeated"), CASES)
def test_write_is_whole_or_done_again_after_a_kill(
    kill: Kill, emptied: Callable[[], None], name: str, *, is_repeated: bool
) -> None:
    write, store = WRITES[name], memory().store
    tasks = [key for key in write.ends if kind_of(key) in KINDS]
    for after in range(MOST_STATEMENTS):
        with transaction.atomic():
            for key in tasks:
                KINDS[kind_of(key)](store, key)
            write.then()
        with write.around():
            is_killed = kill(name, after)
            _wait_until_it_is_rolled_back()
            if is_repeated:
                write.act(store)
            _see_what_became_of_all(write, is_sure=is_repeated or not is_killed)
        emptied()
        if not is_killed:
            assert after > 0, "it has written nothing"
            return
    raise AssertionError(f"{MOST_STATEMENTS} statements were not enough.")


@pytest.mark.parametrize("queue", ["background_tasks"])
def test_what_a_killed_process_has_not_done_is_done(scene: Scene) -> None:
    """A cancel by whoever asked for it, a resume by the dispatcher of a worker."""
    control.pause("default", backend=scene.alias)
    scene.enqueue_many(200, 0)
    cancelled = scene.enqueue_calls(tell_time, [{}] * 150)
    scene.start_worker()
    rows = TaskRecord.objects.filter(backend=scene.alias)
    at = parked_at("default")
    parked = rows.filter(wake_at=at)
    wait_until(lambda: parked.count() == 350, "all are parked", timeout_s=60)

    assert (
        scene.run_script(f"cancel_and_die({scene.alias!r})").wait() == -signal.SIGKILL
    )
    assert rows.filter(status="FAILED").count() == 100
    done = control.cancel(*(result.id for result in cancelled), backend=scene.alias)
    assert done == (50, 0, 100, 0)

    assert (
        scene.run_script(f"resume_and_die({scene.alias!r})").wait() == -signal.SIGKILL
    )
    assert control.paused(backend=scene.alias) == {}
    scene.wait_finished()
    for result in cancelled:
        del scene.keys[result.id]
    scene.judge()
    assert rows.filter(status="FAILED", attempt=0).count() == 150


def _see_it_killed(scene: Scene, function: str) -> None:
    process = scene.run_script(f"{function}({scene.alias!r})")
    assert process.wait(timeout_s=60) == -signal.SIGKILL, process.log_tail()


def _wait_until_it_is_rolled_back() -> None:
    """Servers take a moment to see that a client is gone, and keep its locks."""
    with transaction.atomic():
        for each in (TaskRecord, PausedQueue, WorkerRecord):
            list(each.objects.select_for_update())


def _see_what_became_of_all(write: Write, *, is_sure: bool) -> None:
    _go_on()
    found = _ends(write.ends)
    allowed = {key: ends.split() for key, ends in write.ends.items()}
    if is_sure:
        allowed = {key: ends[-1:] for key, ends in allowed.items()}
    allowed = {key: "/".join(ends).split("/") for key, ends in allowed.items()}
    assert {k: found[k] for k, ends in allowed.items() if found[k] not in ends} == {}
    held = [key for key, end in found.items() if end == "parked"]
    memory().store.resume(PAUSED)
    _go_on()
    resumed = _ends(held)
    assert {key: resumed[key] for key in held} == dict.fromkeys(held, "ran")


def _go_on() -> None:
    """Be a worker and a dispatcher until nothing runs, and nothing is due."""
    wait_until(_is_all_done, "nothing is due, and nothing runs", timeout_s=60)


def _is_all_done() -> bool:
    let_time_pass()
    Dispatcher(memory()).deliver_due()
    while memory().envelopes:
        execution.run(memory().envelopes.pop(0).body)
    soon = timezone.now() + LATER / 2
    return not TaskRecord.objects.filter(wake_at__lt=soon).exists()


def _ends(keys: Iterable[str]) -> dict[str, str]:
    """Return what became of everything, in the words of `Write.ends`."""
    store = memory().store
    tasks = {id_of(key): key for key in keys if kind_of(key) in KINDS}
    times, paused = Counter(ran), store.paused()
    there = {seen.worker.id for seen in store.workers()}
    ends = dict.fromkeys(tasks.values(), "gone")
    for record in store.get(list(tasks)):
        key = tasks[record.id]
        ends[key] = _end_of(record, times[key], is_paused=PAUSED in paused)
    return ends | {
        "pause": paused[PAUSED].by if PAUSED in paused else "none",
        "worker": "there" if WORKER in there else "none",
        "silent": "there" if SILENT in there else "none",
    }


def _end_of(record: Record, times: int, *, is_paused: bool) -> str:
    result = result_of_record(record)  # which reads every column
    if record.status == "FAILED":
        if result.errors[-1].exception_class is TaskCancelled:
            return "stopped" if times else "cancelled"
        return f"failed, ran {times} times" if times else "failed"
    if record.status == "SUCCESSFUL":
        once = "rerun" if record.lost else "ran"
        return ("done", once, f"ran {times} times")[min(times, 2)]
    if times == 0 and record.wake_at and record.wake_at < PARKED_FROM:
        return "delayed"
    return "parked" if is_paused and times == 0 else f"left {record.status}"
