"""How PostgreSQL runs the statements of `DatabaseStore` on a table of a million rows.

No statement of a task's way, nor of a dispatcher, may read the whole table: finished
records are kept for days, and are many.
"""

import secrets

import dj_database_url
import pytest
from django.core.management import call_command
from django.db import connections, transaction

from taskbridge.models import TaskRecord
from taskbridge.store.database import DatabaseStore
from taskbridge.testing.services import PostgreSQL
from tests.conftest import started
from tests.unit.store_records import new_record

FINISHED = 1_000_000
WAITING = 100_000
DAY_S = 86_400
SECONDS_APART = 40 * DAY_S / (FINISHED + WAITING)
TABLE = TaskRecord._meta.db_table

# Spread over 40 days; every tenth has failed. Ids are ordered as those of new_id().
FILL = f"""
INSERT INTO {TABLE} (id, backend, task, queue_name, priority, arguments, enqueued_at,
    at_most_once, status, attempt, worker_ids, started_at, last_attempted_at,
    finished_at, wake_at, pushes, pushed_to, token)
SELECT (
    lpad(to_hex((extract(epoch FROM made) * 1000)::bigint), 12, '0')
    || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15)
  )::uuid,
  'default', 'shop.tasks.send', 'mail', 0, '[[42],{{}}]', made, false,
  CASE WHEN n > {FINISHED} THEN 'READY' WHEN n %% 10 = 0 THEN 'FAILED'
    ELSE 'SUCCESSFUL' END,
  CASE WHEN n > {FINISHED} THEN 0 ELSE 1 END, '["w"]', made, made,
  CASE WHEN n > {FINISHED} THEN NULL ELSE made + interval '1 second' END,
  CASE WHEN n > {FINISHED} THEN now() + (n - {FINISHED}) * interval '10 ms' END,
  1, 'here', 'token'
FROM (
  SELECT n, now() - %s * ({FINISHED + WAITING} - n) * interval '1 second' AS made
  FROM generate_series(1, {FINISHED + WAITING}) AS n
) AS numbers
"""


@pytest.fixture(scope="module")
def database(django_db_blocker):
    """The alias of a new database with a full table; its server may be another's."""
    service = started(PostgreSQL())
    server = dj_database_url.parse(service.url)
    plans = {**server, "NAME": f"plans_{secrets.token_hex(4)}"}
    added = {"default": {}, "server": server, "plans": plans}
    added = connections.configure_settings(added)
    del added["default"]
    connections.databases.update(added)
    try:
        with django_db_blocker.unblock():
            execute("server", f"CREATE DATABASE {plans['NAME']}")
            call_command("migrate", "taskbridge", database="plans", verbosity=0)
            execute("plans", FILL, [SECONDS_APART])
            execute("plans", f"ANALYZE {TABLE}")
            yield "plans"
            connections["plans"].close()
            execute("server", f"DROP DATABASE {plans['NAME']}")
    finally:
        for alias in added:
            connections[alias].close()
            del connections[alias], connections.databases[alias]
        service.close()


def execute(alias, sql, parameters=()):
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)


@pytest.fixture
def store(database, monkeypatch):
    monkeypatch.setattr(DatabaseStore, "_database", database)
    with transaction.atomic(using=database):
        yield DatabaseStore("default")
        transaction.set_rollback(True, using=database)


def due_ids(store, limit):
    due = store.look(horizon_s=DAY_S, limit=limit)
    assert len(due) == limit
    return [each.id for each in due]


def claim(store, count, attempt=0):
    store.claim(
        due_ids(store, count),
        attempt=attempt,
        worker_ids="[]",
        token="token",
        lease_s=5,
        again=True,
    )


def finish(name):
    def call(store):
        key = due_ids(store, 1)[0]
        getattr(store, name)(
            key,
            token="token",
            errors="[]",
            **({"after_s": 1} if name == "retry" else {}),
        )

    return call


def take(store, count):
    store.take(due_ids(store, count), token="t", again_s=5, pushed_to="here")


def prune(successful_days, failed_days):
    def call(store):
        days = (successful_days, failed_days)
        successful_s, failed_s = (None if d is None else d * DAY_S for d in days)
        store.prune(successful_s=successful_s, failed_s=failed_s, limit=1000)

    return call


STATEMENTS = {
    "insert": lambda s: s.insert([new_record() for _ in range(1000)], None),
    "look": lambda s: s.look(horizon_s=0.5, limit=500),
    "look-far": lambda s: s.look(horizon_s=DAY_S, limit=500),
    "take-one": lambda s: take(s, 1),
    "take-500": lambda s: take(s, 500),
    "put_back": lambda s: s.put_back(due_ids(s, 500), token="token", after_s=1),
    "claim-one": lambda s: claim(s, 1),
    "claim-500": lambda s: claim(s, 500),
    "claim-again": lambda s: claim(s, 500, attempt=9),
    "extend": lambda s: s.extend(due_ids(s, 500), token="token", lease_s=5),
    "succeed": lambda s: s.succeed(
        {key: key for key in due_ids(s, 500)}, token="token"
    ),
    "retry": finish("retry"),
    "fail": finish("fail"),
    "expire": lambda s: s.expire(s.get(due_ids(s, 1))[0], errors="[]", rerun=True),
    "redirect-none": lambda s: s.redirect("here"),
    "redirect-all": lambda s: s.redirect("there"),
    "get": lambda s: s.get(due_ids(s, 500)),
    "prune-default": prune(7, 30),
    "prune-nothing": prune(50, 50),
    "prune-failed": prune(None, 30),
    "prune-no-failed": prune(None, 45),
    "prune-successful": prune(7, None),
    "prune-everything": prune(0, 0),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_the_whole_table(store, name):
    scans = plans(store, STATEMENTS[name])
    assert name == "insert" or any("Index" in node for node, _ in scans)
    assert ("Seq Scan", TABLE) not in scans


def test_reading_the_whole_table_would_be_noticed(store):
    """As counts() does, which says so."""
    assert ("Seq Scan", TABLE) in plans(store, DatabaseStore.counts)


def plans(store, call):
    """Return the nodes of the plans of what a call executes."""
    seen = []

    def see(run, sql, parameters, many, context):
        seen.append((sql, parameters))
        return run(sql, parameters, many, context)

    with connections["plans"].execute_wrapper(see):
        call(store)
    return [node for sql, parameters in seen for node in explain(sql, parameters)]


def explain(sql, parameters):
    """Return the nodes of the plan, each with the table that it reads."""
    with connections["plans"].cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        nodes = [cursor.fetchone()[0][0]["Plan"]]
    for node in nodes:
        nodes.extend(node.get("Plans", ()))
    return [(node["Node Type"], node.get("Relation Name")) for node in nodes]
