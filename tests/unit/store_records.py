"""Records for the tests of stores, and races for them."""

import contextlib
import threading
import time
from dataclasses import asdict
from datetime import timedelta

from django.db import connection, connections, transaction
from django.db.models import UUIDField
from django.utils import timezone

from taskbridge.compat import TaskError
from taskbridge.identity import new_id
from taskbridge.models import TaskRecord
from taskbridge.store import Json, Record
from taskbridge.store.record import uuid_or_hex

PAST = timedelta(seconds=-5)
SOON = timedelta(seconds=60)
ERROR = TaskError(exception_class_path="builtins.ValueError", traceback="ValueError: 1")


def new_record(wake_in=SOON, **fields):
    now = timezone.now()
    values = {
        "id": new_id(),
        "backend": "default",
        "task": "shop.tasks.send",
        "queue_name": "mail",
        "priority": 0,
        "arguments": Json("[[],{}]"),
        "run_after": None,
        "enqueued_at": now,
        "at_most_once": False,
        "wake_at": now + wake_in,
        "pushes": 1,
        "pushed_to": "here",
    }
    return Record(**{**values, **fields})


def added(store, *args, **fields):
    """Insert a record; return its id."""
    record = new_record(*args, **fields)
    store.insert([record], None)
    return record.id


def claimed(store, token="worker", *, attempt=0, lease_s=60, **fields):
    """Insert a record that was started before, and claim it; return its id."""
    record_id = added(store, **fields)
    assert claim(store, record_id, token, attempt=attempt, lease_s=lease_s)
    return record_id


def claim(store, *ids, attempt=0, lease_s=60, again=False):
    *ids, token = ids
    found = store.claim(
        ids,
        attempt=attempt,
        worker_ids=["w"],
        token=token,
        lease_s=lease_s,
        again=again,
    )
    return set(found)


def one(store, record_id):
    [record] = store.get([record_id])
    return record


def values(record):
    return asdict(record)


def seconds_until(instant):
    return (instant - timezone.now()).total_seconds()


@contextlib.contextmanager
def referring_table(*ids):
    """A table of the project with a foreign key, and rows that refer to records.

    It is as Django makes it: some databases look at it when a transaction commits.
    """
    deferrable = connection.ops.deferrable_sql()
    key_type = UUIDField(primary_key=True).db_type(connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE referring (record {key_type}, FOREIGN KEY (record) "
            f"REFERENCES {TaskRecord._meta.db_table} (id){deferrable})"
        )
        keys = map(uuid_or_hex(connection), ids)
        cursor.executemany("INSERT INTO referring VALUES (%s)", [(k,) for k in keys])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE referring")


def race(*functions):
    """Call functions in threads at the same moment; return what they returned."""
    barrier = threading.Barrier(len(functions))
    results = {}

    def run(index, function):
        try:
            barrier.wait(30)
            results[index] = function()
        except BaseException as exc:  # noqa: BLE001 - told by the test
            results[index] = exc
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    errors = [r for r in results.values() if isinstance(r, BaseException)]
    assert not errors, errors
    return [results[index] for index in range(len(functions))]


def while_locked(record_id, function, *, for_s):
    """Call a function while somebody writes to a record; return what it returned."""
    is_locked = threading.Event()

    def hold():
        with transaction.atomic():
            TaskRecord.objects.filter(pk=record_id).update(lost=0)
            is_locked.set()
            time.sleep(for_s)

    def call():
        assert is_locked.wait(30)
        return function()

    found = race(hold, call)[1]
    return set(found) if isinstance(found, list | tuple | set) else found


def while_kept(record_id, function, *, lock="FOR UPDATE"):
    """Call a function while somebody keeps a record locked, who ends only after it."""
    table = TaskRecord._meta.db_table
    key = uuid_or_hex(connection)(record_id)
    is_locked, is_done = threading.Event(), threading.Event()

    def keep():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SELECT id FROM {table} WHERE id = %s {lock}", [key])
            is_locked.set()
            return is_done.wait(20)

    def call():
        assert is_locked.wait(30)
        try:
            return function()
        finally:
            is_done.set()

    was_in_time, found = race(keep, call)
    assert was_in_time
    return found


FINISHES = {
    "succeed": lambda store, key, token: store.succeed({key: Json("1")}, token=token),
    "retry": lambda store, key, token: store.retry(
        key, token=token, errors=[], after_s=50
    ),
    "fail": lambda store, key, token: store.fail(key, token=token, errors=[]),
}
