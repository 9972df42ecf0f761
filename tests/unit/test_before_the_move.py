"""What the release before the layout of today had sent and saved still means the same.

before_the_move.json was written by that code: bodies of messages, rows of the libraries
that carry them, records, and the channels that records name.
"""

import json
from ast import literal_eval
from pathlib import Path

import pytest
from django.utils.dateparse import parse_datetime
from django.utils.module_loading import import_string

from taskbridge import Retry, TaskResultStatus, WorkerLost
from taskbridge.compat import task_backends
from taskbridge.dispatcher import Dispatcher
from taskbridge.execution import run
from taskbridge.models import TaskRecord
from tests.unit import sample_tasks

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = json.loads(
    Path(__file__).with_name("before_the_move.json").read_text(encoding="utf-8")
)
INSTANTS = ("run_after", "enqueued_at", "started_at", "last_attempted_at")
ENDS = ("finished_at", "wake_at")
DURABLE = "durable_default"


@pytest.fixture(autouse=True)
def records():
    """The ids of the records of before, by name of the task, status and attempt."""
    sample_tasks.calls.clear()
    rows = {}
    for values in BEFORE["rows"]:
        instants = {
            name: values[name] and parse_datetime(values[name])
            for name in (*INSTANTS, *ENDS)
        }
        TaskRecord.objects.create(**{**values, **instants})
        name = values["task"].rpartition(".")[2]
        rows.setdefault((name, values["status"], values["attempt"]), values["id"])
    yield rows
    for alias in ("default", DURABLE):
        backend = task_backends[alias]
        backend.purge(backend.queues)


def bodies(kind):
    return BEFORE["bodies"][kind]


def result_of(record_id):
    return task_backends[DURABLE].get_result(record_id)


def test_native_messages_run():
    for body in bodies("native"):
        run(body)
    assert sample_tasks.calls == [(1, 2), ("Grüße ☃",)]


def test_native_message_of_a_second_attempt_knows_its_number():
    [body] = bodies("native, second attempt")
    run(body)
    [(context,)] = sample_tasks.calls
    assert context.attempt == 2


def test_durable_messages_claim_their_records(records):
    for body in bodies("durable"):
        run(body)
    found = [result_of(records[key, "READY", 0]) for key in ("add", "echo", "once")]
    assert [result.status for result in found] == [TaskResultStatus.SUCCESSFUL] * 3
    assert [result.return_value for result in found] == [3, "Grüße ☃", 7]


def test_durable_message_of_a_second_attempt_brings_the_error_of_the_first(records):
    [body] = bodies("durable, second attempt")
    run(body)
    result = result_of(records["look_back", "READY", 1])
    assert (result.attempts, result.status) == (2, TaskResultStatus.READY)
    assert "attempt 1" in result.errors[0].traceback


def test_finished_records_are_read(records):
    done = result_of(records["echo", "SUCCESSFUL", 1])
    assert (done.return_value, done.attempts) == ("done", 1)
    failed = result_of(records["give_up", "FAILED", 1])
    assert failed.errors[0].exception_class is Retry


def test_records_that_wait_or_were_lost_are_delivered(records):
    backend = task_backends[DURABLE]
    Dispatcher(backend).deliver_due()
    backend.run_due()
    for key in (("add", "RUNNING", 1), ("add", "READY", 1)):
        result = result_of(records[key])
        assert (result.status, result.attempts) == (TaskResultStatus.SUCCESSFUL, 2)
        assert result.errors[0].exception_class is WorkerLost


def test_each_library_finds_what_it_was_given():
    package = pytest.importorskip("django_q.signing").SignedPackage.loads(
        BEFORE["django_q_package"]
    )
    import_string(package["func"])(*package["args"])
    schedule = BEFORE["django_q_schedule"]
    import_string(schedule["func"])(*literal_eval(schedule["args"]))
    rows = pytest.importorskip("taskbridge_background_tasks.rows")
    row = BEFORE["background_task"]
    assert row["task_name"] == rows.NATIVE_TASK
    [[body], _] = json.loads(row["task_params"])
    run(body)
    assert sample_tasks.calls == [(1, 2)] * 3
    app = pytest.importorskip("taskbridge_celery.app")
    assert BEFORE["celery_task"] == app.NATIVE_TASK


MEMORY = "taskbridge.testing.memory.MemoryBackend"
CELERY = "taskbridge_celery.CeleryBackend"
DJANGO_Q = "taskbridge_django_q.DjangoQBackend"
BACKGROUND_TASKS = "taskbridge_background_tasks.BackgroundTasksBackend"
SETTINGS = {
    "default": (MEMORY, {}),
    "durable_default": (MEMORY, {"LEASE": 2}),
    "background_tasks": (BACKGROUND_TASKS, {}),
    "celery_redis": (CELERY, {"BROKER_URL": "redis://127.0.0.1:1/0"}),
    "celery_rabbitmq": (CELERY, {"BROKER_URL": "amqp://127.0.0.1:1//"}),
    "django_q_redis": (DJANGO_Q, {"BROKER_URL": "redis://127.0.0.1:1/0"}),
    "django_q_orm": (DJANGO_Q, {"BROKER_URL": "orm://default"}),
}


@pytest.mark.parametrize("alias", BEFORE["channels"])
def test_channels_are_the_same(settings, alias):
    """Another one would have the dispatcher push all that waits once more."""
    path, options = SETTINGS[alias]
    settings.TASKS = {"default": {"BACKEND": path, "OPTIONS": options}}
    assert task_backends["default"].channel == BEFORE["channels"][alias]
