"""Records for the tests of stores, and races for them."""

import threading
import uuid
from datetime import timedelta

from django.db import connections
from django.utils import timezone

from taskbridge.identity import new_id
from taskbridge.models import TaskRecord

PAST = timedelta(seconds=-5)
SOON = timedelta(seconds=60)


def new_record(wake_in=SOON, **fields):
    now = timezone.now()
    values = {
        "id": uuid.UUID(hex=new_id()),
        "backend": "default",
        "task": "shop.tasks.send",
        "queue_name": "mail",
        "priority": 0,
        "arguments": "[[],{}]",
        "enqueued_at": now,
        "at_most_once": False,
        "wake_at": now + wake_in,
        "pushes": 1,
        "pushed_to": "here",
    }
    return TaskRecord(**{**values, **fields})


def added(store, *args, **fields):
    """Insert a record; return its id."""
    record = new_record(*args, **fields)
    store.insert([record], None)
    return record.id.hex


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
        worker_ids='["w"]',
        token=token,
        lease_s=lease_s,
        again=again,
    )
    return set(found)


def one(store, record_id):
    [record] = store.get([record_id])
    return record


def values(record):
    names = [field.name for field in TaskRecord._meta.fields]
    return {name: getattr(record, name) for name in names}


def seconds_until(instant):
    return (instant - timezone.now()).total_seconds()


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


FINISHES = {
    "succeed": lambda store, key, token: store.succeed({key: "1"}, token=token),
    "retry": lambda store, key, token: store.retry(
        key, token=token, errors="[]", after_s=50
    ),
    "fail": lambda store, key, token: store.fail(key, token=token, errors="[]"),
}
