"""What each class of database error means: away, this row, or a bug."""

import sqlite3
import threading

import psycopg
import pymysql
import pytest
from django.db import Error, IntegrityError, OperationalError, connection, connections
from django.db.transaction import TransactionManagementError, atomic
from psycopg.errors import lookup

from taskbridge.exceptions import StoreUnavailable
from taskbridge.models import TaskRecord
from taskbridge.store import Json
from taskbridge.store.database import DatabaseStore
from taskbridge.store.errors import AWAY, BUG, ROW, meaning_of
from taskbridge.store.record import uuid_or_hex
from tests.unit.store_records import added, claim, new_record, race

PSYCOPG = {
    AWAY: [
        *("08000", "08003", "08006", "08P01"),
        *("25006", "25P03", "26000", "28P01", "3D000", "3F000"),
        *("40001", "40P01", "42501", "42703", "42P01"),
        *("53100", "53200", "53300", "55P03", "55006"),
        *("57014", "57P01", "57P02", "57P03", "57P04", "57P05", "58030"),
        *("0A000", "XX000"),
    ],
    ROW: ["22001", "22P05", "23502", "23503", "23514", "54000", "P0001", "44000"],
    BUG: ["42601", "42804", "25P02", "25001", "34000"],
}
MYSQL = {
    AWAY: [
        *(1040, 1203, 1226, 1205, 1213, 1020, 1290, 1836, 1792, 1021, 1114),
        *(1053, 1317, 1927, 1969, 3024, 1047, 1146, 1142, 1045, 4031),
        *(2002, 2003, 2006, 2013, 2055),
    ],
    ROW: [1048, 1062, 1264, 1366, 1406, 1452, 4025, 3819, 1153, 1644, 2020],
    BUG: [1064, 2034],
}
SQLITE = {
    AWAY: [
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY),
        *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_FULL),
        *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM),
        *(sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_INTERRUPT),
    ],
    ROW: [
        *(sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_CONSTRAINT_TRIGGER),
        *(sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH),
    ],
    BUG: [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISUSE],
}


class Psycopg2Error(Exception):
    """An exception of psycopg2, which names its code otherwise."""

    def __init__(self, code):
        super().__init__("failed")
        self.pgcode = code


def each(table):
    return [(code, meaning) for meaning, codes in table.items() for code in codes]


def caused(cause, kind=OperationalError):
    exc = kind(str(cause))
    exc.__cause__ = cause
    return exc


def sqlite_error(code, text="failed"):
    exc = sqlite3.OperationalError(text)
    exc.sqlite_errorcode = code
    return exc


@pytest.mark.parametrize(("code", "meaning"), each(PSYCOPG))
def test_error_of_postgresql_has_the_meaning_of_its_code(code, meaning):
    assert meaning_of(caused(lookup(code)())) is meaning
    assert meaning_of(caused(Psycopg2Error(code))) is meaning


@pytest.mark.parametrize(("number", "meaning"), each(MYSQL))
def test_error_of_mysql_has_the_meaning_of_its_number(number, meaning):
    kind = pymysql.err.error_map.get(number, pymysql.err.OperationalError)
    assert meaning_of(caused(kind(number, "failed"))) is meaning


@pytest.mark.parametrize(("code", "meaning"), each(SQLITE))
def test_error_of_sqlite_has_the_meaning_of_its_code(code, meaning):
    assert meaning_of(caused(sqlite_error(code))) is meaning


def test_error_of_sqlite_without_a_code_of_its_own_has_that_of_its_text():
    missing = sqlite_error(sqlite3.SQLITE_ERROR, "no such table: taskbridge")
    wrong = sqlite_error(sqlite3.SQLITE_ERROR, 'near "SELEKT": syntax error')
    assert meaning_of(caused(missing)) is AWAY
    assert meaning_of(caused(wrong)) is BUG


@pytest.mark.parametrize(
    ("exc", "meaning"),
    [
        (caused(psycopg.OperationalError("connection refused")), AWAY),
        (caused(pymysql.err.InterfaceError(0, "")), AWAY),
        (OperationalError("raised by somebody's wrapper"), AWAY),
        (IntegrityError("so is this"), ROW),
        (TransactionManagementError("An error occurred in this block."), BUG),
        (LookupError("no error of a database"), BUG),
    ],
)
def test_error_without_a_code_has_the_meaning_of_its_class(exc, meaning):
    assert meaning_of(exc) is meaning


# As the databases themselves raise them.


def needs(*vendors):
    return pytest.mark.skipif(
        f"connection.vendor not in {vendors}", reason="Others have no such error."
    )


@pytest.fixture
def other():
    """A connection of somebody else."""
    other = connections["default"].copy()
    yield other
    other.close()


