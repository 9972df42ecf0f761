"""Cancelling through the memory backend: what a worker and a dispatcher make of it."""

import asyncio
import copy
import threading
from datetime import timedelta
from unittest import mock

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction

import taskbridge
from taskbridge import Cancelling, TaskResult
from taskbridge.compat import TaskResultDoesNotExist, task_backends
from taskbridge.delivery import cancelling
from taskbridge.dispatcher import Dispatcher
from taskbridge.exceptions import StoreUnavailable
from taskbridge.execution import run
from taskbridge.models import TaskRecord
from taskbridge.store import Cancelled, handwork
from tests.unit import sample_tasks
from tests.unit.durable_tasks import ALIAS, fail_slowly, run_envelopes
from tests.unit.sample_tasks import add

pytestmark = pytest.mark.django_db(transaction=True)

CANCELLED = "taskbridge.exceptions.TaskCancelled"
seen = []


def elsewhere(call):
    """Call something in another thread, as another process would."""
    found = []

    def run_call():
        try:
            found.append(call())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run_call)
    thread.start()
    thread.join(30)
    return found[0]


def cancel_it(context):
    key = context.task_result.id
    return elsewhere(lambda: task_backends[ALIAS].get_result(key).cancel(by="ann"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(cancelling, "ASK_EVERY_S", 0)
    seen.clear()


@taskbridge.task(backend=ALIAS, takes_context=True, max_attempts=3, backoff=0)
def cancelled_meanwhile(context, end):
    seen.append(context.is_cancelled())
    cancel_it(context)
    seen.append(context.is_cancelled())
    if end == "raise":
        raise LookupError("of the task")
    if end == "object":
        return object()
    return "done"


@taskbridge.task(backend=ALIAS, takes_context=True)
def look_in_transaction(context):
    cancel_it(context)
    with transaction.atomic():
        TaskRecord.objects.count()
        seen.append(context.is_cancelled())


@taskbridge.task(backend=ALIAS, takes_context=True)
async def look_in_loop(context):
    await asyncio.to_thread(cancel_it, context)
    seen.append(context.is_cancelled())
    seen.append(await context.ais_cancelled())


@taskbridge.task(backend=ALIAS, takes_context=True)
def look_while_the_store_is_away(context, is_known):
    if is_known:
        cancel_it(context)
    answer = context.is_cancelled()
    with mock.patch.object(handwork.Handwork, "standing", side_effect=StoreUnavailable):
        seen.append(context.is_cancelled())
    assert answer == is_known


@taskbridge.task(backend=ALIAS, takes_context=True)
def look_after_deletion(context):
    elsewhere(TaskRecord.objects.all().delete)
    seen.append(context.is_cancelled())


@taskbridge.task(backend=ALIAS, takes_context=True)
def just_look(context):
    seen.append(context.is_cancelled())


def paths(result):
    return [error.exception_class_path for error in result.errors]


@pytest.mark.parametrize("delay", [None, timedelta(hours=1)])
def test_cancelled_task_that_waits_never_runs(queue, heard, delay):
    result = add.using(backend=ALIAS, run_after=delay).enqueue(1)
    assert result.cancel(by="ann") is Cancelling.ENDED
    assert (result.status, paths(result)) == ("FAILED", [CANCELLED])
    assert queue.run_due(ahead_s=10_000) == (0 if delay else 1)
    assert sample_tasks.calls == []
    assert [(r.id, r.status) for r in heard["finished"]] == [(result.id, "FAILED")]


def test_task_that_waits_for_its_next_attempt_keeps_its_errors(queue, heard):
    result = fail_slowly.enqueue()
    run_envelopes(queue)
    assert result.cancel() is Cancelling.ENDED
    assert paths(result) == ["builtins.ValueError", CANCELLED]
    assert queue.run_due(ahead_s=1000) == 0
    assert [r.status for r in heard["finished"]] == ["FAILED"]


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("return", []),
        ("raise", ["builtins.LookupError"]),
        ("object", ["builtins.TypeError"]),
    ],
)
def test_task_that_is_cancelled_as_it_runs_fails(queue, heard, caplog, end, error):
    result = cancelled_meanwhile.enqueue(end)
    queue.run_due()
    result.refresh()
    assert (result.status, result.attempts) == ("FAILED", 1)
    assert paths(result) == [*error, CANCELLED]
    assert "Cancelled by ann" in result.errors[-1].traceback
    assert seen == [False, True]
    [told] = heard["finished"]
    assert (told.status, paths(told)) == ("FAILED", paths(result))
    assert "after its lease was lost" not in caplog.text


