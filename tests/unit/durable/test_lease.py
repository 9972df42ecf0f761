"""Leases: extended while tasks run, and confirmed before a function is called."""

import contextlib
import threading
import time

import pytest
from django.db import connections
from django.db.models import F

import taskbridge
from taskbridge.compat import TaskResultStatus, task_backends
from taskbridge.delivery.lease import LeaseKeeper
from taskbridge.dispatcher import Dispatcher
from taskbridge.exceptions import StoreUnavailable
from taskbridge.execution import run
from taskbridge.models import TaskRecord
from taskbridge.patience import insist
from taskbridge.testing.harness import wait_until
from tests.unit import sample_tasks

pytestmark = pytest.mark.django_db(transaction=True)

ALIAS = "durable_default"
THREAD = "taskbridge-lease"

add = sample_tasks.add.using(backend=ALIAS)


@pytest.fixture
def chunked(settings, queue, patient):
    """The backend with chunks of ten, and a lease of a second."""
    memory = settings.TASKS[ALIAS]
    options = {**memory["OPTIONS"], "CHUNK": 10, "LEASE": 1}
    settings.TASKS = {**settings.TASKS, ALIAS: {**memory, "OPTIONS": options}}
    backend = task_backends[ALIAS]
    backend.purge(backend.queues)
    return backend


def claim(queue, result, *, lease_s):
    """Claim a task as another worker would, and let nobody look after it."""
    queue.store.claim(
        [result.id], attempt=0, worker_ids=["gone:1"], token="gone", lease_s=lease_s
    )


@contextlib.contextmanager
def hold(keeper, result, *, age_s=0.0):
    with keeper.hold("gone") as held:
        held.begin([result.id], time.monotonic() - age_s)
        yield held


def is_alive():
    return any(thread.name == THREAD for thread in threading.enumerate())


def test_lease_is_extended_while_the_block_lasts(queue):
    result = add.enqueue(1)
    claim(queue, result, lease_s=0.6)
    dispatcher = Dispatcher(queue)
    with hold(LeaseKeeper(queue.store, 0.6), result):
        until = time.monotonic() + 2
        while time.monotonic() < until:
            dispatcher.step()
            time.sleep(0.05)
        assert TaskRecord.objects.get().status == "RUNNING"
    wait_until(
        lambda: dispatcher.step() == 0 or TaskRecord.objects.get().lost, "it is lost"
    )


def test_lease_of_a_task_that_has_ended_is_not_extended(queue):
    result = add.enqueue(1)
    claim(queue, result, lease_s=0.6)
    with hold(LeaseKeeper(queue.store, 0.6), result) as held:
        held.ids.discard(result.id)
        wait_until(
            lambda: (
                Dispatcher(queue).step() is not None and TaskRecord.objects.get().lost
            ),
            "it is lost",
        )


def test_thread_ends_when_nothing_has_run_for_a_lease(queue):
    keeper = LeaseKeeper(queue.store, 0.3)
    wait_until(lambda: not is_alive(), "those of other tests have ended")
    for token in ("one", "two"):
        with keeper.hold(token):
            assert is_alive()
        wait_until(lambda: not is_alive(), "the thread has ended")


def test_lease_counts_from_before_the_claim(queue):
    """Its answer may have been long on the way."""
    result = add.enqueue(1)
    claim(queue, result, lease_s=30)
    before = TaskRecord.objects.get().wake_at
    keeper = LeaseKeeper(queue.store, 30)
    keeper._lease_s = 0.5
    with hold(keeper, result, age_s=0.2):
        wait_until(lambda: TaskRecord.objects.get().wake_at != before, "it is extended")


def test_insist_gives_up_at_its_deadline():
    tries = []

    def fail(before):
        tries.append(before)
        raise LookupError

    with pytest.raises(LookupError):
        insist(fail, LookupError, for_s=0.2)
    assert tries == [0, 1, 2]
    with pytest.raises(LookupError):
        insist(fail, OSError, for_s=60)


# A process that cannot have the thread.


