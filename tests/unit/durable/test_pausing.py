"""Pausing in the worker and the dispatcher; real workers are in tests/contract."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from taskbridge.dispatcher import BATCH, Dispatcher
from taskbridge.exceptions import NotDurable, StoreUnavailable
from taskbridge.identity import new_id
from taskbridge.management.subcommands import status
from taskbridge.models import PausedQueue, TaskRecord
from taskbridge.pausing import pause, paused, resume
from taskbridge.pulse import Pulse
from taskbridge.store import Worker
from taskbridge.store.parked import parked_at
from tests.unit import durable_tasks, sample_tasks
from tests.unit.durable.statements import Statements
from tests.unit.durable_tasks import ALIAS, run_envelopes

pytestmark = pytest.mark.django_db(transaction=True)
add = sample_tasks.add.using(backend=ALIAS)


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch):
    """Nobody remembers for a second what was paused."""
    monkeypatch.setattr("taskbridge.delivery.paused.LOOK_EVERY_S", 0)
    monkeypatch.setattr("taskbridge.dispatch.parking.LOOK_EVERY_S", 0)


def parked():
    return TaskRecord.objects.filter(wake_at=parked_at("default"), pushes=0)


def output_of(*arguments):
    out = StringIO()
    call_command("taskbridge", *arguments, stdout=out, no_color=True)
    return out.getvalue()


def test_refused_message_is_no_loss(queue):
    pause("default", backend=ALIAS)
    results = add.enqueue_many([(n,) for n in range(5)])
    run_envelopes(queue)
    assert sample_tasks.calls == []
    assert parked().count() == 5
    assert resume("default", backend=ALIAS)
    dispatcher = Dispatcher(queue)
    dispatcher.step()
    run_envelopes(queue)
    for result in results:
        result.refresh()
        assert (result.status, result.attempts) == ("SUCCESSFUL", 1)


def test_refused_chunk_is_parked_by_one_update(configured):
    queue = configured(CHUNK=10)
    pause("default", backend=ALIAS)
    add.enqueue_many([(n,) for n in range(10)])
    counted = Statements()
    with connection.execute_wrapper(counted):
        run_envelopes(queue)
    assert counted.verbs.count("UPDATE") == 2
    assert parked().count() == 10


def test_what_may_run_only_once_is_not_used_up(queue):
    pause("default", backend=ALIAS)
    result = durable_tasks.once.enqueue(1)
    run_envelopes(queue)
    resume("default", backend=ALIAS)
    Dispatcher(queue).step()
    run_envelopes(queue)
    result.refresh()
    assert (result.status, result.attempts) == ("SUCCESSFUL", 1)


def test_retry_that_comes_due_during_a_pause_waits(queue):
    result = durable_tasks.look_back.enqueue()
    run_envelopes(queue)
    pause("default", backend=ALIAS)
    dispatcher = Dispatcher(queue)
    dispatcher.step()
    assert queue.envelopes == []
    assert parked().count() == 1
    resume("default", backend=ALIAS)
    assert Dispatcher(queue).deliver_due() == 1
    run_envelopes(queue)
    result.refresh()
    assert result.attempts == 2


def test_attempt_lost_during_a_pause_is_ended_and_its_rerun_waits(queue):
    result = add.enqueue(1)
    queue.store.claim(
        [result.id], attempt=0, worker_ids=["gone:1"], token="gone", lease_s=-1
    )
    pause("default", backend=ALIAS)
    Dispatcher(queue).deliver_due()
    [record] = queue.store.get([result.id])
    assert (record.status, record.lost, record.wake_at) == (
        "READY",
        1,
        parked_at("default"),
    )
    resume("default", backend=ALIAS)
    queue.envelopes.clear()
    Dispatcher(queue).deliver_due()
    run_envelopes(queue)
    result.refresh()
    assert (result.status, result.attempts) == ("SUCCESSFUL", 2)


def test_delay_is_kept(queue):
    pause("default", backend=ALIAS)
    add.using(run_after=timedelta(hours=1)).enqueue(1)
    Dispatcher(queue).deliver_due()
    resume("default", backend=ALIAS)
    assert Dispatcher(queue).deliver_due() == 0
    assert queue.envelopes == []


def test_very_many_are_parked_and_hold_up_no_other_queue(queue):
    pause("default", backend=ALIAS)
    add.enqueue_many([(n,) for n in range(3 * BATCH)])
    other = add.using(queue_name="mail").enqueue(7)
    queue.envelopes.clear()
    # The others have waited for longer.
    TaskRecord.objects.update(wake_at="2000-01-01T00:00:00Z", pushes=0)
    TaskRecord.objects.filter(pk=other.id).update(wake_at="2001-01-01T00:00:00Z")
    dispatcher = Dispatcher(queue)
    dispatcher.deliver_due()
    assert len(queue.envelopes) == 1
    assert parked().count() == 3 * BATCH
    counted = Statements()
    assert dispatcher.step() > 0  # it looks for what is left, now
    with connection.execute_wrapper(counted):
        assert queue.store.look(horizon_s=0.5, limit=BATCH) == []
    assert counted.verbs == ["SELECT"]


def test_what_was_parked_as_the_pause_ended_is_delivered(queue):
    pause("default", backend=ALIAS)
    add.enqueue(1)
    run_envelopes(queue)
    PausedQueue.objects.all().delete()  # killed before anything was made due
    dispatcher = Dispatcher(queue)
    dispatcher.deliver_due()
    run_envelopes(queue)
    assert sample_tasks.calls == [(1, 0)]


def test_dispatcher_goes_on_with_what_is_left_over(queue, monkeypatch):
    """It looks again in its next step while there is more."""
    monkeypatch.setattr("taskbridge.store.pausing.LEFT_OVER_AT_ONCE", 2)
    monkeypatch.setattr("taskbridge.dispatch.parking.LOOK_EVERY_S", 3600)
    pause("default", backend=ALIAS)
    add.enqueue_many([(n,) for n in range(6)])
    run_envelopes(queue)
    PausedQueue.objects.all().delete()
    dispatcher = Dispatcher(queue)
    dispatcher.step()
    assert parked().count() == 4
    dispatcher.step()
    assert parked().count() == 2


def test_burst_ends_with_nothing_left_over(queue, monkeypatch):
    monkeypatch.setattr("taskbridge.store.pausing.LEFT_OVER_AT_ONCE", 2)
    monkeypatch.setattr("taskbridge.dispatch.parking.LOOK_EVERY_S", 3600)
    pause("default", backend=ALIAS)
    add.enqueue_many([(n,) for n in range(7)])
    run_envelopes(queue)
    PausedQueue.objects.all().delete()
    assert Dispatcher(queue).deliver_due() == 7
    run_envelopes(queue)
    assert len(sample_tasks.calls) == 7


def test_worker_that_refuses_what_is_paused_is_not_deaf(queue, monkeypatch):
    """It has taken something, and its queues are empty again."""
    pulse = Pulse(1)
    monkeypatch.setattr("taskbridge.pulse._ours", pulse)
    pause("default", backend=ALIAS)
    add.enqueue(1)
    assert pulse.taken_at == 0
    run_envelopes(queue)
    assert pulse.taken_at > 0
    assert queue.has_due(["default"]) in {False, None}
    pulse.close()


def test_pause_is_refused_by_name_where_it_cannot_be_kept(queue):
    with pytest.raises(NotDurable, match="has native delivery"):
        pause("default")
    with pytest.raises(ValueError, match="has no queue 'post'"):
        pause("post", backend=ALIAS)
    with pytest.raises(ValueError, match="has no queue 'post'"):
        resume("post", backend=ALIAS)
    assert paused(backend=ALIAS) == {}


def test_queue_that_has_left_the_settings_can_be_resumed(queue):
    queue.store.pause("former", by="")
    assert resume("former", backend=ALIAS)


def test_commands_pause_and_resume(queue, settings):
    settings.TASKS = {ALIAS: settings.TASKS[ALIAS]}
    at = ("--backend", ALIAS)
    said = output_of("pause", "mail", *at, "--by", "ann")
    assert "Queue 'mail' of Backend 'durable_default' (MemoryBackend) is pau" in said
    assert "was paused already" in output_of("pause", "mail", *at)
    add.using(queue_name="mail").enqueue(1)
    entry = json.loads(output_of("status", "--json"))[ALIAS]
    assert entry["paused"]["mail"]["by"] == "ann"
    assert entry["records"]["mail"]["waiting"] == 1
    text = output_of("status")
    assert "  mail: paused by ann since " in text
    assert "; 1 waiting; the oldest waits for " in text
    assert "; in the library: 1\n" in text
    report = json.loads(output_of("resume", "mail", *at, "--json"))
    expected = {"backend": ALIAS, "queue": "mail", "paused": False, "changed": True}
    assert report == expected
    assert "was not paused" in output_of("resume", "mail", *at)
    for command in ("pause", "resume"):
        with pytest.raises(CommandError, match="has no queue 'post'"):
            call_command("taskbridge", command, "post", *at)


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_command_says_that_the_database_is_away(queue, monkeypatch, command):
    def refuse(*args, **kwargs):
        raise StoreUnavailable("The database is away.")

    for name in ("pause", "resume"):
        monkeypatch.setattr(queue.store, name, refuse)
    with pytest.raises(CommandError, match="is away"):
        call_command("taskbridge", command, "default", "--backend", ALIAS)


@pytest.mark.parametrize("by", ["a\0b", "\ud800"])
def test_whatever_text_says_who_it_is_is_kept(queue, by):
    assert pause("default", backend=ALIAS, by=by)
    assert paused(backend=ALIAS)["default"].by.isprintable()


def test_status_says_where_it_has_not_counted_on(queue, settings, monkeypatch):
    """A queue of which nothing was counted is not said to have nothing."""
    settings.TASKS = {ALIAS: settings.TASKS[ALIAS]}
    monkeypatch.setattr(f"{status.__name__}.COUNTED_BY_QUEUE", 2)
    add.using(queue_name="mail").enqueue(1)
    assert "  default: nothing; in the library: 0\n" in output_of("status")
    add.using(queue_name="mail").enqueue_many([(1,), (2,)])
    text = output_of("status")
    assert "  default: 0 or more waiting, 0 or more delayed, 0 or more run" in text
    assert "  mail: 2 or more waiting, 0 or more delayed, " in text


def test_command_refuses_native_delivery(queue):
    with pytest.raises(CommandError, match="keeps no records: its DELIVERY is 'nat"):
        call_command("taskbridge", "pause", "default")


# Workers.


@pytest.fixture
def worker():
    return Worker(
        id=new_id(), host="here", pid=1, concurrency=2, queues=("a",), version="0"
    )


def test_dispatcher_says_that_its_worker_is_there_until_it_ends(queue, worker):
    dispatcher = Dispatcher(queue, worker=worker)
    dispatcher.step()
    assert [seen.worker for seen in queue.store.workers()] == [worker]
    counted = Statements()
    with connection.execute_wrapper(counted):
        dispatcher.step()
    assert "UPDATE" not in counted.verbs
    dispatcher.finish()
    assert queue.store.workers() == []


def test_worker_that_cannot_be_noted_stops_no_other_duty(queue, worker, monkeypatch):
    dispatcher = Dispatcher(queue, worker=worker)

    def away(_):
        raise StoreUnavailable("the table is locked")

    monkeypatch.setattr(type(queue.store), "see", lambda store, worker: away(worker))
    add.enqueue(1)
    queue.envelopes.clear()
    TaskRecord.objects.update(wake_at="2000-01-01T00:00:00Z")
    dispatcher.step()
    assert len(queue.envelopes) == 1


def test_status_tells_workers_and_what_they_run(queue, worker, settings):
    settings.TASKS = {ALIAS: settings.TASKS[ALIAS]}
    queue.store.see(worker)
    result = add.enqueue(1)
    queue.store.claim(
        [result.id], attempt=0, worker_ids=["here:12"], token="t", lease_s=60
    )
    text = output_of("status")
    lines = text[text.index("  worker here:1") :].splitlines()
    assert lines[0] == "  worker here:1 (0): alive, queues a, concurrency 2"
    task = sample_tasks.add.module_path
    assert lines[1].startswith(f"    here:12 runs {task} {result.id} for ")
    entry = json.loads(output_of("status", "--json"))[ALIAS]
    assert entry["workers"][0]["alive"]
    assert entry["running"][0]["id"] == result.id
