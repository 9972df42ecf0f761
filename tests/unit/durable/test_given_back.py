"""Tasks of a chunk that have not begun go back, and no attempt is counted."""

import threading
import time
from types import SimpleNamespace

import pytest
from django.db import DatabaseError, IntegrityError, connection
from django.db.models import F

import taskbridge
from taskbridge import StoreUnavailable
from taskbridge.delivery import claim, finishes
from taskbridge.delivery.turns import Turns
from taskbridge.dispatcher import Dispatcher
from taskbridge.execution import run
from taskbridge.merging import Merger
from taskbridge.message import pack, unpack
from taskbridge.models import TaskRecord
from taskbridge.testing.harness import wait_until
from tests.unit import sample_tasks
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def chunked(queue, configured):
    return configured(CHUNK=10)


@taskbridge.task(backend=ALIAS, takes_context=True)
def note(context, number):
    sample_tasks.calls.append((number, context.attempt))


@taskbridge.task(backend=ALIAS)
def outlast_the_chunk(number):
    """Let the others go back before this ends."""
    sample_tasks.calls.append((number, "began"))
    wait_until(lambda: "RUNNING" not in states()[number + 1 :], "they go back")
    return states()


class Killed(BaseException):
    """Ends a chunk as SIGKILL would: nothing is saved from then on."""


def states():
    """Return those of all tasks, in the order in which they were enqueued."""
    records = TaskRecord.objects.order_by("pk")
    return list(records.values_list("status", flat=True))


def counted():
    """Return status, attempts, lost ones, and times given back of all tasks."""
    records = TaskRecord.objects.order_by("pk")
    return list(records.values_list("status", "attempt", "lost", "given_back"))


def expire_leases():
    TaskRecord.objects.filter(status="RUNNING").update(wake_at=F("enqueued_at"))


def killed_in(queue, monkeypatch, number, *, is_saved=True):
    """Run the only envelope, whose process dies in the task with this number."""

    def run_until(result, supervision):
        if result.args == [number]:
            raise Killed
        return attempt(result, supervision)

    attempt = claim.attempt
    with monkeypatch.context() as patch:
        patch.setattr(claim, "attempt", run_until)
        if not is_saved:
            patch.setattr(finishes.Finishes, "save", lambda self: None)
        [envelope] = queue.envelopes
        queue.envelopes.clear()
        with pytest.raises(Killed):
            run(envelope.body)


def test_neighbours_of_a_slow_task_go_back_and_run_alone(chunked, monkeypatch):
    results = outlast_the_chunk.enqueue_many([(n,) for n in range(3)])
    [envelope] = chunked.envelopes
    chunked.envelopes.clear()
    run(envelope.body)
    assert counted() == [
        ("SUCCESSFUL", 1, 0, 0),
        ("READY", 0, 0, 1),
        ("READY", 0, 0, 1),
    ]
    assert chunked.get_result(results[1].id).worker_ids == []
    Dispatcher(chunked).step()
    assert [len(unpack(each.body)) for each in chunked.envelopes] == [1, 1]
    # However quick tasks of their path are: nobody joins them again.
    monkeypatch.setattr("taskbridge.merging.duration_of", lambda path: 0.001)
    bodies = [each.body for each in chunked.envelopes] * 3
    assert [len(group) for group in Merger(50, 1).groups(bodies, 99)] == [1] * 6
    chunked.run_due()
    assert [(each[0], each[1]) for each in counted()] == [("SUCCESSFUL", 1)] * 3
    assert sample_tasks.calls == [(n, "began") for n in range(3)]


def test_quick_tasks_go_back_when_their_chunk_takes_long(chunked, monkeypatch):
    monkeypatch.setattr("taskbridge.delivery.claim.LONGEST_CHUNK_S", 0.02)
    pause.enqueue_many([(n,) for n in range(6)])
    [envelope] = chunked.envelopes
    run(envelope.body)
    assert 1 <= states().count("SUCCESSFUL") < 6
    assert states().count("READY") == 6 - states().count("SUCCESSFUL")


@taskbridge.task(backend=ALIAS)
def pause(number):
    time.sleep(0.015)


