"""What our brokers of Django-Q2 take together, and what they leave where it is."""

from datetime import timedelta

import pytest
import redis
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from taskbridge import pulse
from taskbridge.compat import task_backends
from taskbridge.merging import BUDGET_S
from taskbridge.message import unpack, verify
from taskbridge.testing import tasks
from taskbridge_django_q.brokers import list_key

ALIASES = ["durable_django_q_redis", "durable_django_q_orm"]

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


@pytest.fixture(params=ALIASES)
def backend(request):
    if "redis" in request.param:
        request.getfixturevalue("redis_service")
    backend = task_backends[request.param]
    backend.purge(["default", "mail"])
    yield backend
    backend.purge(["default", "mail"])


@pytest.fixture
def broker(backend):
    """The broker of a worker with two processes."""
    broker = backend.broker(["default"])
    broker.join(50, 2)
    return broker


@pytest.fixture
def redis_backend(redis_service):
    backend = task_backends["durable_django_q_redis"]
    backend.purge(["default"])
    return backend


@pytest.fixture
def redis_broker(redis_backend):
    broker = redis_backend.broker(["default"])
    broker.join(50, 2)
    return broker


@pytest.fixture
def orm_broker():
    broker = task_backends["durable_django_q_orm"].broker(["default"])
    broker.join(50, 2)
    return broker


def enqueue(backend, *keys, task=tasks.record, arguments=()):
    for key in keys:
        task.using(backend=backend.alias).enqueue("ledger", key, *arguments)


def keys_of(package):
    """Return the keys in a package, as the function of Django-Q2's worker gets them."""
    task = SignedPackage.loads(package)
    assert task["func"] == "taskbridge.execution.run"
    return [verify(signed).args[1] for signed in unpack(*task["args"])]


def drained(broker):
    """Return what the pusher of Django-Q2 would get, until nothing is left."""
    found = []
    while broker.queue_size():
        found += broker.dequeue()
    return found


def chunks(broker):
    return [keys_of(package) for _, package in drained(broker)]


def test_quick_tasks_that_wait_are_taken_together(backend, broker):
    keys = [f"{n}" for n in range(200)]
    enqueue(backend, *keys)
    found = chunks(broker)
    assert [key for chunk in found for key in chunk] == keys
    assert max(map(len, found)) == 50
    assert len(found) < 20


def test_without_being_told_to_a_broker_joins_nothing(backend):
    enqueue(backend, *"abcdef")
    assert chunks(backend.broker(["default"])) == [[key] for key in "abcdef"]


def test_chunk_of_one_joins_nothing(backend):
    enqueue(backend, *"abcdef")
    broker = backend.broker(["default"])
    broker.join(1, 2)
    assert chunks(broker) == [[key] for key in "abcdef"]


def test_slow_task_shares_no_package_and_what_is_behind_it_stays(backend, broker):
    enqueue(backend, *"abcd")
    enqueue(backend, "slow", task=tasks.record_slowly, arguments=(2,))
    enqueue(backend, *[f"{n}" for n in range(8)])
    taken = []
    while "slow" not in taken:
        [(_, package)] = broker.dequeue()
        taken += keys_of(package)
    assert keys_of(package) == ["slow"]
    assert broker.queue_size() == 8  # for whoever is idle first
    assert chunks(broker)[-1][-1] == "7"


def test_order_stays_where_more_was_taken_than_fits(backend, broker):
    keys = []
    for n in range(20):
        slow = n % 3 == 0
        keys.append(f"{n}")
        task = tasks.record_slowly if slow else tasks.record
        enqueue(backend, f"{n}", task=task, arguments=(2,) if slow else ())
    assert [key for chunk in chunks(broker) for key in chunk] == keys


def test_few_tasks_are_left_to_idle_processes(backend, broker):
    enqueue(backend, "a", "b")
    assert chunks(broker) == [["a"], ["b"]]


def test_packages_of_others_pass_untouched(backend, broker):
    queue = backend.name_in_broker("default")
    enqueue(backend, *"abcdef")
    async_task("math.sqrt", 9, broker=broker, group=queue)
    async_task("taskbridge.execution.run", "[]", broker=broker, group=queue, save=True)
    enqueue(backend, *"ghijkl")
    tasks = [SignedPackage.loads(package) for _, package in drained(broker)]
    [root] = [task for task in tasks if task["func"] == "math.sqrt"]
    assert (root["args"], root["group"]) == ((9,), queue)
    [hooked] = [task for task in tasks if task["args"] == ("[]",)]
    assert hooked["save"] is True
    assert sum(len(unpack(task["args"][0])) for task in tasks if task != root) == 12


def test_native_messages_are_not_joined(redis_service):
    backend = task_backends["django_q_redis"]
    backend.purge(["default"])
    enqueue(backend, *"abcdef")
    broker = backend.broker(["default"])
    broker.join(50, 2)
    assert chunks(broker) == [[key] for key in "abcdef"]


def test_package_that_cannot_be_read_is_left_to_django_q(redis_backend, redis_broker):
    key = list_key(redis_backend.name_in_broker("default"))
    enqueue(redis_backend, *"abcd")
    redis_broker.get_connection().rpush(key, b"\xff junk")
    enqueue(redis_backend, *"efgh")
    packages = [package for _, package in drained(redis_broker)]
    assert "\ufffd junk" in packages
    packages.remove("\ufffd junk")
    assert [key for each in packages for key in keys_of(each)] == [*"abcdefgh"]


