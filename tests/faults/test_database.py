"""Databases that are away or locked, and rows that cannot be written."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dj_database_url
import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections, transaction
from psycopg.rows import dict_row

from taskbridge.models import TaskRecord
from taskbridge.store import Json, Record
from taskbridge.store.database import DatabaseStore
from taskbridge.store.record import record_of_row
from taskbridge.testing.harness import ManageProcess, wait_until
from taskbridge.testing.services import PostgreSQL
from tests.conftest import started
from tests.unit.store_records import added, claim, one

from . import tasks
from .conftest import QUEUES
from .judge import judge
from .scene import FINISH_FOR_S, Scene
from .script import ACCEPTED

LOCKED_S = 4
OUTAGE_S = 2
ON_DATABASE = ["django_q_orm", "background_tasks"]
TABLE = TaskRecord._meta.db_table


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    service = started(PostgreSQL())
    try:
        if not service.private:
            pytest.skip(f"PostgreSQL at {service.variable} is not ours to stop.")
        yield service
    finally:
        service.close()


@pytest.fixture
def broker(queue: str, request: pytest.FixtureRequest) -> bool:
    """Start the broker of a queue; tell whether it has one beside the database."""
    if service := QUEUES[queue]:
        request.getfixturevalue(service)
    return bool(service)


def test_postgresql_restart_under_load_loses_nothing(
    queue: str,
    broker: bool,
    postgresql: PostgreSQL,
    tmp_path: Path,
    transactional_db: None,  # Django-Q2's purge() looks for schedules
) -> None:
    """A process of its own enqueues meanwhile."""
    _outage(queue, postgresql, tmp_path, postgresql.stop, has_broker=broker)


@pytest.mark.parametrize("queue", ["celery_redis", "background_tasks"])
def test_postgresql_crash_under_load_forgets_claims_and_loses_nothing(
    queue: str,
    broker: bool,
    postgresql: PostgreSQL,
    tmp_path: Path,
    transactional_db: None,
) -> None:
    """A claim does not wait for the disk, so the server may not know of the last."""
    kill = postgresql.kill
    _outage(queue, postgresql, tmp_path, kill, has_broker=broker, forgotten=1)


def _outage(
    queue: str,
    postgresql: PostgreSQL,
    tmp_path: Path,
    end: Callable[[], None],
    *,
    has_broker: bool,
    forgotten: int = 0,
) -> None:
    scene = Scene(f"fault_{queue}", tmp_path, {"DATABASE_URL": postgresql.url})
    try:
        with ManageProcess(
            ["migrate", "--verbosity", "0"],
            log=tmp_path / "migrate.log",
            environment=scene.environment,
        ) as migrate:
            assert migrate.wait(timeout_s=90) == 0, migrate.log_tail()
        with psycopg.connect(postgresql.url, autocommit=True) as database:
            database.execute(f"TRUNCATE {TABLE}, django_q_ormq, background_task")
        if has_broker:
            scene.backend.purge(scene.backend.queues)
        scene.start_worker()
        script = scene.run_script(
            f"enqueue({scene.alias!r}, {str(scene.ledger.path)!r}, 150, 0.03)"
        )
        ran = scene.ledger.entries
        wait_until(lambda: len(ran("finished")) > 10, "some have run", timeout_s=60)
        end()
        up_at = time.monotonic() + OUTAGE_S
        wait_until(lambda: time.monotonic() > up_at, "the outage ends")
        postgresql.start()
        assert script.wait(timeout_s=FINISH_FOR_S) == 0, script.log_tail()
        accepted = {
            line.split()[1]
            for line in script.log_text().splitlines()
            if line.startswith(ACCEPTED)
        }
        wait_until(
            lambda: {r.status for r in _rows(postgresql)} == {"SUCCESSFUL"},
            "all have run",
            timeout_s=FINISH_FOR_S,
        )
    except AssertionError as exc:
        exc.add_note(scene.logs()[-8000:])
        raise
    finally:
        scene.close()
    records = _rows(postgresql)
    # Whether a commit whose answer was lost was one, the client cannot know.
    keys = {r.id: r.arguments.value[0][1] for r in records}
    assert len(accepted) == 150
    assert accepted <= set(keys)
    figures = judge(records, keys, scene.ledger, forgotten=forgotten)
    print(f"{scene.alias}: {figures}")  # noqa: T201


@pytest.fixture
def store(
    postgresql: PostgreSQL,
    monkeypatch: pytest.MonkeyPatch,
    django_db_blocker: Any,
) -> Iterator[DatabaseStore]:
    """Records in a server that a test may kill."""
    alias = "crashing"
    configured = connections.configure_settings(
        {"default": {}, alias: dj_database_url.parse(postgresql.url)}
    )
    connections.databases[alias] = configured[alias]
    monkeypatch.setattr(DatabaseStore, "_database", alias)
    try:
        with django_db_blocker.unblock():
            call_command("migrate", "taskbridge", database=alias, verbosity=0)
            yield DatabaseStore("default")
    finally:
        connections[alias].close()
        del connections[alias], connections.databases[alias]


def _is_flushed(alias: str = "crashing") -> bool:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()"
        )
        return bool(cursor.fetchone()[0])


def test_claim_does_not_wait_for_the_disk_of_postgresql(store: DatabaseStore) -> None:
    ids = [added(store) for _ in range(20)]
    assert _is_flushed()

    seen = []
    for record_id in ids:
        claim(store, record_id, "worker")
        seen.append(_is_flushed())
        store.succeed({record_id: Json("null")}, token="worker")
        assert _is_flushed()

    assert not all(seen)


def test_claim_in_a_transaction_leaves_its_commit_alone(store: DatabaseStore) -> None:
    record_id = added(store)

    with transaction.atomic(using="crashing"):
        claim(store, record_id, "worker")

    assert _is_flushed()


def test_claim_of_at_most_once_survives_a_crash_of_postgresql(
    store: DatabaseStore, postgresql: PostgreSQL
) -> None:
    record_id = added(store, at_most_once=True)

    claim(store, record_id, "worker")
    postgresql.kill()
    postgresql.start()

    connections["crashing"].close()
    assert one(store, record_id).status == "RUNNING"


def _rows(service: PostgreSQL) -> list[Record]:
    with psycopg.connect(service.url, row_factory=dict_row) as database:
        rows = database.execute(f"SELECT * FROM {TABLE}")
        return [record_of_row(row) for row in rows]


def sqlite_file() -> str:
    if connection.vendor != "sqlite":
        pytest.skip("This is about SQLite, and the tests run on another database.")
    return str(settings.DATABASES["default"]["NAME"])


@contextlib.contextmanager
def raw_sqlite() -> Iterator[sqlite3.Connection]:
    """A connection that waits long for the lock, past Django."""
    database = sqlite3.connect(sqlite_file(), timeout=30, isolation_level=None)
    try:
        yield database
    finally:
        database.close()


# The queues that write to the database themselves, and one that does not.
@pytest.mark.parametrize("queue", ["celery_redis", *ON_DATABASE])
def test_locked_sqlite_loses_nothing(scene: Scene) -> None:
    """The lock is held for longer than leases, and than processes wait for it."""
    with raw_sqlite() as database:
        scene.environment["DATABASE_URL"] += "?timeout=1"
        worker = scene.start_worker()
        scene.enqueue_many(150, 0.03)
        wait_until(lambda: len(scene.ledger.entries("finished")) > 5, "some have run")
        database.execute("BEGIN IMMEDIATE")
        release = threading.Timer(LOCKED_S, lambda: None)
        release.start()
        release.join()
        database.execute("ROLLBACK")
        scene.enqueue_many(10, 0.01)
        scene.wait_finished()
    assert "database is locked" in worker.log_text()
    scene.judge()


# The core alone is concerned; one queue of each kind.
@pytest.mark.parametrize("queue", ["celery_redis", "background_tasks"])
def test_result_that_cannot_be_saved_harms_no_other(scene: Scene) -> None:
    """Three rows: no success, no end by the worker, no change at all is written."""
    unsaved = {
        "no success": "NEW.status = 'SUCCESSFUL'",
        "no end": "OLD.status = 'RUNNING' AND NEW.lost = OLD.lost AND "
        "NEW.status <> 'RUNNING'",
        "no change": "OLD.status = 'RUNNING'",
    }
    results = {key: scene.enqueue(key, 0.01, delay_s=1) for key in unsaved}
    with raw_sqlite() as database:
        for n, (key, condition) in enumerate(unsaved.items()):
            database.execute(
                f"CREATE TRIGGER fault_{n} BEFORE UPDATE ON {TABLE} "
                f"WHEN OLD.id = '{results[key].id}' AND {condition} "
                f"BEGIN SELECT RAISE(ABORT, 'this row cannot be saved'); END"
            )
        try:
            worker = scene.start_worker()
            crash = scene.enqueue("crash", task=tasks.crash)
            for n in range(20):
                scene.enqueue(str(n), 0.02, delay_s=n / 5)
            wait_until(
                lambda: scene.counts() == {"RUNNING": 1, "FAILED": 3, "SUCCESSFUL": 20},
                "all but the one that nobody can change have ended",
                timeout_s=FINISH_FOR_S,
            )
        except AssertionError as exc:
            exc.add_note(f"{scene.counts()}\n{scene.logs()[-8000:]}")
            raise
        finally:
            for n in range(len(unsaved)):
                database.execute(f"DROP TRIGGER fault_{n}")
    scene.wait_finished()
    assert worker.process.poll() is None
    started = scene.ledger.counts("started")
    assert (started["no success"], started["no end"]) == (1, 4)
    assert scene.record(results["no success"]).status == "FAILED"
    assert "cannot be saved" in scene.record(results["no success"]).errors.text
    assert scene.record(results["no end"]).lost == 4
    assert scene.record(results["no change"]).status == "SUCCESSFUL"
    assert started["no change"] == scene.record(results["no change"]).attempt == 2
    assert scene.record(crash).lost == 4
