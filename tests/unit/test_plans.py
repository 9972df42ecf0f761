"""How the database of the run finds the records that a statement is about.

See test_store_plans, too, for PostgreSQL and a million of them.
"""

import pytest
from django.db import connection
from django.db.models import F

from taskbridge.models import TaskRecord
from taskbridge.rows import insert_rows
from taskbridge.store import statements
from taskbridge.store.database import DatabaseStore
from taskbridge.store.record import INSERTED, values_of
from tests.unit.store_records import new_record
from tests.unit.store_statements import DAY_S, calls

pytestmark = pytest.mark.django_db

FINISHED = 20_000
WAITING = 60
STATEMENTS = calls(50)
TABLE = statements.TABLE
ANALYZE = {"postgresql": f"ANALYZE {TABLE}", "mysql": f"ANALYZE TABLE {TABLE}"}
"""SQLite has nobody who does it."""


@pytest.fixture(scope="module", autouse=True)
def records(django_db_setup, django_db_blocker):
    """A tenth have failed, and some wait."""
    with django_db_blocker.unblock():
        rows = (values_of(new_record(), connection, {}) for _ in range(FINISHED))
        insert_rows("default", TABLE, INSERTED, list(rows))
        done = {"finished_at": F("enqueued_at"), "wake_at": None}
        TaskRecord.objects.update(status="SUCCESSFUL", **done)
        failed = TaskRecord.objects.order_by("pk")[: FINISHED // 10]
        keys = list(failed.values_list("pk", flat=True))
        for start in range(0, len(keys), 500):
            some = TaskRecord.objects.filter(pk__in=keys[start : start + 500])
            some.update(status="FAILED")
        rows = (values_of(new_record(), connection, {}) for _ in range(WAITING))
        insert_rows("default", TABLE, INSERTED, list(rows))
        with connection.cursor() as cursor:
            if analyze := ANALYZE.get(connection.vendor):
                cursor.execute(analyze)
        try:
            yield
        finally:
            TaskRecord.objects.all().delete()


@pytest.fixture
def store():
    return DatabaseStore("default")


@pytest.mark.parametrize("name", sorted({*STATEMENTS} - {"insert"}))
def test_no_statement_reads_the_whole_table(store, name):
    read = plans(lambda: STATEMENTS[name](store))
    assert read
    assert [how for how in read if is_whole(how)] == []


@pytest.mark.parametrize("days", [(7, 30), (0, None), (None, 0), (0, 0)])
def test_old_records_are_found_by_their_index(store, days):
    successful_s, failed_s = (None if d is None else d * DAY_S for d in days)

    def prune():
        for _ in range(2):  # the second time it goes on from there
            store.prune(successful_s=successful_s, failed_s=failed_s, limit=100)

    found = plans(prune, only="MAX(finished_at)")
    assert len(found) >= 2
    for how in found:
        assert "taskbridge_ended" in how
        if connection.vendor == "sqlite":
            assert "finished_at>? AND finished_at<?" in how or "finished_at<?" in how


def test_reading_the_whole_table_would_be_noticed():
    read = plans(lambda: list(TaskRecord.objects.filter(priority=0)))
    assert [how for how in read if is_whole(how)] == read


def plans(call, only=""):
    """Return how the statements of a call read the table, as the database says it."""
    seen = []

    def see(run, sql, parameters, many, context):
        if TABLE in sql and only in sql:
            seen.extend(EXPLAIN[connection.vendor](sql, parameters))
        return run(sql, parameters, many, context)

    with connection.execute_wrapper(see):
        call()
    return seen


def is_whole(how):
    """Whether a table is read from its beginning to its end."""
    return how.startswith(("SCAN", "Seq Scan", "ALL", "index "))


def explained(sql, parameters):
    with connection.connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def on_sqlite(sql, parameters):
    with connection.cursor() as cursor:
        cursor.db.execute_wrappers, kept = [], cursor.db.execute_wrappers
        try:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
            return [row[3] for row in cursor.fetchall() if TABLE in row[3]]
        finally:
            cursor.db.execute_wrappers = kept


def on_postgresql(sql, parameters):
    nodes = [explained(f"EXPLAIN (FORMAT JSON) {sql}", parameters)[0][0][0]["Plan"]]
    for node in nodes:
        nodes.extend(node.get("Plans", ()))
    read = [node for node in nodes if "Scan" in node["Node Type"]]
    return [
        f"{node['Node Type']} {node.get('Index Name')}"
        for node in read
        if node.get("Relation Name") == TABLE or "Index Name" in node
    ]


def on_mysql(sql, parameters):
    rows = explained(f"EXPLAIN {sql}", parameters)
    # id, select_type, table, [partitions,] type, possible_keys, key, ...
    return [f"{row[3]} {row[5]}" for row in rows if row[2] not in {None, "<derived2>"}]


EXPLAIN = {"sqlite": on_sqlite, "postgresql": on_postgresql, "mysql": on_mysql}
