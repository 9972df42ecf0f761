"""Whom the warden kills, and whom it spares; with workers, it is in tests/faults."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from taskbridge import Cancelling
from taskbridge.compat import task_backends, task_finished
from taskbridge.exceptions import StoreUnavailable, TaskCancelled, TaskTimeout
from taskbridge.pulse import Pulse
from taskbridge.store import Standing
from taskbridge.store.factory import open_store
from taskbridge.testing.harness import wait_until
from taskbridge.worker import warden
from taskbridge.worker.warden import Warden
from tests.unit.sample_tasks import add

ALIAS = "durable_default"
OTHER = "durable_background_tasks"
ID = "0123456789abcdef" * 2
TOKEN = "a token"
HELD = [Standing(ID, TOKEN, "RUNNING", "", kill=False, alias=ALIAS)]
TO_KILL = [Standing(ID, TOKEN, "RUNNING", "somebody", kill=True, alias=ALIAS)]
CANCELLED = [Standing(ID, TOKEN, "RUNNING", "somebody", kill=False, alias=ALIAS)]
AWAY = StoreUnavailable("It is away.")
NOT_HELD = {
    "gone": [],
    "of another": [Standing(ID, "another", "RUNNING", "", kill=False, alias=ALIAS)],
    "lost": [Standing(ID, TOKEN, "READY", "", kill=False, alias=ALIAS)],
}


class Answers:
    """A store that says what it is told to."""

    def __init__(self) -> None:
        self.answer: object = HELD
        self.asked: list[list[str]] = []

    def standing(self, ids, *, of_any):
        assert of_any
        self.asked.append(list(ids))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def get(self, ids):
        return []


class Pool:
    """Processes that are in the function of a task."""

    def __init__(self) -> None:
        self.pulse = Pulse(2)
        self.pids: list[int] = []

    def start(self, *, limit_s: float | None = None, record_id: str = ID) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                self.pulse.begin()
                self.pulse.note_call(record_id, TOKEN, limit_s)
                time.sleep(600)
            finally:
                os._exit(1)
        self.pids.append(pid)
        wait_until(lambda: len(self.pulse.calls()) == len(self.pids), "it is called")
        return pid

    def has_ended(self, pid: int) -> bool:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, pid, flags) is not None


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)  # one that has ended is a zombie
        os.waitpid(pid, 0)
    pool.pulse.close()


@pytest.fixture
def store() -> Answers:
    return Answers()


@pytest.fixture
def make_ward(pool, monkeypatch) -> Callable[[Callable[[str], Any]], Warden]:
    monkeypatch.setattr(warden, "ASK_EVERY_S", 0)
    monkeypatch.setattr(warden, "ASK_AFTER_S", 0)
    return lambda opener: Warden(task_backends[ALIAS], opener, pool.pulse)


@pytest.fixture
def ward(make_ward, store) -> Warden:
    return make_ward(lambda alias: store)


def test_process_that_takes_too_long_is_killed_alone(pool, ward):
    late = pool.start(limit_s=0)
    others = [pool.start(limit_s=600), pool.start()]
    ward.kill_overdue()
    assert not pool.has_ended(late)  # it was seen once
    ward.kill_overdue()
    assert pool.has_ended(late)
    assert not any(pool.has_ended(pid) for pid in others)
    assert not ward.is_idle
    ward.step()
    assert [call.pid for call in pool.pulse.calls()] == others


@pytest.mark.parametrize("answer", NOT_HELD.values(), ids=NOT_HELD)
def test_process_without_its_record_is_killed_at_the_second_look(
    pool, ward, store, answer
):
    pid = pool.start()
    store.answer = answer
    ward.step()
    assert not pool.has_ended(pid)
    ward.step()
    assert pool.has_ended(pid)
    ward.step()  # nothing is to be written
    assert store.asked == [[ID], [ID]]


@pytest.mark.parametrize("between", [HELD, AWAY, LookupError("a bug")])
def test_two_looks_that_are_not_in_a_row_kill_nobody(pool, ward, store, between):
    pid = pool.start()
    for answer in ([], between, [], between, between, []):
        store.answer = answer
        ward.step()
    assert not pool.has_ended(pid)


def test_store_that_is_away_kills_nobody(pool, ward, store):
    pid = pool.start()
    store.answer = AWAY
    for _ in range(20):
        ward.step()
    assert not pool.has_ended(pid)
    assert len(store.asked) == 20


@pytest.mark.parametrize(
    ("answer", "is_killed"), [(TO_KILL, True), (CANCELLED, False), (HELD, False)]
)
def test_cancelled_task_is_killed_if_that_was_asked_for(
    pool, ward, store, answer, is_killed
):
    pid = pool.start()
    store.answer = answer
    for _ in range(3):
        ward.step()
    assert pool.has_ended(pid) == is_killed


@pytest.mark.parametrize(
    ("token", "alias", "is_killed"),
    [
        (TOKEN, OTHER, False),
        ("another", OTHER, True),
        ("another", "unknown", False),
        ("another", "background_tasks", True),  # its delivery was durable before
    ],
)
def test_task_of_another_alias_is_killed_only_if_that_does_not_hold_its_record(
    pool, ward, store, token, alias, is_killed
):
    pid = pool.start()
    store.answer = [Standing(ID, token, "RUNNING", "", kill=False, alias=alias)]
    for _ in range(3):
        ward.step()
    assert pool.has_ended(pid) == is_killed


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("limit_s", "error"), [(0, TaskTimeout), (None, TaskCancelled)]
)
def test_killed_task_of_another_alias_is_ended_by_that(pool, make_ward, limit_s, error):
    told = []

    def on_finished(sender, task_result, **kwargs):
        told.append((sender, task_result.id))

    ward = make_ward(open_store)
    backend = task_backends[OTHER]
    result = add.using(backend=OTHER).enqueue(1)
    backend.store.claim(
        [result.id], attempt=0, worker_ids=["w"], token=TOKEN, lease_s=60
    )
    if error is TaskCancelled:
        assert result.cancel(kill=True) is Cancelling.ASKED
    pid = pool.start(limit_s=limit_s, record_id=result.id)
    task_finished.connect(on_finished)
    try:
        for _ in range(2):
            ward.kill_overdue()
        for _ in range(2):
            ward.step()
    finally:
        task_finished.disconnect(on_finished)
    assert pool.has_ended(pid)
    result.refresh()
    assert (result.status, result.attempts) == ("FAILED", 1)
    assert [each.exception_class for each in result.errors] == [error]
    assert told == [(type(backend), result.id)]


@pytest.mark.django_db(transaction=True)
def test_receiver_finds_and_leaves_connections_as_in_a_worker(pool, make_ward, caplog):
    """Nobody else closes those of the warden that broke, or that are left open."""
    found = []

    def on_finished(sender, **kwargs):
        found.append((connection.in_atomic_block, connection.errors_occurred))
        connection.errors_occurred = True
        transaction.atomic().__enter__()

    ward = make_ward(open_store)
    results = [add.using(backend=ALIAS).enqueue(n) for n in range(2)]
    store = task_backends[ALIAS].store
    for result in results:
        store.claim([result.id], attempt=0, worker_ids=["w"], token=TOKEN, lease_s=60)
        pool.start(limit_s=0, record_id=result.id)
    task_finished.connect(on_finished)
    try:
        for _ in range(2):
            ward.kill_overdue()
        ward.step()
    finally:
        task_finished.disconnect(on_finished)
    for result in results:
        result.refresh()
        assert result.status == "FAILED"
    assert found == [(False, False)] * 2
    assert caplog.text.count("left a transaction open") == 2


def test_store_is_asked_only_about_what_runs_for_a_while(
    pool, ward, store, monkeypatch
):
    monkeypatch.setattr(warden, "ASK_AFTER_S", 600)
    pool.start()
    ward.step()
    assert store.asked == []


def test_warden_is_not_idle_before_it_has_noted_what_is_to_be_written(
    pool, ward, monkeypatch
):
    """The worker may end with this process, and then an idle warden ends, too."""
    pid = pool.start(limit_s=0)
    found = []
    asks = threading.Thread(target=lambda: found.append(ward.is_idle))

    def ask(*_):
        wait_until(lambda: pool.has_ended(pid), "it is killed")
        asks.start()
        asks.join(0.5)  # it may have to wait until the process is noted

    monkeypatch.setattr(warden.events, "killed", ask)
    for _ in range(2):
        ward.kill_overdue()
    asks.join(60)
    assert found == [False]


def test_others_can_see_that_something_is_to_be_written(pool, ward, store, monkeypatch):
    """A burst waits for that before it looks whether something is due."""
    seen = []
    monkeypatch.setattr(
        warden.events, "killed", lambda *_: seen.append(pool.pulse.has_unwritten)
    )
    pool.start(limit_s=0)
    ward.step()
    seen.append(pool.pulse.has_unwritten)
    for _ in range(2):
        ward.kill_overdue()
    for answer in (AWAY, AWAY, HELD):
        store.answer = answer
        ward.step()
        seen.append(pool.pulse.has_unwritten)
    assert seen == [False, True, True, True, False]


def test_what_cannot_be_written_is_tried_again(pool, ward, store, monkeypatch):
    tried = []

    def get(ids):
        tried.append(ids)
        if len(tried) < 3:
            raise AWAY
        return []

    monkeypatch.setattr(store, "get", get, raising=False)
    pool.start(limit_s=0)
    for _ in range(2):
        ward.kill_overdue()
    for _ in range(5):
        ward.step()
    assert tried == [[ID]] * 3
