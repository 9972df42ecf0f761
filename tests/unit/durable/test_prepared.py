"""Prepared statements of a session, which PostgreSQL has, and poolers have not."""

import contextlib
from types import SimpleNamespace

import psycopg
import pytest
from django.db import connection, connections

from taskbridge.exceptions import StoreUnavailable
from taskbridge.store import Json, prepared
from taskbridge.store.database import DatabaseStore
from taskbridge.store.session import close_sessions
from tests.unit.durable import pooler
from tests.unit.store_records import added

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 12
"""Five before a statement is prepared, and five more until one plan does for all."""


@pytest.fixture
def on_postgresql():
    if connection.vendor != "postgresql":
        pytest.skip("Only PostgreSQL prepares statements.")


@pytest.fixture(autouse=True)
def forgotten():
    """What was learnt of poolers is not known before and after."""
    before = set(prepared._unprepared)
    prepared._unprepared.clear()
    close_sessions()
    yield
    close_sessions()
    prepared._unprepared.clear()
    prepared._unprepared.update(before)


class Pooled:
    """Sessions that lead through a pooler; the connection of the test does not."""

    def __init__(self, port):
        self.store = own_store()
        self.port = port

    @contextlib.contextmanager
    def server_taken(self):
        """Have another client take the server that is free, until the end."""
        database = connection.settings_dict
        with psycopg.connect(
            f"postgresql://127.0.0.1:{self.port}/{database['NAME']}?user=other"
        ) as other:
            other.execute("SELECT 1")
            yield


@pytest.fixture
def pooled(on_postgresql, tmp_path, monkeypatch):
    connection.ensure_connection()
    with pooler.running(tmp_path) as port, monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "HOST", "127.0.0.1")
        patched.setitem(connection.settings_dict, "PORT", port)
        yield Pooled(port)
        close_sessions()


@contextlib.contextmanager
def session(store):
    with store.session(answer_s=30):
        yield connections[store._database]


def own_store():
    """A store with a session that no other thread closes."""
    store = DatabaseStore("default")
    store.stay_in_session(answer_s=30)
    return store


def run(store, count):
    """Claim, extend and finish so many records, with a statement for each, and look."""
    ids = [added(DatabaseStore("default")) for _ in range(count)]
    claimed = {"worker_ids": ["w:1"], "token": "t", "lease_s": 30}
    assert len(store.claim(ids, attempt=0, **claimed)) == count
    store.extend(ids, token="t", lease_s=30)
    store.look(horizon_s=0.5, limit=200)
    values = {key: Json.of(None) for key in ids}
    assert store.succeed(values, token="t") == count


def statements(store):
    """Return what is prepared on the connection of the session, with its plans."""
    with session(store) as own, own.cursor() as cursor:
        cursor.execute(
            "SELECT split_part(btrim(statement, E'\\n'), ' ', 1), generic_plans, "
            "custom_plans FROM pg_prepared_statements"
        )
        return cursor.fetchall()


def test_statements_are_planned_once_for_any_number_of_records(on_postgresql):
    store = own_store()
    for count in range(1, 30):
        run(store, count)
    found = statements(store)
    assert sorted(verb for verb, *_ in found) == [
        "SELECT",
        "UPDATE",
        "UPDATE",
        "UPDATE",
    ]
    # Of a look PostgreSQL may find a better plan, by when the records are due.
    plans = [counts for verb, *counts in found if verb == "UPDATE"]
    assert [custom for _, custom in plans] == [5, 5, 5], found
    assert all(generic > 10 for generic, _ in plans)


def test_connections_of_the_project_prepare_nothing(on_postgresql):
    run(own_store(), 1)
    assert connection.connection.prepare_threshold is None


def test_names_of_two_sessions_differ(on_postgresql):
    store, names = own_store(), []
    for _ in range(2):
        for _ in range(ROUNDS):
            run(store, 1)
        with session(store) as own, own.cursor() as cursor:
            cursor.execute("SELECT name FROM pg_prepared_statements")
            names.append({name for (name,) in cursor.fetchall()})
        close_sessions()
    first, second = names
    assert first
    assert second
    assert not first & second


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"DISABLE_SERVER_SIDE_CURSORS": True},
        {"OPTIONS": {"server_side_binding": True}},
        {"OPTIONS": {"server_side_binding": False}},
        {"OPTIONS": {"server_side_binding": True, "prepare_threshold": None}},
    ],
)
def test_nothing_is_prepared_behind_a_pooler(pooled, monkeypatch, settings):
    for name, value in settings.items():
        monkeypatch.setitem(connection.settings_dict, name, value)
    for _ in range(ROUNDS):
        run(pooled.store, 2)
    with pooled.server_taken():
        run(pooled.store, 2)
    with session(pooled.store) as own:
        assert own.connection.prepare_threshold is None


def test_pooler_that_is_not_noticed_ends_preparing(pooled, monkeypatch):
    unique = prepared.is_direct
    monkeypatch.setattr(prepared, "is_direct", lambda own: unique(own) or True)
    for _ in range(ROUNDS):
        run(pooled.store, 1)
    with pooled.server_taken():
        with pytest.raises(StoreUnavailable, match="does not exist"):
            run(pooled.store, 1)
        run(pooled.store, 1)
    assert prepared._unprepared == {"default"}
    with session(pooled.store) as own:
        assert own.connection.prepare_threshold is None


@pytest.mark.parametrize("state", ["26000", "42P05", "08P01"])
def test_errors_about_prepared_statements_end_preparing(state):
    driver = type("Error", (Exception,), {"sqlstate": state})()
    wrapped = StoreUnavailable("a pooler")
    wrapped.__cause__ = driver
    prepared.note_error("there", wrapped)
    assert prepared._unprepared == {"there"}


def test_other_errors_do_not(monkeypatch):
    prepared.note_error("there", StoreUnavailable("it is down"))
    assert prepared._unprepared == set()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"vendor": "sqlite"}, False),
        ({"Database": SimpleNamespace(__name__="psycopg2")}, False),
        ({"settings_dict": {"OPTIONS": {"pool": True}}}, True),
        ({"settings_dict": {"OPTIONS": {"prepare_threshold": 0}}}, False),
        ({"settings_dict": {"OPTIONS": {"server_side_binding": False}}}, False),
        (
            {"settings_dict": {"OPTIONS": {}, "DISABLE_SERVER_SIDE_CURSORS": True}},
            False,
        ),
    ],
)
def test_settings_say_whether_statements_are_prepared(changes, expected):
    usual = {
        "vendor": "postgresql",
        "alias": "default",
        "Database": SimpleNamespace(__name__="psycopg"),
        "settings_dict": {"OPTIONS": {}},
    }
    assert prepared.prepares(SimpleNamespace(**{**usual, **changes})) is expected