def test_task_is_not_claimed_without_a_thread_and_the_next_try_has_one(
    queue, monkeypatch, caplog
):
    result = add.enqueue(1)
    [envelope] = queue.envelopes
    wait_until(lambda: not is_alive(), "those of other tests have ended")

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        queue.run_due()
    assert "Tasks were not started" in caplog.text
    assert (TaskRecord.objects.get().status, sample_tasks.calls) == ("READY", [])
    queue.push([envelope])  # as the dispatcher does, after REDELIVER
    queue.run_due()
    assert is_alive()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.SUCCESSFUL, 1)


# Leases that were lost, or may have been, before the function is called.


def test_claim_that_took_long_is_extended_before_the_function_is_called(
    chunked, monkeypatch
):
    extended = []
    store = chunked.store
    slow, extend = store.claim, store.extend

    def wait_for_a_lock(*args, **kwargs):
        claimed = slow(*args, **kwargs)
        time.sleep(1.2)  # longer than the lease
        return claimed

    def note(ids, **kwargs):
        extended.append((set(ids), list(sample_tasks.calls)))
        return extend(ids, **kwargs)

    monkeypatch.setattr(store, "claim", wait_for_a_lock)
    monkeypatch.setattr(store, "extend", note)
    result = add.enqueue(1)
    chunked.run_due()
    assert ({result.id}, []) in extended
    assert sample_tasks.calls == [(1, 0)]


@taskbridge.task(backend=ALIAS)
def lose_the_others(number):
    """Let the leases of the chunk end, as a process that was stopped would."""
    sample_tasks.calls.append((number,))
    if number == 1:
        TaskRecord.objects.filter(status="RUNNING").update(wake_at=F("enqueued_at"))
        backend = lose_the_others.get_backend()
        Dispatcher(backend).step()
        time.sleep(backend.durable_options.lease_s / 2)


@taskbridge.task(backend=ALIAS)
def take_long(seconds):
    """Take longer than a lease."""
    sample_tasks.calls.append((seconds,))
    time.sleep(seconds)


def test_lease_of_a_claim_that_took_long_is_extended_while_its_task_runs(
    chunked, monkeypatch
):
    """The thread may not end while the claim waits, with no lease to look after."""
    claim = chunked.store.claim

    def wait_for_a_lock(*args, **kwargs):
        time.sleep(1.6)
        return claim(*args, **kwargs)

    monkeypatch.setattr(chunked.store, "claim", wait_for_a_lock)
    result = take_long.enqueue(2.5)

    def run_due():
        try:
            chunked.run_due()
        finally:
            connections.close_all()

    running = threading.Thread(target=run_due)
    running.start()
    dispatcher = Dispatcher(chunked)
    while running.is_alive():
        dispatcher.step()
        time.sleep(0.05)
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.SUCCESSFUL, 1)
    assert len(sample_tasks.calls) == 1


def test_rest_of_a_chunk_whose_leases_were_lost_is_not_started(chunked, caplog):
    results = lose_the_others.enqueue_many([(n,) for n in range(4)])
    [envelope] = chunked.envelopes
    run(envelope.body)
    assert sample_tasks.calls == [(0,), (1,)]
    assert caplog.text.count("is not started here: its lease was lost") == 2
    found = [chunked.get_result(result.id) for result in results[2:]]
    assert [(result.status, result.attempts) for result in found] == [("READY", 0)] * 2


def test_task_is_not_started_while_nobody_can_tell_of_its_lease(
    chunked, monkeypatch, caplog
):
    store = chunked.store
    claim = store.claim

    def slow(*args, **kwargs):
        claimed = claim(*args, **kwargs)
        time.sleep(0.7)
        return claimed

    def away(*args, **kwargs):
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(store, "claim", slow)
    monkeypatch.setattr(store, "extend", away)
    monkeypatch.setattr("taskbridge.patience.LONGEST_PAUSE_S", 0)
    monkeypatch.setattr(
        "taskbridge.options.DurableOptions.patience_s", property(lambda self: 0.2)
    )
    add.enqueue(1)
    chunked.run_due()
    assert sample_tasks.calls == []
    assert "the database is away" in caplog.text