def test_neighbours_in_a_chunk_of_a_cancelled_task_succeed(
    configured, heard, monkeypatch
):
    queue = configured(CHUNK=50)
    ids = [r.id for r in add.using(backend=ALIAS).enqueue_many([(1,), (2,), (3,)])]
    store = queue.store
    succeed = store.succeed

    def cancel_first(values, *, token):
        if len(values) == 3:
            assert store.cancel([ids[1]], by="ann").asked == {ids[1]}
        return succeed(values, token=token)

    monkeypatch.setattr(store, "succeed", cancel_first)
    run(queue.envelopes.pop().body)
    by_id = {r.id: r.status for r in store.get(ids)}
    assert by_id == {
        ids[0]: "SUCCESSFUL",
        ids[1]: "FAILED",
        ids[2]: "SUCCESSFUL",
    }
    told = sorted(r.status for r in heard["finished"])
    assert told == ["FAILED", "SUCCESSFUL", "SUCCESSFUL"]


@pytest.mark.parametrize("made", [copy.copy, copy.deepcopy])
def test_copy_of_a_result_is_one_of_its_own(made):
    result = add.using(backend=ALIAS).enqueue(1)
    other = made(result)
    assert (type(other), other) == (TaskResult, result)
    assert other.cancel(by="ann") is Cancelling.ENDED
    assert (other.status, len(other.errors)) == ("FAILED", 1)
    assert (result.status, result.errors) == ("READY", [])
    assert result.wait(timeout=0) == other


def test_finished_task_is_too_late_to_be_cancelled(queue, heard):
    result = add.using(backend=ALIAS).enqueue(1)
    run_envelopes(queue)
    assert result.cancel(kill=True) is Cancelling.TOO_LATE
    assert result.status == "SUCCESSFUL"
    assert len(heard["finished"]) == 1


def test_cancellation_counts_when_its_transaction_commits(queue, heard):
    result = add.using(backend=ALIAS).enqueue(1)
    with transaction.atomic():
        assert result.cancel() is Cancelling.ENDED
        assert heard["finished"] == []
    assert len(heard["finished"]) == 1


def test_lost_task_that_was_cancelled_is_not_run_again(queue, heard):
    result = add.using(backend=ALIAS).enqueue(1)
    store = queue.store
    store.claim([result.id], attempt=0, worker_ids=["w"], token="t", lease_s=-1)
    assert result.cancel(by="ann") is Cancelling.ASKED
    Dispatcher(queue).deliver_due()
    result.refresh()
    assert (result.status, paths(result)) == (
        *("FAILED",),
        ["taskbridge.exceptions.WorkerLost", CANCELLED],
    )
    assert [r.status for r in heard["finished"]] == ["FAILED"]


def test_cancelled_task_that_was_given_back_is_ended_by_a_dispatcher(queue, heard):
    result = add.using(backend=ALIAS).enqueue(1)
    store = queue.store
    store.claim([result.id], attempt=0, worker_ids=["w"], token="+t", lease_s=60)
    assert result.cancel(by="ann") is Cancelling.ASKED
    store.give_back([result.id], token="+t")
    queue.envelopes.clear()
    Dispatcher(queue).step()
    result.refresh()
    assert (result.status, paths(result)) == ("FAILED", [CANCELLED])
    assert (queue.envelopes, len(heard["finished"])) == ([], 1)


def given_back_and_cancelled(queue, count=1):
    results = add.using(backend=ALIAS).enqueue_many([(n,) for n in range(count)])
    ids = [result.id for result in results]
    queue.store.claim(ids, attempt=0, worker_ids=["w"], token="+t", lease_s=60)
    queue.store.cancel(ids, by="ann")
    queue.store.give_back(ids, token="+t")
    queue.envelopes.clear()
    return results


