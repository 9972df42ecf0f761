"""What processes must not share after a fork: first of all, a pool of connections."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dj_database_url
import psycopg
import pytest
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from taskbridge.attempt.connections import restored_connections
from taskbridge.testing.harness import ManageProcess, wait_until
from taskbridge.testing.services import PostgreSQL
from tests.conftest import started

from .conftest import QUEUES
from .processes import tree_of
from .scene import FINISH_FOR_S, Scene

POOL_SETTINGS = "tests.faults.pool_settings"


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A server whose database has our tables."""
    pytest.importorskip("psycopg_pool")
    service = started(PostgreSQL())
    try:
        with ManageProcess(
            ["migrate", "--verbosity", "0"],
            log=tmp_path_factory.mktemp("migrate") / "log",
            environment=_environment(service),
        ) as migrate:
            assert migrate.wait(timeout_s=90) == 0, migrate.log_tail()
        yield service
    finally:
        service.close()


@pytest.fixture
def pooled(
    queue: str,
    request: pytest.FixtureRequest,
    postgresql: PostgreSQL,
    tmp_path: Path,
    transactional_db: None,  # Django-Q2's purge() looks for schedules
) -> Iterator[Scene]:
    """A project with a pool of connections."""
    if broker := QUEUES[queue]:
        request.getfixturevalue(broker)
    scene = Scene(f"fault_{queue}", tmp_path, _environment(postgresql))
    if broker:
        scene.backend.purge(scene.backend.queues)
    with psycopg.connect(postgresql.url, autocommit=True) as database:
        database.execute(
            "TRUNCATE taskbridge_taskrecord, django_q_ormq, background_task"
        )
    yield scene
    scene.close()


@pytest.fixture
def small_pool(
    postgresql: PostgreSQL, django_db_blocker: Any
) -> Iterator[BaseDatabaseWrapper]:
    """A database whose pool has two connections, and lets nobody wait for long."""
    settings = dj_database_url.parse(postgresql.url)
    settings["OPTIONS"] = {"pool": {"min_size": 0, "max_size": 2, "timeout": 1}}
    configured = connections.configure_settings({"default": {}, "pooled": settings})
    connections.databases["pooled"] = configured["pooled"]
    try:
        with django_db_blocker.unblock():
            yield connections["pooled"]
    finally:
        connections["pooled"].close()
        connections["pooled"].close_pool()
        del connections["pooled"], connections.databases["pooled"]


def _environment(service: PostgreSQL) -> dict[str, str]:
    return {"DATABASE_URL": service.url, "DJANGO_SETTINGS_MODULE": POOL_SETTINGS}


def _enqueue(scene: Scene, count: int) -> None:
    call = f"enqueue({scene.alias!r}, {str(scene.ledger.path)!r}, {count}, 0.02)"
    script = scene.run_script(call)
    assert script.wait(timeout_s=60) == 0, script.log_tail()


def _wait_finished(scene: Scene, count: int) -> None:
    """Wait until so many tasks have run, each in one attempt."""
    try:
        wait_until(
            lambda: len(scene.ledger.entries("finished")) >= count,
            f"{count} tasks have run",
            timeout_s=FINISH_FOR_S,
        )
    except AssertionError as exc:
        exc.add_note(scene.logs()[-8000:])
        raise


# The other queues fork in the same ways: billiard's, and our own.
@pytest.mark.parametrize("queue", ["celery_redis", "background_tasks"])
def test_pool_of_connections_is_not_shared_with_a_new_process(pooled: Scene) -> None:
    """One that is started when its parent has long used the pool, too."""
    worker = pooled.start_worker()
    _enqueue(pooled, 15)
    _wait_finished(pooled, 15)
    before = tree_of(worker.pid).pool
    for process in before:
        process.kill()
    wait_until(
        lambda: len(set(tree_of(worker.pid).pool) - set(before)) == 2,
        "all processes of the pool are new",
    )
    _enqueue(pooled, 15)
    _wait_finished(pooled, 30)
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout_s=60) == 0, worker.log_tail()
    assert set(pooled.ledger.counts("started").values()) == {2}  # once by each script
    log = worker.log_text()
    assert "Threads run before the worker forks" not in log
    assert "cannot be" not in log
    assert "Traceback" not in log


def test_transaction_that_a_task_leaves_open_gives_its_connection_back_to_the_pool(
    small_pool: BaseDatabaseWrapper,
) -> None:
    alias = small_pool.alias
    for n in range(5):
        with restored_connections():
            transaction.atomic(using=alias).__enter__()
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [n])
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchone() == (0,)  # and each was rolled back


@pytest.mark.parametrize("queue", ["celery_redis", "django_q_orm", "background_tasks"])
def test_task_may_start_and_end_processes_and_burst_ends(pooled: Scene) -> None:
    """A pool of connections is open, here and when the worker forks."""
    _enqueue(pooled, 5)
    arguments = (pooled.alias, str(pooled.ledger.path), "use_processes")
    script = pooled.run_script(f"enqueue_task{arguments}")
    assert script.wait(timeout_s=60) == 0, script.log_tail()
    worker = pooled.start_worker("--burst", concurrency=1, ready=False)
    assert worker.wait(timeout_s=60) == 0, worker.log_tail()
    assert len(pooled.ledger.entries("finished")) == 6, worker.log_tail()
    assert worker.descendants() == []
