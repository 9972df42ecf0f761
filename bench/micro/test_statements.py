"""What tasks cost in statements, which must not change unnoticed, and in time.

The statements are counted before anything is timed. Whoever changes their number
on purpose, changes it here as well.
"""

import pytest
from background_task.models import Task as Row
from django.db import connection

from taskbridge.compat import task_backends
from taskbridge.execution import run
from taskbridge.models import TaskRecord
from taskbridge.store import Json
from taskbridge.store.factory import open_store
from taskbridge_background_tasks.rows import Rows
from tests.unit import store_records
from tests.unit.durable_tasks import ALIAS
from tests.unit.sample_tasks import add
from tests.unit.store_records import new_record

CHUNK = 50
MANY = 500
ROUNDS = 10
IN_DATABASE = "durable_background_tasks"

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.benchmark(group="statements"),
]


@pytest.fixture
def timed(benchmark):
    """Time a call in a few rounds, each with its own arguments."""

    def timed(call, prepare):
        benchmark.extra_info["database"] = connection.vendor
        benchmark.pedantic(
            call, setup=lambda: (prepare(), {}), rounds=ROUNDS, warmup_rounds=1
        )

    return timed


@pytest.fixture
def store(transactional_db):
    return open_store("default")


def inserted(store, count):
    records = [new_record() for _ in range(count)]
    store.insert(records, None)
    return [record.id for record in records]


def claimed(store, count):
    ids = inserted(store, count)
    claim(store, ids)
    return ids


def claim(store, ids):
    assert store_records.claim(store, *ids, "token") == set(ids)


def finish(store, ids):
    values = dict.fromkeys(ids, Json("null"))
    assert store.succeed(values, token="token") == len(ids)


def test_enqueue_is_one_insert(queue, statements, timed):
    task = add.using(backend=ALIAS)
    with statements:
        task.enqueue(1)
    assert statements.verbs == ["INSERT"]
    timed(task.enqueue, lambda: (1,))


def test_enqueue_many_is_one_insert(queue, statements, timed):
    task = add.using(backend=ALIAS)
    calls = [(n,) for n in range(MANY)]
    with statements:
        task.enqueue_many(calls)
    assert statements.verbs == ["INSERT"]
    assert TaskRecord.objects.count() == MANY
    timed(task.enqueue_many, lambda: (calls,))


@pytest.mark.parametrize("count", [1, MANY])
def test_enqueue_on_a_queue_in_the_database_is_two_inserts(
    transactional_db, statements, timed, count
):
    """The record, and the row; it notifies idle workers in the same statement."""
    task = add.using(backend=IN_DATABASE)
    calls = [(n,) for n in range(count)]
    task.enqueue_many(calls)  # asks for the time and the limits of the database
    with statements:
        task.enqueue_many(calls)
    assert statements.verbs == ["INSERT", "INSERT"]
    timed(task.enqueue_many, lambda: (calls,))


def test_task_that_succeeds_at_once_is_one_insert_and_two_updates(
    queue, statements, timed
):
    task = add.using(backend=ALIAS)

    def body():
        task.enqueue(1)
        return queue.envelopes.pop().body

    with statements:
        run(body())
    assert statements.verbs == ["INSERT", "UPDATE", "UPDATE"]
    timed(run, lambda: (body(),))


def test_chunk_is_one_claim_and_one_finish(queue, statements, timed):
    task = add.using(backend=ALIAS)

    def body():
        task.enqueue_many([(n,) for n in range(CHUNK)])
        return queue.envelopes.pop().body

    chunk = body()
    with statements:
        run(chunk)
    assert statements.verbs == ["UPDATE", "UPDATE"]
    assert TaskRecord.objects.filter(status="SUCCESSFUL").count() == CHUNK
    timed(run, lambda: (body(),))


@pytest.mark.parametrize("count", [1, CHUNK])
def test_claim_is_one_update(store, statements, timed, count):
    ids = inserted(store, count)
    with statements:
        claim(store, ids)
    assert statements.verbs == ["UPDATE"]
    timed(claim, lambda: (store, inserted(store, count)))


@pytest.mark.parametrize("count", [1, CHUNK])
def test_finish_is_one_update(store, statements, timed, count):
    ids = claimed(store, count)
    with statements:
        finish(store, ids)
    assert statements.verbs == ["UPDATE"]
    timed(finish, lambda: (store, claimed(store, count)))


def test_look_of_a_dispatcher_is_one_select(store, statements, timed):
    inserted(store, CHUNK)

    def look():
        return store.look(horizon_s=3600, limit=MANY)

    with statements:
        assert len(look()) == CHUNK
    assert statements.verbs == ["SELECT"]
    timed(look, tuple)


def test_look_and_claim_of_a_pool_are_two_statements(
    transactional_db, statements, timed
):
    for number in range(MANY):  # a row for each
        add.using(backend=IN_DATABASE).enqueue(number)
    queues = [task_backends[IN_DATABASE].name_in_broker("default")]
    rows = Rows()

    def look_and_claim():
        [key] = rows.due(queues, 1)
        assert rows.claim([key], "owner") == {key}

    with statements:
        look_and_claim()
    assert statements.verbs == ["SELECT", "UPDATE"]
    timed(look_and_claim, tuple)
    assert Row.objects.filter(locked_by="owner").exists()
