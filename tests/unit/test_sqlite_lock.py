"""SQLite has one lock: a task that writes keeps its lease from being extended."""

import sqlite3

import pytest
from django.core.management import call_command
from django.db import connections

from taskbridge.dispatch import LostAttempts, lost
from taskbridge.exceptions import StoreUnavailable
from taskbridge.options import DurableOptions
from taskbridge.store import database
from taskbridge.store.database import DatabaseStore
from tests.unit.store_records import claimed, one

TIMEOUT_S = 0.5


@pytest.fixture
def path(tmp_path, django_db_blocker):
    """A database of its own, in a file: one in memory has other locks."""
    path = tmp_path / "own.sqlite3"
    added = {
        "default": {},
        "own": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(path),
            "OPTIONS": {"timeout": TIMEOUT_S},
        },
    }
    own = connections.configure_settings(added)["own"]
    connections.databases["own"] = own
    try:
        with django_db_blocker.unblock():
            call_command("migrate", "taskbridge", database="own", verbosity=0)
            yield path
    finally:
        connections["own"].close()
        del connections["own"], connections.databases["own"]


@pytest.fixture
def store(path, monkeypatch):
    monkeypatch.setattr(DatabaseStore, "_database", "own")
    monkeypatch.setattr(database, "SETTLE_S", 1.0)
    return DatabaseStore("default")


@pytest.fixture
def attempts(store):
    class Owner:
        durable_options = DurableOptions(lease_s=30)

    return LostAttempts(Owner(), store)


@pytest.fixture
def waits(monkeypatch):
    """What is slept before attempts are ended, and what happens meanwhile."""
    found = []
    monkeypatch.setattr(lost.time, "sleep", lambda s: [do(s) for do in found])
    return found


def test_lease_that_is_extended_when_the_lock_is_free_is_not_ended(
    store, attempts, waits
):
    record_id = claimed(store, lease_s=-1)
    slept = []
    waits += [
        slept.append,
        lambda _: store.extend([record_id], token="worker", lease_s=30),
    ]
    assert attempts.step(store.look(horizon_s=0, limit=10)) == 0
    assert slept == [1.0]
    assert (one(store, record_id).status, one(store, record_id).lost) == ("RUNNING", 0)


def test_lease_that_nobody_extends_is_ended_after_a_wait(store, attempts, waits):
    record_id = claimed(store, lease_s=-1)
    assert attempts.step(store.look(horizon_s=0, limit=10)) == 1
    assert one(store, record_id).lost == 1


def test_nothing_is_ended_while_somebody_writes(store, attempts, path, waits):
    record_id = claimed(store, lease_s=-1)
    slept = []
    waits.append(slept.append)
    due = store.look(horizon_s=0, limit=10)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        attempts.step(due)
    writer.execute("COMMIT")
    writer.close()
    assert (slept, one(store, record_id).lost) == ([], 0)


def test_writer_that_ends_while_it_is_waited_for_lets_workers_go_first(
    store, attempts, monkeypatch, waits
):
    record_id = claimed(store, lease_s=-1)
    due = store.look(horizon_s=0, limit=10)
    monkeypatch.setattr(database, "SETTLED_S", 0)
    assert store.settling_s() is None
    assert attempts.step(due) == 0
    assert one(store, record_id).lost == 0
