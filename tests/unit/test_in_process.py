"""Tasks in threads of a web process; real servers are in tests/contract."""

import asyncio
import re
import threading
import time
from importlib import import_module

import pytest
from django.core import checks
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import CommandError, call_command
from django.test.client import ClientHandler

import taskbridge
from taskbridge import Cancelling, doorbell
from taskbridge.attempt.handlers import is_interrupted, note_handlers
from taskbridge.compat import InvalidTask, task_backends, task_finished
from taskbridge.dispatcher import Dispatcher
from taskbridge.in_process import lifecycle
from taskbridge.in_process.threads import Threads
from taskbridge.models import TaskRecord
from taskbridge.testing import tasks
from taskbridge.testing.harness import wait_until
from taskbridge.testing.ledger import Ledger
from tests.settings import UNREACHABLE, on, using

pytestmark = pytest.mark.django_db(transaction=True)

BROKER = f"redis://{UNREACHABLE}/0"


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def backend(settings):
    """One whose broker is away; nobody asks it."""
    settings.TASKS = {
        "default": using(on("celery", BROKER_URL=BROKER), IN_PROCESS=2, LEASE=2)
    }
    return task_backends["default"]


@pytest.fixture
def threads(backend):
    """Those of a process that serves."""
    found = Threads(backend)
    found.start()
    yield found
    found.tell_to_stop()
    found.join(time.monotonic() + 20)
    doorbell._bells.clear()


def gate(tmp_path):
    return tmp_path / "gate"


def test_enqueued_task_asks_no_broker_and_is_due_at_once(backend, ledger, caplog):
    result = tasks.record.enqueue(str(ledger.path), "a")
    assert caplog.text == ""
    [due] = backend.store.look(horizon_s=0, limit=10)
    assert (due.id, due.status, due.pushes) == (result.id.replace("-", ""), "READY", 0)


def test_enqueuing_rings_when_it_is_committed(backend, ledger):
    from django.db import transaction

    rung = threading.Event()
    doorbell.hang("default", rung.set)
    try:
        with transaction.atomic():
            tasks.record.enqueue(str(ledger.path), "a")
            assert not rung.is_set()
        assert rung.is_set()
    finally:
        doorbell._bells.clear()


def test_channel_is_another_than_that_of_workers(backend, settings):
    settings.TASKS = {"default": on("celery", BROKER_URL=BROKER)}
    assert task_backends["default"].channel != backend.channel


def test_no_more_is_taken_than_there_are_idle_threads(threads, ledger, tmp_path):
    for key in "abc":
        tasks.record_at_gate.enqueue(str(ledger.path), key, str(gate(tmp_path)))
    wait_until(lambda: len(ledger.entries("started")) == 2, "two have started")
    wait_until(lambda: _statuses() == {"READY": 1, "RUNNING": 2}, "two are claimed")
    assert TaskRecord.objects.get(status="READY").pushes == 0
    gate(tmp_path).touch()
    wait_until(lambda: _statuses() == {"SUCCESSFUL": 3}, "all have run")


def test_higher_priority_runs_first_though_it_is_enqueued_later(
    threads, ledger, tmp_path
):
    path, last = str(ledger.path), tmp_path / "last"
    for key, until in (("a", last), ("b", gate(tmp_path))):
        tasks.record_at_gate.enqueue(path, key, str(until))
    wait_until(lambda: len(ledger.entries("started")) == 2, "both threads are busy")
    for priority in (0, 50):
        task = tasks.record_at_gate.using(priority=priority)
        for n in range(2):
            task.enqueue(path, f"{priority}-{n}", str(gate(tmp_path)))
    gate(tmp_path).touch()
    # One thread runs them: two would race to write which of theirs has started.
    wait_until(lambda: len(ledger.entries("finished")) == 5, "all but one have run")
    last.touch()
    third_and_fourth = {entry.key for entry in ledger.entries("started")[2:4]}
    assert third_and_fourth == {"50-0", "50-1"}


def test_failed_task_is_saved_and_its_thread_goes_on(threads, ledger):
    for _ in range(3):
        tasks.interrupt.enqueue(str(ledger.path), "a")
    wait_until(lambda: _statuses() == {"FAILED": 3}, "all have failed")
    tasks.record.enqueue(str(ledger.path), "b")
    wait_until(lambda: _statuses() == {"FAILED": 3, "SUCCESSFUL": 1}, "it goes on")


def test_late_task_is_left_to_its_lease(backend, ledger, tmp_path, caplog):
    threads = Threads(backend)
    threads.start()
    tasks.record_at_gate.enqueue(str(ledger.path), "a", str(gate(tmp_path)))
    wait_until(lambda: ledger.entries("started"), "it has started")
    threads.tell_to_stop()
    threads.join(time.monotonic() + 0.1)
    assert "1 tasks did not finish in time and are cut off" in caplog.text
    gate(tmp_path).touch()
    threads.join(time.monotonic() + 20)
    doorbell._bells.clear()