def test_what_cannot_be_put_back_is_handed_on(
    redis_backend, redis_broker, monkeypatch, caplog
):
    enqueue(redis_backend, *"ab")
    enqueue(redis_backend, "slow", task=tasks.record_slowly, arguments=(2,))
    enqueue(redis_backend, *"cdefghij")
    redis_broker._took = 50

    def broken(*args):
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(redis_broker.get_connection(), "lpush", broken)
    packages = [keys_of(package) for _, package in redis_broker.dequeue()]
    assert packages == [["a", "b"], ["slow"], ["c"], ["d"]]
    assert "cannot be left there" in caplog.text
    assert redis_broker.queue_size() == 6


def test_first_package_is_handed_on_if_redis_goes_away_behind_it(
    redis_backend, redis_broker, monkeypatch, caplog
):
    enqueue(redis_backend, *"abcd")
    real = redis_broker.get_connection().pipeline

    def broken(transaction):
        if transaction:
            raise redis.ConnectionError("gone")
        return real(transaction=transaction)

    monkeypatch.setattr(redis_broker.get_connection(), "pipeline", broken)
    assert chunks(redis_broker) == [["a"], ["b"], ["c"], ["d"]]
    assert "cannot be taken together" in caplog.text


def test_queue_that_is_no_list_costs_no_package(redis_backend, redis_broker):
    broker = redis_backend.broker(["default", "mail"])
    broker.join(50, 2)
    strange = list_key(redis_backend.name_in_broker("mail"))
    client = broker.get_connection()
    client.set(strange, "somebody else's")
    try:
        enqueue(redis_backend, *"abcd")
        taken = []
        while len(taken) < 4:
            for _, package in broker.dequeue() or []:
                taken += keys_of(package)
        assert taken == [*"abcd"]
    finally:
        client.delete(strange)


def test_rows_are_claimed_by_one_update(orm_broker):
    enqueue(task_backends["durable_django_q_orm"], *[f"{n}" for n in range(40)])
    with CaptureQueriesContext(
        connection,
    ) as queries:
        [(rows, package)] = orm_broker.dequeue()
    assert len(rows) == len(keys_of(package)) == 20
    updates = [query for query in queries if query["sql"].startswith("UPDATE")]
    assert len(updates) == 1


def test_rows_that_another_worker_has_taken_are_left_out(orm_broker):
    backend = task_backends["durable_django_q_orm"]
    enqueue(backend, *[f"{n}" for n in range(40)])
    orm_broker._look_ahead()
    other = backend.broker(["default"])
    [(theirs, package)] = other.dequeue()
    assert keys_of(package) == ["0"]
    [(ours, package)] = orm_broker.dequeue()
    assert keys_of(package) == [f"{n}" for n in range(1, 20)]
    assert not {*ours} & {*theirs}


def test_one_acknowledgement_removes_all_rows_of_a_package(orm_broker):
    enqueue(task_backends["durable_django_q_orm"], *[f"{n}" for n in range(40)])
    [(rows, _)] = orm_broker.dequeue()
    with CaptureQueriesContext(connection) as queries:
        orm_broker.acknowledge(rows)
    deletes = [query for query in queries if query["sql"].startswith("DELETE")]
    assert len(deletes) == 1
    assert OrmQ.objects.count() == 20
    assert not OrmQ.objects.filter(pk__in=rows).exists()


def test_joined_rows_come_again_when_their_locks_expire(orm_broker):
    backend = task_backends["durable_django_q_orm"]
    enqueue(backend, *[f"{n}" for n in range(40)])
    [(rows, _)] = orm_broker.dequeue()
    locks = set(OrmQ.objects.filter(pk__in=rows).values_list("lock", flat=True))
    [lock] = locks
    assert lock > timezone.now() + timedelta(minutes=59)
    OrmQ.objects.filter(pk__in=rows).update(lock=timezone.now())
    again = backend.broker(["default"])
    again.join(50, 2)
    found = sorted((key for chunk in chunks(again) for key in chunk), key=int)
    assert found == [f"{n}" for n in range(40)]


def test_large_rows_are_not_read_ahead_in_numbers(orm_broker, monkeypatch):
    backend = task_backends["durable_django_q_orm"]
    enqueue(backend, *[f"{n}" for n in range(120)])
    module = "taskbridge_django_q.orm_broker"
    monkeypatch.setattr(f"{module}.LOOK_AHEAD_CHARACTERS", 1000)
    orm_broker.dequeue()
    assert orm_broker._limit == 50
    monkeypatch.setattr(f"{module}.LOOK_AHEAD_CHARACTERS", 10_000_000)
    orm_broker._ahead_until = 0
    orm_broker.dequeue()
    assert orm_broker._limit == 200


def test_deadlock_of_two_workers_does_not_end_the_pusher(orm_broker, caplog):
    enqueue(task_backends["durable_django_q_orm"], *[f"{n}" for n in range(40)])
    broken = []

    def deadlock(execute, sql, params, many, context):
        if sql.startswith("UPDATE") and not broken:
            broken.append(sql)
            raise OperationalError("deadlock detected")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(deadlock):
        found = chunks(orm_broker)
    assert "rows cannot be claimed together: deadlock detected" in caplog.text
    assert sorted(int(key) for chunk in found for key in chunk) == [*range(40)]