@pytest.fixture
def fresh():
    """Let no other test have the connection of this one."""
    yield
    connections["default"].close()


def execute(*statements, on=None):
    with (on or connection).cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, [])


def store_in_trouble(*statements):
    """Return a store, with a record that this statement has made trouble for."""
    store = DatabaseStore("default")
    record_id = added(store)
    execute(*statements)
    return store, record_id


READ_ONLY = {
    "sqlite": ["PRAGMA query_only = 1"],
    "postgresql": ["SET default_transaction_read_only = on"],
    "mysql": ["SET SESSION TRANSACTION READ ONLY"],
}


@pytest.mark.django_db(transaction=True)
def test_read_only_database_is_away(fresh):
    store, record_id = store_in_trouble(*READ_ONLY[connection.vendor])
    with pytest.raises(StoreUnavailable, match=r"read.?only|READ ONLY"):
        claim(store, record_id, "worker")


SOON = {
    "sqlite": ["PRAGMA busy_timeout = 100"],
    "postgresql": ["SET lock_timeout = '100ms'"],
    "mysql": ["SET innodb_lock_wait_timeout = 1"],
}


@pytest.mark.django_db(transaction=True)
def test_lock_that_is_waited_for_too_long_is_away(fresh, other):
    store, record_id = store_in_trouble(*SOON[connection.vendor])
    other.set_autocommit(False)
    execute("UPDATE taskbridge_taskrecord SET queue_name = 'locked'", on=other)
    with pytest.raises(StoreUnavailable, match=r"(?i:lock)"):
        claim(store, record_id, "worker")
    other.rollback()
    assert claim(store, record_id, "worker")


STATEMENT_TIMEOUT = {
    "postgresql": ["SET statement_timeout = '100ms'"],
    "mysql": ["SET max_statement_time = 0.1"],
}


@needs("postgresql", "mysql")
@pytest.mark.django_db(transaction=True)
def test_statement_that_times_out_is_away(fresh, other):
    store, record_id = store_in_trouble(*STATEMENT_TIMEOUT[connection.vendor])
    other.set_autocommit(False)
    execute("UPDATE taskbridge_taskrecord SET queue_name = 'locked'", on=other)
    with pytest.raises(StoreUnavailable, match=r"timeout|max_statement_time"):
        claim(store, record_id, "worker")
    other.rollback()


@needs("postgresql", "mysql")
@pytest.mark.django_db(transaction=True)
def test_connection_that_was_terminated_is_away(fresh, other):
    store, record_id = store_in_trouble()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_backend_pid()")
            kill = "SELECT pg_terminate_backend({})"
        else:
            cursor.execute("SELECT CONNECTION_ID()")
            kill = "KILL {}"
        execute(kill.format(cursor.fetchone()[0]), on=other)
    with pytest.raises(StoreUnavailable):
        claim(store, record_id, "worker")
    assert claim(store, record_id, "worker")


LEVEL = {
    "postgresql": "CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL",
    "mysql": "TRANSACTION ISOLATION LEVEL",
}


def touch(record_id):
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE taskbridge_taskrecord SET pushes = pushes + 1 WHERE id = %s",
            [uuid_or_hex(connection)(record_id)],
        )


@needs("postgresql", "mysql")
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.django_db(transaction=True)
def test_conflict_of_transactions_is_away(fresh, other, level):
    """A serialization failure, or a deadlock: each of them has what the other wants."""
    store = DatabaseStore("default")
    first, second = added(store), added(store)
    both = threading.Barrier(2)

    def cross(here, there):
        execute(f"SET SESSION {LEVEL[connection.vendor]} {level}")
        try:
            with atomic():
                touch(here)
                both.wait(timeout=20)
                touch(there)
        except Error as exc:
            return meaning_of(exc)
        return None

    assert set(race(lambda: cross(first, second), lambda: cross(second, first))) == {
        AWAY,
        None,
    }


@needs("sqlite")
@pytest.mark.django_db(transaction=True)
def test_full_disk_is_away(fresh):
    store, _ = store_in_trouble()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA page_count")
        execute(f"PRAGMA max_page_count = {cursor.fetchone()[0]}")
    with pytest.raises(StoreUnavailable, match="full"):
        for _ in range(100):
            added(store, arguments=Json(f'[["{"x" * 1_000_000}"],{{}}]'))


@pytest.mark.django_db(transaction=True)
def test_row_that_the_database_refuses_is_not_away():
    store = DatabaseStore("default")
    with pytest.raises(Error) as raised:
        store.insert([new_record(queue_name=None)], None)
    assert meaning_of(raised.value) is ROW
    assert not TaskRecord.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_transaction_that_is_broken_is_a_bug():
    store, record_id = store_in_trouble()
    with atomic():
        connection.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            claim(store, record_id, "worker")