def test_lost_attempt_is_seen_behind_a_backlog_that_nobody_has_room_for(
    backend, ledger, monkeypatch
):
    monkeypatch.setattr("taskbridge.dispatcher.BATCH", 2)
    lost = tasks.record.enqueue(str(ledger.path), "lost")
    assert backend.store.claim(
        [lost.id], attempt=0, worker_ids=["gone:1"], token="gone", lease_s=0.01
    )
    record = TaskRecord.objects.get(pk=lost.id)
    for key in "abc":
        tasks.record.enqueue(str(ledger.path), key)
    TaskRecord.objects.filter(status="READY").update(
        wake_at=record.wake_at.min.replace(year=2000, tzinfo=record.wake_at.tzinfo)
    )
    dispatcher = Dispatcher(backend, hands=_Full(backend))
    wait_until(
        lambda: (
            dispatcher.step() >= 0
            and TaskRecord.objects.get(pk=lost.id).status == "READY"
        ),
        "it is recovered",
    )


class _Full:
    room = 0

    def __init__(self, backend):
        self.queues = backend.queues
        self.channel = backend.channel
        self.durable_options = backend.durable_options

    def push(self, envelopes):
        raise AssertionError("there is no room")

    def queue_depths(self):
        return {}


def test_task_that_was_cancelled_and_given_back_is_told_of_by_its_backend(
    backend, ledger
):
    told = []

    def on_finished(sender, **kwargs):
        told.append(sender)

    result = tasks.record.enqueue(str(ledger.path), "a")
    store = backend.store
    store.claim([result.id], attempt=0, worker_ids=["w"], token="+t", lease_s=60)
    assert result.cancel() is Cancelling.ASKED
    store.give_back([result.id], token="+t")
    threads = Threads(backend)
    task_finished.connect(on_finished)
    try:
        threads.start()
        wait_until(lambda: told, "it is told of")
    finally:
        threads.tell_to_stop()
        threads.join(time.monotonic() + 20)
        doorbell._bells.clear()
        task_finished.disconnect(on_finished)
    assert told == [type(backend)]
    assert _statuses() == {"FAILED": 1}


def test_timeout_is_refused_where_the_task_is_defined(backend):
    function = tasks.record.func
    words = r"cannot honour timeout=5 in durable delivery with OPTIONS\['IN_PROCESS'\]"
    with pytest.raises(InvalidTask, match=words):
        taskbridge.task(timeout=5)(function)
    assert taskbridge.task(max_attempts=5)(function)


def test_native_delivery_is_an_error(settings):
    settings.TASKS = {
        "default": on("background_tasks", DELIVERY="native", IN_PROCESS=2)
    }
    [error] = [m for m in checks.run_checks() if m.id == "taskbridge.E008"]
    assert "OPTIONS['IN_PROCESS'] needs durable delivery" in error.msg


@pytest.mark.parametrize("value", [0, "2", True])
def test_number_of_threads_is_a_whole_number(settings, value):
    settings.TASKS = {"default": on("background_tasks", IN_PROCESS=value)}
    assert "taskbridge.E003" in {m.id for m in checks.run_checks()}


def test_status_asks_no_broker(backend, ledger, capsys):
    tasks.record.enqueue(str(ledger.path), "a")
    call_command("taskbridge", "status", no_color=True)
    assert re.fullmatch(
        "default: CeleryBackend, durable delivery\n"
        "  runs in 2 threads in each web process\n"
        "  default: 1 waiting; the oldest waits for .+\n"
        "  tasks: 1 READY\n",
        capsys.readouterr().out,
    )


def test_dispatcher_alone_is_refused(backend):
    with pytest.raises(CommandError, match="each web process has its own dispatcher"):
        call_command("taskbridge", "dispatcher")


@pytest.mark.parametrize(
    ("argv", "reloaded", "serves"),
    [
        ("manage.py runserver", "", False),
        ("manage.py runserver", "true", True),
        ("manage.py runserver --noreload", "", True),
        ("manage.py migrate", "true", False),
        ("manage.py", "true", False),
    ],
)
def test_runserver_serves_in_the_process_that_is_reloaded(
    monkeypatch, argv, reloaded, serves
):
    monkeypatch.setenv("RUN_MAIN", reloaded)
    assert lifecycle._is_runserver(argv.split()) is serves


def test_requests_of_tests_start_nothing(monkeypatch):
    started = []
    monkeypatch.setattr(lifecycle, "start", lambda: started.append(1))
    lifecycle._on_request(WSGIHandler)  # this is a run of tests
    state = import_module("django.test.utils")._TestState
    monkeypatch.delattr(state, "saved_data")
    for handler in (ClientHandler, _HandlerOfAnother):
        lifecycle._on_request(handler)
    assert not started
    lifecycle._on_request(WSGIHandler)
    assert started


class _HandlerOfAnother(ClientHandler):
    """As Django REST framework's client has one."""


def test_lifespan_starts_and_stops(monkeypatch):
    said = []
    monkeypatch.setattr(lifecycle, "start", lambda: said.append("start"))
    monkeypatch.setattr(lifecycle, "stop", lambda: said.append("stop"))
    asked = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive():
        return {"type": next(asked)}

    async def send(message):
        said.append(message["type"])

    asyncio.run(lifecycle._live(receive, send))
    assert said == [
        *("start", "lifespan.startup.complete"),
        *("stop", "lifespan.shutdown.complete"),
    ]


def test_exception_in_a_thread_is_the_tasks_own():
    """Handlers of signals run in the main thread."""
    note_handlers()
    exc = KeyboardInterrupt()
    assert is_interrupted(exc)
    found = []
    thread = threading.Thread(target=lambda: found.append(is_interrupted(exc)))
    thread.start()
    thread.join()
    assert found == [False]


def _statuses():
    found = {}
    for status in TaskRecord.objects.values_list("status", flat=True):
        found[status] = found.get(status, 0) + 1
    return found
