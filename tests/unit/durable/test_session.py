"""The connection of its own on which a worker claims, extends and finishes."""

import contextlib
import socket
import threading
import time

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.signals import connection_created

import taskbridge
from taskbridge.delivery.lease import LeaseKeeper
from taskbridge.dispatcher import Dispatcher
from taskbridge.exceptions import StoreUnavailable
from taskbridge.models import TaskRecord
from taskbridge.patience import insist
from taskbridge.store import session as sessions
from taskbridge.store.factory import open_store
from taskbridge.store.session import Session, close_sessions, session_of
from taskbridge.testing.harness import wait_until
from tests.unit import sample_tasks
from tests.unit.durable_tasks import run_envelopes

pytestmark = pytest.mark.django_db(transaction=True)

ALIAS = "durable_default"
add = sample_tasks.add.using(backend=ALIAS)

LEFT_BEHIND = {
    "sqlite": ["PRAGMA query_only = 1"],
    "postgresql": [
        "SET default_transaction_read_only = on",
        "SET search_path = pg_catalog",
        "SET ROLE pg_monitor",
    ],
    "mysql": ["SET SESSION TRANSACTION READ ONLY", "USE information_schema"],
}


@taskbridge.task(backend=ALIAS)
def leave_setting(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


@taskbridge.task(backend=ALIAS)
def work_long(seconds):
    time.sleep(seconds)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(
        "taskbridge.options.DurableOptions.patience_s", property(lambda self: 0.2)
    )


@pytest.fixture
def opened():
    """The connections that are opened in the test."""
    seen = []

    def note(connection, **kwargs):
        seen.append(connection)

    connection_created.connect(note)
    yield seen
    connection_created.disconnect(note)


@pytest.fixture
def readable():
    """Make the connection of the test as it was before."""
    yield
    connection.close()


def test_setting_that_a_task_leaves_behind_harms_no_record(queue, impatient, readable):
    for statement in LEFT_BEHIND[connection.vendor]:
        results = [leave_setting.enqueue(statement), add.enqueue(1)]
        queue.run_due()
        connection.close()
        found = [queue.get_result(result.id) for result in results]
        assert [result.status for result in found] == ["SUCCESSFUL"] * 2
    assert sample_tasks.calls == [(1, 0)] * len(LEFT_BEHIND[connection.vendor])


def test_task_is_claimed_extended_and_finished_on_one_connection(queue, opened):
    """Its thread has none before, and none is opened for a lease."""
    result = work_long.enqueue(3)  # LEASE is 2
    connections.close_all()
    opened.clear()
    run_envelopes(queue)
    assert [c.alias for c in opened] == ["default"]
    assert opened[0] is not connections["default"]
    record = TaskRecord.objects.get()
    assert (record.status, record.lost) == ("SUCCESSFUL", 0)
    assert record.pk.hex == result.id


def test_nothing_is_claimed_without_a_connection_for_its_lease(
    queue, impatient, monkeypatch, caplog
):
    def refuse(self, like):
        raise OperationalError("too many connections")

    result = add.enqueue(1)
    with monkeypatch.context() as patched:
        patched.setattr(Session, "opened", refuse)
        run_envelopes(queue)
    assert "Tasks were not started" in caplog.text
    assert "too many connections" in caplog.text
    assert sample_tasks.calls == []
    assert queue.get_result(result.id).status == "READY"


def test_server_that_refuses_connections_is_waited_for(queue, impatient, monkeypatch):
    """Connecting raises the driver's own errors, as Django has it."""
    away = connections["default"].Database.OperationalError("unable to open database")
    tries = []

    def refuse(self, *args, **kwargs):
        tries.append(1)
        raise away

    close_sessions()
    add.enqueue(1)
    close_sessions()
    made = type(connections["default"])
    with monkeypatch.context() as patched:
        patched.setattr(made, "get_new_connection", refuse)
        run_envelopes(queue)
    assert len(tries) > 1
    assert TaskRecord.objects.get().status == "READY"


def test_success_is_kept_until_the_server_takes_connections_again(queue, monkeypatch):
    made = type(connections["default"])
    connect = made.get_new_connection
    tries = []

    def refuse_twice(self, *args, **kwargs):
        tries.append(1)
        if len(tries) <= 2:
            raise self.Database.OperationalError("unable to open database file")
        return connect(self, *args, **kwargs)

    def lose_the_session(number):
        close_sessions()
        monkeypatch.setattr(made, "get_new_connection", refuse_twice)

    monkeypatch.setattr(sample_tasks, "on_add", lose_the_session, raising=False)
    result = lose_session.enqueue(1)
    run_envelopes(queue)
    found = queue.get_result(result.id)
    assert (found.status, found.return_value) == ("SUCCESSFUL", 1)
    assert len(tries) > 2


@taskbridge.task(backend=ALIAS)
def lose_session(number):
    sample_tasks.on_add(number)
    return number


def test_records_of_a_transaction_are_written_on_its_connection(queue, opened):
    """As in a TestCase, from which nobody else sees anything."""
    add.enqueue(1)
    close_sessions()
    opened.clear()
    with transaction.atomic():
        queue.run_due()
    assert opened == []
    assert TaskRecord.objects.get().status == "SUCCESSFUL"


def test_statement_after_a_failure_has_a_fresh_connection(queue):
    seen = []

    def fail_first(tries):
        with queue.store.session(answer_s=5):
            seen.append(connection.connection)
            if not tries:
                raise StoreUnavailable("this session is of no use")

    insist(fail_first, StoreUnavailable, for_s=5)
    assert len(set(map(id, seen))) == 2


def test_dispatcher_looks_on_a_connection_that_is_watched(queue, opened):
    store = open_store(ALIAS)
    store.stay_in_session(answer_s=60)
    close_sessions()
    connections.close_all()
    opened.clear()
    result = add.enqueue(1)
    for _ in range(2):
        assert [record.id for record in store.get([result.id])] == [result.id]
    assert store.look(horizon_s=3600, limit=10)
    assert [c is connections["default"] for c in opened] == [True, False]


def test_threads_of_a_dispatcher_do_not_wait_for_each_other(queue):
    result = add.enqueue(1)
    store = open_store(ALIAS)
    store.stay_in_session(answer_s=60)
    asking, may_end = threading.Event(), threading.Event()

    def ask():
        with store.session(answer_s=60):
            asking.set()
            may_end.wait(60)
        close_sessions()

    other = threading.Thread(target=ask)
    other.start()
    assert asking.wait(60)
    try:
        assert [record.id for record in store.get([result.id])] == [result.id]
        assert not may_end.is_set()
    finally:
        may_end.set()
        other.join()


def test_lease_of_a_task_that_has_ended_long_ago_is_not_extended(queue):
    """Its finish hangs: others are to recover it."""
    result = add.enqueue(1)
    queue.store.claim([result.id], attempt=0, worker_ids=["w"], token="w", lease_s=0.5)
    keeper = LeaseKeeper(queue.store, 0.5)
    with keeper.hold("w") as hold:
        hold.begin([result.id], time.monotonic())
        hold.until = time.monotonic()
        wait_until(
            lambda: Dispatcher(queue).step() is not None and _is_lost(result),
            "it is recovered",
        )


def _is_lost(result):
    return TaskRecord.objects.get(pk=result.id).lost == 1


def test_session_of_the_parent_is_left_alone_in_a_fork(queue, monkeypatch):
    with queue.store.session(answer_s=5):
        pass
    ours = session_of("default")
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert session_of("default") is not ours
    close_sessions()
    monkeypatch.undo()
    assert ours._connection.connection is not None
    for key in [key for key in sessions._sessions if key[0] == -1]:
        del sessions._sessions[key]


def test_session_knows_no_pool(queue, monkeypatch):
    theirs = connections["default"]
    options = {**theirs.settings_dict["OPTIONS"], "pool": {"max_size": 1}}
    monkeypatch.setitem(theirs.settings_dict, "OPTIONS", options)
    own = sessions._new(theirs)
    assert "pool" not in own.settings_dict["OPTIONS"]
    assert theirs.settings_dict["OPTIONS"]["pool"]


# A connection that has gone silent.


class Silent:
    """What `Session` sees of a connection whose server never answers."""

    def __init__(self):
        self._ours, self.server = socket.socketpair()
        self.settings_dict = {"NAME": "silent"}
        self.connection = self._ours

    def ask(self):
        self._ours.sendall(b"?")
        if not self._ours.recv(1):
            raise StoreUnavailable("the connection was closed")

    def close(self):
        self._ours.close()
        self.server.close()


@pytest.fixture
def silent():
    silent = Silent()
    yield silent
    silent.close()


@contextlib.contextmanager
def asking(session, silent, answer_s):
    """Take a session for a statement on a silent connection."""
    with session.taken(answer_s=answer_s):
        session._connection = silent
        session._socket = sessions._socket_of(silent.connection)
        yield


def test_silent_connection_is_cut_off_by_another_thread(silent):
    session = Session("silent")
    failures = []

    def ask():
        try:
            with asking(session, silent, answer_s=0.2):
                silent.ask()
        except StoreUnavailable as exc:
            failures.append(exc)

    asker = threading.Thread(target=ask)
    asker.start()
    silent.server.recv(1)  # it has asked
    wait_until(lambda: session.cut_if_silent() or failures, "it was cut off")
    asker.join()
    assert failures[0].waited_s >= 0.2


def test_silent_connection_is_cut_off_where_no_other_thread_is(silent):
    session = Session("silent")
    with (
        pytest.raises(StoreUnavailable, match="was closed"),
        asking(session, silent, answer_s=0.2),
        session.watched(),
    ):
        silent.ask()


def test_statement_that_is_answered_in_time_is_left_alone(silent):
    session = Session("silent")
    with asking(session, silent, answer_s=60):
        session.cut_if_silent()
        silent.server.sendall(b"!")
        silent.ask()
    session.cut_if_silent()
    assert session._socket is not None
    session.close()


def test_patience_is_not_used_up_by_a_statement_that_was_given_up():
    """A database that makes all wait for a lock is not away."""
    tries = []

    def wait_for_a_lock(before):
        tries.append(before)
        time.sleep(0.15)
        if before < 3:
            exc = StoreUnavailable("cut off")
            exc.waited_s = 0.15
            raise exc
        return "done"

    assert insist(wait_for_a_lock, StoreUnavailable, for_s=0.5) == "done"
    assert tries == [0, 1, 2, 3]
