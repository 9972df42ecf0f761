"""A record and its message join the transaction of who enqueues."""

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.http import HttpResponse
from django.urls import path

from taskbridge.compat import (
    TaskResultStatus,
    task_finished,
)
from taskbridge.models import TaskRecord
from tests.unit import durable_tasks, sample_tasks
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)
add = sample_tasks.add.using(backend=ALIAS)


def test_rollback_leaves_no_record_no_message_and_no_signal(queue, heard):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        result = add.enqueue(1)
        assert len(result.id) == 32
        raise ZeroDivisionError
    assert (TaskRecord.objects.count(), queue.envelopes) == (0, [])
    assert heard["enqueued"] == []


def test_commit_lets_the_message_go(queue, heard):
    with transaction.atomic():
        result = add.enqueue(1)
        assert (queue.envelopes, heard["enqueued"]) == ([], [])
    assert len(queue.envelopes) == 1
    assert [r.id for r in heard["enqueued"]] == [result.id]


def test_rollback_to_a_savepoint_takes_only_what_was_inside(queue):
    with transaction.atomic():
        add.enqueue(1)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            add.enqueue(2)
            raise ZeroDivisionError
        add.enqueue(3)
    queue.run_due()
    assert [call[0] for call in sample_tasks.calls] == [1, 3]


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_only_the_transaction_of_the_records_database_counts(queue):
    with pytest.raises(ZeroDivisionError), transaction.atomic(using="other"):
        add.enqueue(1)
        assert len(queue.envelopes) == 1
        raise ZeroDivisionError
    assert TaskRecord.objects.using("default").count() == 1


class ToOther:
    def db_for_write(self, model, **hints):
        return "other" if model is TaskRecord else None

    db_for_read = db_for_write


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_router_says_where_records_are(configured, settings):
    settings.DATABASE_ROUTERS = [ToOther()]
    queue = configured()
    with transaction.atomic():  # of "default"
        with transaction.atomic(using="other"):
            result = add.enqueue(1)
            assert queue.envelopes == []
        assert len(queue.envelopes) == 1
    queue.run_due()
    result.refresh()
    assert result.status == TaskResultStatus.SUCCESSFUL
    settings.DATABASE_ROUTERS = []
    assert TaskRecord.objects.using("default").count() == 0
    assert TaskRecord.objects.using("other").count() == 1


def enqueue_and_fail(request):
    add.enqueue(1)
    if "fail" in request.GET:
        raise ZeroDivisionError
    return HttpResponse("done")


urlpatterns = [path("", enqueue_and_fail)]


def test_atomic_requests_holds_for_tasks(queue, client, settings, monkeypatch):
    settings.ROOT_URLCONF = __name__
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    with pytest.raises(ZeroDivisionError):
        client.get("/?fail")
    assert (TaskRecord.objects.count(), queue.envelopes) == (0, [])
    client.get("/")
    assert len(queue.envelopes) == 1


def test_aenqueue_joins_the_transaction_of_its_thread(queue):
    from asgiref.sync import async_to_sync

    async def enqueue():
        await add.aenqueue(1)
        await add.aenqueue_many([(2,), (3,)])
        assert await sync_to_async(lambda: len(queue.envelopes))() == expected

    expected = 0
    with transaction.atomic():
        async_to_sync(enqueue)()
    assert len(queue.envelopes) == 3
    expected = 6
    async_to_sync(enqueue)()


def test_enqueue_without_autocommit_is_refused_before_anything_is_written(queue):
    transaction.set_autocommit(False)
    try:
        with pytest.raises(
            transaction.TransactionManagementError, match="autocommit off"
        ):
            add.enqueue(1)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert TaskRecord.objects.count() == 0


@pytest.mark.parametrize("leave", ["atomic", "autocommit", "broken"])
def test_transaction_that_a_task_leaves_behind_harms_nobody(queue, leave, caplog):
    result = durable_tasks.leave_connection.enqueue(leave)
    neighbours = add.enqueue_many([(1,), (2,)])
    queue.run_due()
    for each in (result, *neighbours):
        each.refresh()
        assert each.status == TaskResultStatus.SUCCESSFUL
    assert ("left a transaction open" in caplog.text) == (leave == "atomic")


@pytest.mark.parametrize(
    ("name", "args", "status"),
    [
        ("break_down", [], TaskResultStatus.FAILED),
        ("echo", ["word"], TaskResultStatus.SUCCESSFUL),
    ],
)
def test_transaction_that_a_receiver_leaves_behind_harms_nobody(
    queue, name, args, status, caplog
):
    def leave_open(sender, **kwargs):
        transaction.atomic().__enter__()

    first = getattr(sample_tasks, name).using(backend=ALIAS).enqueue(*args)
    task_finished.connect(leave_open)
    try:
        queue.run_due()
    finally:
        task_finished.disconnect(leave_open)
    assert "left a transaction open" in caplog.text
    neighbours = add.enqueue_many([(1,), (2,)])
    queue.run_due()
    for each in (first, *neighbours):
        each.refresh()
    assert [each.status for each in (first, *neighbours)] == [
        *(status, *[TaskResultStatus.SUCCESSFUL] * 2)
    ]


def test_connection_that_cannot_be_left_costs_no_success(queue, monkeypatch, caplog):
    def refuse(connection, before):
        raise OSError("the socket is gone")

    monkeypatch.setattr("taskbridge.attempt.connections._restore", refuse)
    result = add.enqueue(1)
    queue.run_due()
    assert "the socket is gone" in caplog.text
    result.refresh()
    assert result.status == TaskResultStatus.SUCCESSFUL