def test_crash_counts_for_the_one_that_had_begun(chunked, monkeypatch):
    note.enqueue_many([(n,) for n in range(5)])
    killed_in(chunked, monkeypatch, 2)
    expire_leases()
    Dispatcher(chunked).step()
    assert counted() == [
        ("SUCCESSFUL", 1, 0, 0),
        ("SUCCESSFUL", 1, 0, 0),
        ("READY", 1, 1, 0),
        ("READY", 0, 0, 1),
        ("READY", 0, 0, 1),
    ]
    chunked.run_due()
    assert sorted(sample_tasks.calls) == [(0, 1), (1, 1), (2, 2), (3, 1), (4, 1)]


def test_crash_before_successes_are_saved_costs_one_attempt(chunked, monkeypatch):
    note.enqueue_many([(n,) for n in range(4)])
    killed_in(chunked, monkeypatch, 2, is_saved=False)
    expire_leases()
    Dispatcher(chunked).step()
    assert counted() == [("READY", 1, 1, 0), *[("READY", 0, 0, 1)] * 3]
    # The one that kills its process runs alone, so the next time it counts.
    assert all(len(unpack(each.body)) == 1 for each in chunked.envelopes)


def test_crash_of_a_chunk_is_counted_once_however_it_is_looked_at(chunked, monkeypatch):
    monkeypatch.setattr("taskbridge.dispatcher.BATCH", 2)
    note.enqueue_many([(n,) for n in range(7)])
    killed_in(chunked, monkeypatch, 0)
    expire_leases()
    dispatcher = Dispatcher(chunked)
    while "RUNNING" in states():
        dispatcher.step()
    assert counted() == [("READY", 1, 1, 0), *[("READY", 0, 0, 1)] * 6]


def test_task_that_kills_its_process_has_bounded_attempts(chunked, monkeypatch):
    """MAX_LOST + 1 attempts are counted, whatever its neighbours are."""
    note.enqueue_many([(n,) for n in range(3)])
    killed_in(chunked, monkeypatch, 1)
    starts = 1
    dispatcher = Dispatcher(chunked)
    while "FAILED" not in states():
        expire_leases()
        dispatcher.step()
        for envelope in list(chunked.envelopes):
            chunked.envelopes.clear()
            chunked.envelopes.append(envelope)
            try:
                killed_in(chunked, monkeypatch, 1)
            except pytest.fail.Exception:
                continue
            starts += 1
    record = TaskRecord.objects.get(status="FAILED")
    assert record.arguments == "[[1],{}]"
    assert starts == record.attempt == chunked.durable_options.max_lost + 1
    assert states().count("SUCCESSFUL") == 2


def test_what_was_given_back_is_claimed_alone_however_it_arrives(chunked):
    """Whoever joins messages does not know which were given back."""
    note.enqueue_many([(n,) for n in range(4)])
    TaskRecord.objects.filter(arguments__in=["[[1],{}]", "[[2],{}]"]).update(
        given_back=1
    )
    tokens = []
    claimed = chunked.store.claim

    def watch(ids, **kwargs):
        tokens.append(len(ids))
        return claimed(ids, **kwargs)

    chunked.store.claim = watch
    try:
        [envelope] = chunked.envelopes
        run(pack([*unpack(envelope.body), *unpack(envelope.body)]))
    finally:
        del chunked.store.claim
    assert tokens == [4, 1, 1]
    assert sorted(sample_tasks.calls) == [(n, 1) for n in range(4)]
    assert states() == ["SUCCESSFUL"] * 4


def test_row_that_the_database_refuses_to_start_holds_up_no_other(chunked, monkeypatch):
    results = note.enqueue_many([(n,) for n in range(4)])
    claimed = chunked.store.claim

    def refuse(ids, **kwargs):
        if results[1].id in ids:
            raise IntegrityError("a trigger")
        return claimed(ids, **kwargs)

    monkeypatch.setattr(chunked.store, "claim", refuse)
    [envelope] = chunked.envelopes
    run(envelope.body)
    assert states() == ["SUCCESSFUL", "READY", "SUCCESSFUL", "SUCCESSFUL"]


@pytest.mark.parametrize("chunk", [1, 10])
def test_connections_are_looked_at_before_each_task(configured, queue, chunk):
    """Those that are kept: the server may have ended one meanwhile."""
    queue = configured(CHUNK=chunk)
    see_connection.enqueue_many([(n,) for n in range(3)])
    for envelope in queue.envelopes:
        run(envelope.body)
    assert [seen for _, seen in sample_tasks.calls] == [False] * 3


