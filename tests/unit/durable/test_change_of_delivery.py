"""What is left of the other kind of delivery after DELIVERY was changed."""

import json
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core import checks
from django.core.management import call_command
from django.db.models import F
from django.utils import timezone

import taskbridge
from taskbridge.compat import TaskResultStatus, task_backends
from taskbridge.dispatcher import Dispatcher
from taskbridge.execution import run
from taskbridge.management.subcommands.worker import tell_of_stranded
from taskbridge.message import pack, sign
from taskbridge.models import TaskRecord
from taskbridge.results import message_of_result, new_result
from tests.unit import sample_tasks
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)
add = sample_tasks.add.using(backend=ALIAS)


def status(*arguments):
    out = StringIO()
    call_command("taskbridge", "status", *arguments, stdout=out, no_color=True)
    return out.getvalue()


def warnings(**options):
    return [m for m in checks.run_checks(**options) if m.id == "taskbridge.W004"]


# From durable delivery to native.


@pytest.fixture
def only(settings):
    """Leave one alias in TASKS, with this kind of delivery."""

    def only(delivery):
        entry = settings.TASKS[ALIAS]
        options = {"DELIVERY": delivery}
        settings.TASKS = {ALIAS: {**entry, "OPTIONS": options}}

    return only


def test_records_without_a_dispatcher_are_told(queue, only):
    add.enqueue_many([(n,) for n in range(3)])
    queue.run_due()
    waiting = [add.using(run_after=timedelta(hours=1)).enqueue(n) for n in range(2)]
    TaskRecord.objects.filter(pk=waiting[0].id).update(status="RUNNING")
    only("native")
    assert json.loads(status("--json"))[ALIAS]["stranded"] == 2
    assert "2 tasks have a record and wait for durable delivery" in status()
    [warning] = warnings(databases=["default"])
    assert f"Backend {ALIAS!r}" in warning.msg
    assert "2 tasks have a record" in warning.msg
    assert "Run a worker with DELIVERY = 'durable' until" in warning.hint
    assert warnings() == []  # it was not asked to look into the database


def test_start_of_a_native_worker_tells_of_records(queue, only, caplog):
    add.enqueue(1)
    only("native")
    tell_of_stranded(task_backends[ALIAS])
    assert "1 tasks have a record and wait for durable delivery" in caplog.text


@pytest.mark.parametrize("delivery", ["durable", "native"])
def test_nothing_is_told_where_nothing_is_left(queue, only, delivery):
    result = add.enqueue(1)
    queue.run_due()
    assert result.id
    only(delivery)
    assert "stranded" not in json.loads(status("--json"))[ALIAS]
    assert warnings(databases=["default"]) == []


# From native delivery to durable.


def native_body():
    return pack([sign(message_of_result(new_result(add, [1, 2], {}), durable=False))])


@pytest.mark.parametrize(("before_s", "runs"), [(60, True), (-60, False)])
def test_native_message_runs_if_it_is_older_than_the_change(
    queue, configured, caplog, before_s, runs
):
    configured(NATIVE_BEFORE=datetime.now(UTC) + timedelta(seconds=before_s))
    run(native_body())
    assert bool(sample_tasks.calls) is runs
    assert ("its NATIVE_BEFORE is" in caplog.text) is not runs


def test_native_messages_run_where_no_time_is_given(queue):
    run(native_body())
    assert sample_tasks.calls == [(1, 2)]


def test_time_of_the_change_is_checked(settings):
    entry = settings.TASKS[ALIAS]
    options = {"NATIVE_BEFORE": "2026-11-26"}
    settings.TASKS = {ALIAS: {**entry, "OPTIONS": options}}
    [error] = [m for m in checks.run_checks() if m.id == "taskbridge.E003"]
    assert "'NATIVE_BEFORE'] must be an aware datetime or None" in error.msg


# Native retries.


@taskbridge.task(max_attempts=3, backoff=0)
def spoil(values, *, options):
    sample_tasks.calls.append((list(values), dict(options)))
    values.append("spoiled")
    options["spoiled"] = True
    raise ValueError


def test_native_retry_gets_the_arguments_that_came(queue):
    native = task_backends["default"]
    native.purge(["default"])
    spoil.enqueue([1], options={"a": 1})
    native.run_due()
    assert sample_tasks.calls == [([1], {"a": 1})] * 3


# Dispatchers.


def test_dispatcher_imports_no_task_to_tell_of_its_failure(queue, heard):
    result = add.enqueue(1)
    TaskRecord.objects.update(
        task="tests.unit.not_imported.work",
        status="RUNNING",
        attempt=1,
        at_most_once=True,
        token="t",
        wake_at=timezone.now() - timedelta(hours=1),
    )
    sys.modules.pop("tests.unit.not_imported", None)
    Dispatcher(queue).step()
    [failed] = heard["finished"]
    assert (failed.id, failed.status) == (result.id, TaskResultStatus.FAILED)
    assert failed.task.module_path == "tests.unit.not_imported.work"
    assert (failed.task.name, failed.task.backend) == ("work", ALIAS)
    assert "tests.unit.not_imported" not in sys.modules
    with pytest.raises(RuntimeError, match="is not imported in this process"):
        failed.task.func()


@taskbridge.task(backend=ALIAS, max_attempts=None, backoff=0)
def endless(number, text):
    sample_tasks.calls.append((number, text))


def test_arguments_that_can_never_be_taken_are_not_tried_for_ever(queue):
    result = endless.enqueue(1, "a")
    queue.purge(queue.queues)
    TaskRecord.objects.update(arguments="[[1],{}]", wake_at=F("enqueued_at"))
    Dispatcher(queue).step()
    queue.run_due()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 1)
    assert "does not take the arguments with which" in result.errors[0].traceback
