"""What a task costs in statements, alone and in a chunk."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from taskbridge.delivery import finishes
from taskbridge.models import TaskRecord
from tests.unit import durable_tasks, sample_tasks
from tests.unit.durable.statements import Statements, verbs_of
from tests.unit.durable_tasks import ALIAS, run_envelopes

pytestmark = pytest.mark.django_db(transaction=True)
add = sample_tasks.add.using(backend=ALIAS)


def test_task_that_succeeds_at_once_costs_one_insert_and_two_updates(queue):
    counted = Statements()
    with connection.execute_wrapper(counted):
        add.enqueue(1)
        run_envelopes(queue)
    assert counted.verbs == ["INSERT", "UPDATE", "UPDATE"]


def test_duplicate_costs_one_update(queue, monkeypatch):
    """And a look for its record once a minute, and at pauses once a second."""
    monkeypatch.setattr("taskbridge.delivery.paused.LOOK_EVERY_S", 60)
    add.enqueue(1)
    queue.push(queue.envelopes * 2)
    counted = Statements()
    with connection.execute_wrapper(counted):
        run_envelopes(queue)
    assert counted.verbs == ["UPDATE"] * 3 + ["SELECT", "SELECT", "UPDATE"]
    assert sample_tasks.calls == [(1, 0)]


@pytest.mark.parametrize("count", [1, 2, 1000, 2500])
def test_enqueue_many_is_one_insert_and_one_push_per_thousand(queue, count):
    pushed = []
    push = queue.push
    queue.push = lambda envelopes: pushed.append(len(envelopes)) or push(envelopes)
    try:
        with CaptureQueriesContext(connection) as captured:
            results = add.enqueue_many([(n,) for n in range(count)])
    finally:
        del queue.push
    batches = -(-count // 1000)
    assert verbs_of(captured).count("INSERT") == batches
    assert pushed == [min(1000, count - 1000 * n) for n in range(batches)]
    assert TaskRecord.objects.count() == len({r.id for r in results}) == count


def test_enqueue_many_of_nothing_does_nothing(queue):
    with CaptureQueriesContext(connection) as captured:
        assert add.enqueue_many([]) == []
    assert verbs_of(captured) == []


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunk_is_claimed_and_finished_together(
    configured, patient, chunk, heard, monkeypatch
):
    monkeypatch.setattr(finishes, "SAVE_AFTER_S", 60)  # however slow this machine is
    queue = configured(CHUNK=chunk)
    results = add.enqueue_many([(n,) for n in range(100)])
    envelopes = len(queue.envelopes)
    assert envelopes == -(-100 // chunk)
    counted = Statements()
    with connection.execute_wrapper(counted):
        run_envelopes(queue)
    assert counted.verbs == ["UPDATE"] * 2 * envelopes
    assert [call[0] for call in sample_tasks.calls[-100:]] == list(range(100))
    assert len(heard["finished"]) == 100
    for number, result in enumerate(results):
        result.refresh()
        assert (result.status, result.return_value) == ("SUCCESSFUL", number)


def test_failure_in_a_chunk_leaves_its_neighbours_alone(configured):
    queue = configured(CHUNK=10)
    sample = sample_tasks.divide.using(backend=ALIAS)
    results = sample.enqueue_many([(1,), (0,), (2,)])
    assert len(queue.envelopes) == 1
    run_envelopes(queue)
    for result in results:
        result.refresh()
    assert [r.status for r in results] == ["SUCCESSFUL", "FAILED", "SUCCESSFUL"]
    assert results[1].errors[0].exception_class is ZeroDivisionError


def test_task_that_was_lost_or_may_not_run_twice_never_shares_a_claim(configured):
    queue = configured(CHUNK=10)
    durable_tasks.once.enqueue_many([(n,) for n in range(3)])
    counted = Statements()
    with connection.execute_wrapper(counted):
        run_envelopes(queue)
    assert counted.verbs == ["UPDATE"] * 6


def test_values_of_a_chunk_are_saved_before_they_are_too_many(
    configured, patient, monkeypatch
):
    monkeypatch.setattr(finishes, "SAVE_AFTER_S", 60)  # however slow this machine is
    queue = configured(CHUNK=10)
    durable_tasks.return_much.enqueue_many([(400_000,)] * 10)
    counted = Statements()
    with connection.execute_wrapper(counted):
        run_envelopes(queue)
    assert counted.verbs == ["UPDATE"] * 5
    assert TaskRecord.objects.filter(status="SUCCESSFUL").count() == 10