@taskbridge.task(backend=ALIAS)
def see_connection(number):
    sample_tasks.calls.append((number, connection.health_check_done))
    TaskRecord.objects.exists()
    connection.health_check_done = True


def test_duplicate_of_a_chunk_claims_nothing(chunked):
    note.enqueue_many([(n,) for n in range(3)])
    [envelope] = chunked.envelopes
    for _ in range(2):
        run(envelope.body)
    assert sorted(sample_tasks.calls) == [(n, 1) for n in range(3)]


def test_chunk_runs_in_order_of_priority(chunked):
    queue = chunked
    calls = [(number, priority) for number, priority in enumerate([0, 50, -50, 50])]
    for number, priority in calls:
        note.using(priority=priority).enqueue(number)
    run(pack([each for envelope in queue.envelopes for each in unpack(envelope.body)]))
    assert [number for number, _ in sample_tasks.calls] == [1, 3, 0, 2]


@pytest.mark.parametrize("works", [True, False])
def test_giving_back_without_an_answer_runs_no_task_twice(chunked, monkeypatch, works):
    """What may have gone back is not started here before the store says who has it."""
    results = slow_at_first.enqueue_many([(n,) for n in range(3)])
    give_back = chunked.store.give_back

    def unanswered(*args, **kwargs):
        if works:
            give_back(*args, **kwargs)
        raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(chunked.store, "give_back", unanswered)
    [envelope] = chunked.envelopes
    chunked.envelopes.clear()
    run(envelope.body)
    begun = [number for number, _ in sample_tasks.calls]
    assert begun == ([0] if works else [0, 1, 2])
    assert states() == ["SUCCESSFUL", *["READY" if works else "SUCCESSFUL"] * 2]
    monkeypatch.undo()
    chunked.run_due()
    assert sorted(number for number, _ in sample_tasks.calls) == [0, 1, 2]
    for result in results:
        result.refresh()
        assert (result.status, result.attempts) == ("SUCCESSFUL", 1)


@taskbridge.task(backend=ALIAS)
def slow_at_first(number):
    sample_tasks.calls.append((number, 1))
    if number == 0:
        time.sleep(0.3)


def test_store_that_is_away_is_asked_once_a_second(chunked, monkeypatch):
    slow_at_first.enqueue_many([(n,) for n in range(3)])
    tries = []

    def away(*args, **kwargs):
        tries.append(1)
        raise StoreUnavailable("read-only")

    monkeypatch.setattr(chunked.store, "give_back", away)
    monkeypatch.setattr(claim, "LONGEST_CHUNK_S", 60)
    [envelope] = chunked.envelopes
    run(envelope.body)
    assert len(tries) == 1
    assert states() == ["SUCCESSFUL"] * 3


def test_with_max_lost_0_each_task_is_claimed_by_itself(configured):
    """Otherwise one of which nobody knows that it had begun might run again."""
    queue = configured(CHUNK=10, MAX_LOST=0)
    note.enqueue_many([(n,) for n in range(3)])
    [envelope] = queue.envelopes
    run(envelope.body)
    records = TaskRecord.objects.all()
    assert records.values("token").distinct().count() == 3


def test_tasks_stay_where_they_are_if_their_rows_cannot_be_written(
    chunked, monkeypatch
):
    slow_at_first.enqueue_many([(n,) for n in range(3)])

    def refuse(*args, **kwargs):
        raise DatabaseError("a trigger")

    monkeypatch.setattr(chunked.store, "give_back", refuse)
    [envelope] = chunked.envelopes
    run(envelope.body)
    assert [number for number, _ in sample_tasks.calls] == [0, 1, 2]
    assert states() == ["SUCCESSFUL"] * 3


def test_each_turn_is_taken_by_one_thread():
    for _ in range(300):
        turns = Turns([SimpleNamespace(id=str(n)) for n in range(20)])
        begun, gone = [], []

        def give(ids, gone=gone):
            gone.extend(ids)
            return True

        other = threading.Thread(target=turns.hand_on, args=[give])
        iterator = iter(turns)
        begun.append(next(iterator).id)
        other.start()
        begun += [result.id for result in iterator]
        other.join()
        assert begun + gone == [str(n) for n in range(20)]
