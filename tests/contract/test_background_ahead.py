"""Which rows of background-tasks our pool claims next, and which are one chunk."""

import pytest
from background_task.models import Task as Row
from django.db import connection
from django.test.utils import CaptureQueriesContext

from taskbridge import pulse
from taskbridge.adapter import WorkerOptions
from taskbridge.compat import task_backends
from taskbridge.merging import BUDGET_S, Merger
from taskbridge.message import unpack, verify
from taskbridge.testing import tasks
from taskbridge.worker import ahead
from taskbridge.worker.ahead import Ahead
from taskbridge.worker.pool import Pool
from taskbridge_background_tasks.rows import Rows

ALIAS = "durable_background_tasks"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def durations(monkeypatch):
    """Let this process know how long tasks take, as the processes of a worker do."""
    ours = pulse.Pulse(concurrency=2)
    monkeypatch.setattr(pulse, "_ours", ours)
    for task, seconds in {tasks.record: 0.0005, tasks.record_slowly: 2}.items():
        for _ in range(10):
            ours.note_duration(task.module_path, seconds, at_first=BUDGET_S)
    yield ours
    ours.close()


class Slot:
    """A process of the pool that is idle, and takes note of what it is given."""

    def __init__(self):
        self.keys = []
        self.body = None

    def start(self, keys, body):
        self.keys, self.body = keys, body


def queues():
    return [task_backends[ALIAS].name_in_broker("default")]


def of_two(chunk=50):
    """What a pool of two processes reads ahead."""
    found = Ahead(Rows(), queues(), 2, Merger(chunk, 2))
    found.look()
    return found


def pool():
    options = WorkerOptions(
        queues=tuple(queues()), concurrency=2, burst=True, ready=lambda: None
    )
    return Pool(Rows(), options, poll_s=0.1, chunk=50)


def enqueue(keys, task=tasks.record, *arguments):
    for key in keys:
        task.using(backend=ALIAS).enqueue("ledger", key, *arguments)


def started(pool, processes):
    """Return the idle processes that a pool has, after it gave them what it found."""
    pool._slots = [Slot() for _ in range(processes)]
    pool._look_ahead()
    pool._claim_for(pool._slots)
    return pool._slots


def keys_of(body):
    return [verify(signed).args[1] for signed in unpack(body)]


def of_kind(queries, verb):
    return [query for query in queries if query["sql"].strip().startswith(verb)]


def test_chunks_of_all_processes_are_read_and_claimed_at_once():
    enqueue(f"{n}" for n in range(80))
    with CaptureQueriesContext(connection) as queries:
        first, second = started(pool(), 2)
    assert keys_of(first.body) == [f"{n}" for n in range(40)]
    assert keys_of(second.body) == [f"{n}" for n in range(40, 80)]
    assert len(of_kind(queries, "UPDATE")) == 1
    assert len(of_kind(queries, "SELECT")) == 2  # what is due, and what it holds
    owner = Row.objects.first().locked_by
    with CaptureQueriesContext(connection) as queries:
        assert Rows().finish(first.keys, owner) == 40
    assert len(queries) == 1
    assert Row.objects.count() == 40


def test_nothing_is_locked_that_has_no_process():
    enqueue("abcd")
    enqueue(["slow"], tasks.record_slowly, 2)
    enqueue("efghijkl")
    [slot] = started(pool(), 1)
    assert keys_of(slot.body) == [*"abcd"]
    assert Row.objects.exclude(locked_by=None).count() == 4
    assert len(Rows().due(queues(), 100)) == 9


def test_what_was_left_comes_next_and_is_not_read_again():
    enqueue("ab")
    enqueue(["slow"], tasks.record_slowly, 2)
    enqueue("cdefghij")
    sixth = Rows().due(queues(), 6)[-1]
    rows = of_two()
    assert len(rows.take(1)[0]) == 2  # after it has read five
    with CaptureQueriesContext(connection) as queries:
        [slow] = rows.take(1)
        assert keys_of(rows.body_of(slow)) == ["slow"]
    [read] = queries
    assert f"IN ({sixth})" in read["sql"]
    [chunk] = rows.take(1)
    assert keys_of(rows.body_of(chunk)) == [*"cdef"]


def test_row_that_another_pool_has_claimed_is_left_out():
    enqueue(f"{n}" for n in range(40))
    ours = pool()
    ours._look_ahead()
    [theirs, *_] = Rows().due(queues(), 1)
    assert Rows().claim([theirs], "another") == {theirs}
    ours._slots = [Slot(), Slot()]
    assert ours._claim_for(ours._slots) == 2
    first, second = ours._slots
    assert keys_of(first.body) == [f"{n}" for n in range(1, 20)]
    assert len(second.keys) == 20


def test_few_rows_are_read_by_their_processes():
    enqueue("ab")
    rows = of_two()
    with CaptureQueriesContext(connection) as queries:
        chunks = rows.take(2)
    assert not queries
    assert [len(chunk) for chunk in chunks] == [1, 1]
    assert rows.body_of(chunks[0]) is None


def test_chunk_of_one_joins_nothing():
    enqueue("abcdefgh")
    assert [len(chunk) for chunk in of_two(chunk=1).take(2)] == [1, 1]


def test_long_row_is_alone_and_not_read_by_the_parent(monkeypatch):
    enqueue("ab")
    tasks.record.using(backend=ALIAS).enqueue("x" * 2000, "long")
    enqueue("cdefgh")
    monkeypatch.setattr(ahead, "LONGEST_ROW", 2000)
    rows = of_two()
    first, second = rows.take(2)
    assert keys_of(rows.body_of(first)) == ["a", "b"]
    assert len(second) == 1
    assert rows.body_of(second) is None


@pytest.mark.parametrize("parameters", ["no JSON", "[[5], {}]", '[["[]"], {}]'])
def test_row_of_another_form_is_alone(parameters):
    enqueue("abcdefgh")
    third = Rows().due(queues(), 3)[2]
    Row.objects.filter(pk=third).update(task_params=parameters)
    assert [len(chunk) for chunk in of_two().take(2)] == [2, 1]


def test_native_messages_are_not_joined():
    for key in "abcdefgh":
        tasks.record.using(backend="background_tasks").enqueue("ledger", key)
    assert [len(chunk) for chunk in of_two().take(2)] == [1, 1]


def test_another_look_comes_before_the_last_rows_are_too_few(monkeypatch):
    enqueue(f"{n}" for n in range(41))
    monkeypatch.setattr(ahead, "LOOK_AHEAD", 20)
    rows = of_two()
    assert rows.is_enough(2)
    rows.take(1)
    assert not rows.is_enough(2)  # there are more in the table
    rows.look()
    assert [len(chunk) for chunk in rows.take(2)] == [20, 20]
