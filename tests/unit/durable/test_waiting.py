"""Waiting for a result, and what a task that is waited for in vain is said to do."""

import threading
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError

from taskbridge import handles
from taskbridge.compat import TaskResultDoesNotExist
from taskbridge.models import TaskRecord
from tests.unit.durable_tasks import ALIAS, fail_slowly, run_envelopes
from tests.unit.sample_tasks import add

pytestmark = pytest.mark.django_db(transaction=True)


def waits(how, result, timeout):
    if how == "sync":
        return result.wait(timeout)
    return async_to_sync(result.await_result)(timeout)


@pytest.fixture(params=["sync", "async"])
def how(request):
    return request.param


def test_wait_returns_the_finished_result(queue, how):
    result = add.using(backend=ALIAS).enqueue(1)

    def run_later():
        try:
            run_envelopes(queue)
        finally:
            connections.close_all()

    thread = threading.Timer(0.2, run_later)
    thread.start()
    assert waits(how, result, 30) is result
    thread.join()
    assert (result.status, result.return_value) == ("SUCCESSFUL", 1)


def test_wait_for_what_has_finished_asks_nothing(queue, how, django_assert_num_queries):
    result = add.using(backend=ALIAS).enqueue(1)
    run_envelopes(queue)
    assert waits(how, result, 0).status == "SUCCESSFUL"
    with django_assert_num_queries(0):
        waits(how, result, 0)


def test_failed_task_has_finished(queue, how):
    result = add.using(backend=ALIAS).enqueue(1)
    result.cancel()
    assert waits(how, queue.get_result(result.id), 0).status == "FAILED"


def test_timeout_tells_that_nobody_has_taken_it(queue, how):
    result = add.using(backend=ALIAS, queue_name="mail").enqueue(1)
    with pytest.raises(TimeoutError) as caught:
        waits(how, result, timedelta(milliseconds=30))
    assert str(caught.value).startswith(
        f"Task id={result.id} path=tests.unit.sample_tasks.add has not finished within "
        f"0.03 s: it waits in queue 'mail' since 20"
    )
    assert "does a worker take from that queue?" in str(caught.value)


def test_timeout_tells_until_when_it_is_delayed(queue):
    result = add.using(backend=ALIAS, run_after=timedelta(hours=2)).enqueue(1)
    with pytest.raises(TimeoutError, match=r"it is delayed until \d{4}-"):
        result.wait(0)


def test_timeout_tells_that_its_queue_is_paused(queue):
    result = add.using(backend=ALIAS, queue_name="mail").enqueue(1)
    queue.store.pause("mail", by="ann")
    queue.store.park_refused([result.id], "mail", attempt=0)
    with pytest.raises(TimeoutError, match="it waits in queue 'mail', which is paused"):
        result.wait(0)


def test_timeout_tells_who_runs_it(queue):
    result = add.using(backend=ALIAS).enqueue(1)
    queue.store.claim(
        [result.id], attempt=0, worker_ids=["host:7"], token="t", lease_s=60
    )
    with pytest.raises(TimeoutError, match=r"it runs since 20.* on host:7, in attempt"):
        result.wait(0)
    result.cancel(by="ann")
    with pytest.raises(TimeoutError, match=r"1, and was cancelled by ann\.$"):
        result.wait(0)


def test_timeout_tells_which_error_it_is_retried_after(queue):
    result = fail_slowly.enqueue()
    run_envelopes(queue)
    with pytest.raises(
        TimeoutError,
        match=r"waits until 20.* for its next attempt, after attempt 1 ended with Val",
    ):
        result.wait(0)


def test_wait_in_a_transaction_is_refused(queue, how):
    with transaction.atomic():
        result = add.using(backend=ALIAS).enqueue(1)
        with pytest.raises(TransactionManagementError, match="Wait after the block"):
            waits(how, result, None)


def test_wait_for_a_deleted_task_ends(queue, how):
    result = add.using(backend=ALIAS).enqueue(1)
    TaskRecord.objects.all().delete()
    with pytest.raises(TaskResultDoesNotExist):
        waits(how, result, None)


def test_wait_without_autocommit_is_in_a_transaction(queue):
    result = add.using(backend=ALIAS).enqueue(1)
    transaction.set_autocommit(False)
    try:
        with pytest.raises(TransactionManagementError, match="Wait after the block"):
            result.wait(timeout=0.01)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


def test_pauses_grow_from_ten_milliseconds_to_a_second():
    pauses = handles._pauses(None)
    found = [next(pauses) for _ in range(20)]
    assert found[0] == 0.01
    assert found == sorted(found)
    assert found[-1] == 1
