"""How PostgreSQL runs the statements of `DatabaseStore` on a table of a million rows.

No statement of a task's way, nor of a dispatcher, may read the whole table: finished
records are kept for days, and are many.
"""

import itertools
import re
import secrets

import dj_database_url
import pytest
from django.core.management import call_command
from django.db import connections, transaction

from taskbridge.models import TaskRecord
from taskbridge.store.database import DatabaseStore
from taskbridge.testing.services import PostgreSQL
from tests.conftest import started
from tests.unit.store_statements import DAY_S, calls, prune

FINISHED = 1_000_000
WAITING = 100_000
SECONDS_APART = 40 * DAY_S / (FINISHED + WAITING)
STATEMENTS = calls(500)
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


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_the_whole_table(store, name):
    scans = plans(store, STATEMENTS[name])
    assert name == "insert" or any("Index" in node for node, _ in scans)
    assert ("Seq Scan", TABLE) not in scans


@pytest.mark.parametrize("name", sorted({*STATEMENTS} - {"insert", "redirect-all"}))
def test_no_prepared_statement_reads_the_whole_table(store, name):
    """Sessions prepare them, and the plan is then the same for all parameters."""
    execute("plans", "SET LOCAL plan_cache_mode = force_generic_plan")
    scans = plans(store, STATEMENTS[name], explain=explain_prepared)
    assert any("Index" in node for node, _ in scans)
    assert ("Seq Scan", TABLE) not in scans


def test_reading_the_whole_table_would_be_noticed(store):
    def read_all(store):
        list(store._rows().filter(priority=0).values_list("task"))

    assert ("Seq Scan", TABLE) in plans(store, read_all)


@pytest.mark.parametrize("days", [(7, 30), (50, 50), (7, 45), (0, 0)])
def test_pruning_reads_no_record_that_it_keeps(store, days):
    """It comes by every minute, and failed records are kept for long."""
    call, seen = prune(*days), []

    def see(run, sql, parameters, many, context):
        if "MAX(finished_at)" in sql:
            seen.append(explained(f"ANALYZE, FORMAT JSON) {sql}", parameters))
        return run(sql, parameters, many, context)

    with connections["plans"].execute_wrapper(see):
        call(store)
    assert seen
    for nodes in seen:
        [scan] = [node for node in nodes if "Index Name" in node]
        assert scan["Index Name"] == "taskbridge_ended"
        assert scan.get("Rows Removed by Filter", 0) == 0
        assert scan["Actual Rows"] <= 1001  # it ends with the batch


def plans(store, call, explain=None):
    """Return the nodes of the plans of what a call executes."""
    seen = []

    def see(run, sql, parameters, many, context):
        if "SAVEPOINT" not in sql and not sql.startswith("SET CONSTRAINTS"):
            seen.append((sql, parameters))
        return run(sql, parameters, many, context)

    with connections["plans"].execute_wrapper(see):
        call(store)
    explain = explain or explain_once
    return [node for sql, parameters in seen for node in explain(sql, parameters)]


def explain_prepared(sql, parameters):
    numbers = (f"${n}" for n in itertools.count(1))
    prepared = re.sub("%s", lambda _: next(numbers), sql)
    with connections["plans"].connection.cursor() as cursor:
        cursor.execute(f"PREPARE explained AS {prepared}".encode())
    try:
        values = ", ".join(["%s"] * len(parameters))
        return explain_once(f"EXECUTE explained ({values})", parameters)
    finally:
        execute("plans", "DEALLOCATE explained")


def explain_once(sql, parameters):
    """Return the nodes of the plan, each with the table that it reads."""
    nodes = explained(f"FORMAT JSON) {sql}", parameters)
    return [(node["Node Type"], node.get("Relation Name")) for node in nodes]


def explained(what, parameters):
    with connections["plans"].connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN ({what}", parameters)
        nodes = [cursor.fetchone()[0][0]["Plan"]]
    for node in nodes:
        nodes.extend(node.get("Plans", ()))
    return nodes
