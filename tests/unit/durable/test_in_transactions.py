"""Tasks that run inside somebody's transaction, as in a TestCase of a project."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test import TestCase

import taskbridge
from taskbridge.message import seal
from taskbridge.models import TaskRecord
from taskbridge.results import message_of_result
from tests.unit import durable_tasks, sample_tasks
from tests.unit.durable_tasks import run_envelopes

ALIAS = "durable_default"
add = sample_tasks.add.using(backend=ALIAS)


@taskbridge.task(backend=ALIAS, takes_context=True, max_attempts=2, backoff=0)
def break_transaction(context, how):
    """Leave the transaction in the way that is asked for."""
    TaskRecord.objects.filter(pk=context.task_result.id).update(pushed_to="written")
    sample_tasks.calls.append((how, context.attempt))
    if how == "orm":
        [record] = TaskRecord.objects.all()
        TaskRecord.objects.bulk_create([record])  # the key is there
    elif how == "sql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")
    elif how == "open":
        transaction.atomic().__enter__()
    elif how == "durable":
        with transaction.atomic(durable=True):
            pass


@taskbridge.task(backend=ALIAS, takes_context=True)
async def ask_in_loop(context):
    return await context.ais_cancelled()


@taskbridge.task(backend=ALIAS, takes_context=True, max_attempts=3, backoff=60)
def succeed_at_last(context):
    sample_tasks.calls.append((context.attempt,))
    if context.attempt < 3:
        raise OSError("the service is away")


@pytest.fixture
def no_waiting(monkeypatch):
    """Whoever waits for the database fails."""

    def refuse(seconds):
        raise AssertionError(f"waited for {seconds} s inside a transaction")

    monkeypatch.setattr("taskbridge.patience.time.sleep", refuse)


@pytest.mark.usefixtures("queue", "no_waiting")
class TestInTestCase(TestCase):
    """With the recipe of docs/durable.md."""

    @pytest.fixture(autouse=True)
    def _given(self, queue, caplog):
        self.queue, self.caplog = queue, caplog

    def run_one(self, task, *args):
        with self.captureOnCommitCallbacks(execute=True):
            result = task.enqueue(*args)
        self.queue.run_due()
        result.refresh()
        return result

    def test_task_that_meets_an_error_of_the_database_fails(self):
        for how in ("orm", "sql"):
            with self.subTest(how):
                TaskRecord.objects.all().delete()
                result = self.run_one(break_transaction, how)
                assert (result.status, result.attempts) == ("FAILED", 2)
                assert "Error" in result.errors[0].exception_class_path

    def test_test_goes_on_after_it(self):
        self.run_one(break_transaction, "orm")
        assert TaskRecord.objects.count() == 1
        assert self.run_one(add, 1).status == "SUCCESSFUL"

    def test_block_that_a_task_leaves_open_goes_back(self):
        result = self.run_one(break_transaction, "open")
        assert result.status == "SUCCESSFUL"
        assert TaskRecord.objects.get().pushed_to != "written"
        assert "left a transaction open" in self.caplog.text

    def test_task_may_have_a_durable_block(self):
        result = self.run_one(break_transaction, "durable")
        assert result.status == "SUCCESSFUL"
        assert TaskRecord.objects.get().pushed_to == "written"

    def test_task_in_a_loop_is_not_taken_for_deleted(self):
        assert self.run_one(ask_in_loop).return_value is False

    def test_failure_of_a_task_undoes_nothing_that_it_wrote(self):
        with self.captureOnCommitCallbacks(execute=True):
            write_and_fail.enqueue()
        self.queue.run_due()
        assert TaskRecord.objects.get().pushed_to == "written"


@taskbridge.task(backend=ALIAS)
def write_and_fail():
    TaskRecord.objects.update(pushed_to="written")
    raise LookupError("no error of the database")


@pytest.mark.django_db(transaction=True)
def test_transaction_that_was_broken_before_is_told_at_once(queue, no_waiting, caplog):
    add.enqueue(1)
    with transaction.atomic():
        transaction.set_rollback(True)
        run_envelopes(queue)
    assert "Tasks were not started" in caplog.text


# Retries and delayed tasks, which a dispatcher delivers where there is one.


@pytest.mark.django_db(transaction=True)
def test_retries_and_delayed_tasks_run_when_they_are_due(queue):
    retried = succeed_at_last.enqueue()
    delayed = add.using(run_after=timedelta(hours=1)).enqueue(1)

    def statuses():
        return [queue.get_result(r.id).status for r in (retried, delayed)]

    assert queue.run_due() == 1
    assert statuses() == ["READY", "READY"]
    assert queue.run_due(ahead_s=120) == 2
    assert statuses() == ["SUCCESSFUL", "READY"]
    assert queue.run_due(ahead_s=7200) == 1
    assert statuses() == ["SUCCESSFUL", "SUCCESSFUL"]


@pytest.mark.django_db
def test_retry_without_backoff_runs_in_the_same_call(queue, monkeypatch):
    """Also in a transaction, for which the clock of PostgreSQL stands still."""
    result = durable_tasks.look_back.enqueue()
    queue.push(seal([message_of_result(result, durable=True)]))
    assert queue.run_due() == 3
    assert queue.get_result(result.id).status == "SUCCESSFUL"


@pytest.mark.django_db(transaction=True)
def test_task_that_always_fails_does_not_keep_a_test_for_ever(queue):
    result = durable_tasks.fail_for_ever.enqueue()
    assert queue.run_due() == 101
    assert queue.get_result(result.id).status == "READY"