def test_cancelled_task_that_was_given_back_is_ended_during_a_pause(queue, heard):
    [result] = given_back_and_cancelled(queue)
    queue.store.pause("default", by="")
    assert queue.store.park_refused([result.id], "default", attempt=0) == 0
    assert Dispatcher(queue).deliver_due() == 1
    result.refresh()
    assert (result.status, paths(result)) == ("FAILED", [CANCELLED])
    assert (queue.envelopes, len(heard["finished"])) == ([], 1)


def test_cancelled_tasks_alone_do_not_end_a_burst(queue, monkeypatch):
    monkeypatch.setattr("taskbridge.dispatcher.BATCH", 2)
    results = given_back_and_cancelled(queue, 4)
    behind = add.using(backend=ALIAS).enqueue(1)
    queue.envelopes.clear()
    ids = [result.id for result in results]
    TaskRecord.objects.update(wake_at="2001-01-01T00:00:00Z", pushes=0)
    TaskRecord.objects.filter(pk__in=ids).update(wake_at="2000-01-01T00:00:00Z")
    assert Dispatcher(queue).deliver_due() == 5
    assert len(queue.envelopes) == 1
    assert queue.store.standing([behind.id])[0].status == "READY"


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (look_in_transaction, [True]),
        (look_in_loop, [True, True]),
        (look_after_deletion, [True]),
        (just_look, [False]),
    ],
)
def test_context_knows_of_a_cancellation(queue, task, expected):
    task.enqueue()
    run_envelopes(queue)
    assert seen == expected


@pytest.mark.parametrize("is_known", [True, False])
def test_last_answer_stands_while_the_store_is_away(queue, is_known):
    look_while_the_store_is_away.enqueue(is_known)
    run_envelopes(queue)
    assert seen == [is_known]


def test_context_asks_no_more_than_twice_a_second(queue, monkeypatch):
    monkeypatch.setattr(cancelling, "ASK_EVERY_S", 3600)
    cancelled_meanwhile.enqueue("return")
    queue.run_due()
    assert seen == [False, False]


def test_context_of_a_direct_call_is_not_cancelled():
    just_look()
    assert seen == [False]


def test_locked_record_is_said_to_be_locked(queue, monkeypatch):
    result = add.using(backend=ALIAS).enqueue(1)
    monkeypatch.setattr(
        queue.store, "cancel", lambda *_, **__: Cancelled(set(), set(), {result.id})
    )
    with pytest.raises(StoreUnavailable, match="keeps its record locked"):
        result.cancel()


def test_cancelling_asks_who_it_is(queue):
    result = add.using(backend=ALIAS).enqueue(1)
    with pytest.raises(ValueError, match="must say who"):
        result.cancel(by=" ")
    assert result.cancel() is Cancelling.ENDED
    assert "@" in TaskRecord.objects.get(pk=result.id).cancelled_by


@pytest.mark.parametrize("by", ["a\0b", "\ud800", " " * 255 + "ann", "\u200b"])
def test_whatever_text_says_who_it_is_is_kept(queue, by):
    result = add.using(backend=ALIAS).enqueue(1)
    assert result.cancel(by=by) is Cancelling.ENDED
    kept = TaskRecord.objects.get(pk=result.id).cancelled_by
    assert kept.strip()
    assert kept.isprintable()


def test_deleted_task_cannot_be_cancelled(queue):
    result = add.using(backend=ALIAS).enqueue(1)
    TaskRecord.objects.all().delete()
    with pytest.raises(TaskResultDoesNotExist):
        result.cancel()


def test_results_are_our_own_and_equal(queue):
    result = add.using(backend=ALIAS).enqueue(1)
    found = queue.get_result(result.id)
    result.refresh()
    assert type(result) is type(found) is TaskResult
    assert found == result
    assert not hasattr(result, "__dict__")


def test_acancel_cancels(queue):
    result = add.using(backend=ALIAS).enqueue(1)
    assert async_to_sync(result.acancel)(by="ann") is Cancelling.ENDED
