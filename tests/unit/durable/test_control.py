"""Control by hand: which tasks a filter means, and the commands."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from taskbridge import control
from taskbridge.control import Done
from taskbridge.models import TaskRecord
from taskbridge.results import task_error
from taskbridge.store import Json
from taskbridge.store.factory import open_store
from tests.unit.durable_tasks import ALIAS
from tests.unit.sample_tasks import add, stubborn
from tests.unit.store_records import claim, new_record, referring_table

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def store():
    return open_store(ALIAS)


@pytest.fixture
def tasks(store):
    """Records by name: waiting, delayed, retried, running, done and failed ones."""
    ids = {}

    def add_one(name, **fields):
        fields = {"task": add.module_path, **fields}
        record = new_record(backend=ALIAS, **fields)
        store.insert([record], None)
        ids[name] = record.id
        return record.id

    add_one("waiting")
    add_one("mail", queue_name="mail-out", task="shop.tasks.send")
    add_one("delayed", pushes=0, wake_in=timedelta(hours=1))
    finishes = {
        "retried": lambda key: store.retry(key, token="t", errors=[], after_s=600),
        "running": lambda key: True,
        "done": lambda key: store.succeed({key: Json("1")}, token="t"),
        "failed": lambda key: store.fail(key, token="t", errors=[error()]),
    }
    for name, finish in finishes.items():
        claim(store, add_one(name), "t")
        assert finish(ids[name])
    return ids


def error():
    return task_error(LookupError("no such order"))


def statuses(store, tasks):
    found = {record.id: record.status for record in store.get(tasks.values())}
    return {name: found.get(key) for name, key in tasks.items()}


def changed(store, tasks, before):
    after = statuses(store, tasks)
    return {name: after[name] for name in after if after[name] != before[name]}


def test_cancel_by_filter(store, tasks):
    before = statuses(store, tasks)
    assert control.count("cancel", queue="mail-*") == 1
    assert control.cancel(queue="mail-*") == Done(done=1)
    assert changed(store, tasks, before) == {"mail": "FAILED"}
    assert control.count("cancel", backend=ALIAS) == 4
    assert control.cancel(backend=ALIAS, by="ann") == Done(done=3, asked=1)
    assert control.count("cancel", backend=ALIAS) == 0
    assert control.count("cancel", backend=ALIAS, kill=True) == 1
    assert control.cancel(backend=ALIAS, kill=True) == Done(asked=1)
    assert statuses(store, tasks)["running"] == "RUNNING"


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ({"task": "shop.tasks.*"}, {"mail"}),
        ({"task": "shop.tasks"}, set()),
        ({"queue": "mail"}, {"waiting", "delayed", "retried", "running"}),
        ({"status": "RUNNING"}, {"running"}),
        ({"status": "READY", "queue": "mail"}, {"waiting", "delayed", "retried"}),
        ({"backend": "durable_rq"}, set()),
    ],
)
def test_filter_means_what_matches_all_of_it(store, tasks, which, names):
    before = statuses(store, tasks)
    assert control.count("cancel", **which) == len(names)
    done = control.cancel(**which)
    assert (done.done + done.asked, done.left) == (len(names), 0)
    touched = set(changed(store, tasks, before))
    assert touched == names - {"running"}


def test_older_than_means_since_it_was_enqueued_or_has_finished(store, tasks):
    hour, past = timedelta(hours=1), timezone.now() - timedelta(hours=2)
    TaskRecord.objects.filter(pk=tasks["mail"]).update(enqueued_at=past)
    TaskRecord.objects.filter(pk=tasks["failed"]).update(finished_at=past)
    TaskRecord.objects.filter(pk=tasks["done"]).update(enqueued_at=past)
    assert control.cancel(older_than=hour) == Done(done=1)
    assert control.count("forget", older_than=hour) == 1
    assert control.retry(older_than=hour) == Done(done=1)
    before = statuses(store, tasks)
    assert (before["mail"], before["failed"]) == ("FAILED", "READY")


def test_retry_is_by_the_last_error(store, tasks):
    assert control.retry(error="builtins.KeyError") == Done()
    assert control.retry(error="*.LookupError") == Done(done=1)
    assert statuses(store, tasks)["failed"] == "READY"


def test_empty_filter_by_error_fits_no_error(store, tasks):
    before = statuses(store, tasks)
    assert control.count("retry", error="") == 0
    assert control.forget(error="") == Done()
    assert statuses(store, tasks) == before


def test_brackets_in_the_name_of_a_queue_stand_for_themselves(store):
    for name in ("mail[1]", "mail1"):
        store.insert([new_record(backend=ALIAS, queue_name=name)], None)
    assert control.cancel(queue="mail[1]").done == 1
    assert TaskRecord.objects.get(queue_name="mail1").status == "READY"
    assert control.count("cancel", queue="mail?") == 1


def test_run_now_is_for_what_is_due_later(store, tasks):
    assert control.count("run-now", queue="mail") == 2
    assert control.run_now(queue="mail") == Done(done=2)
    assert control.count("run-now", queue="mail") == 0
    due = {each.id for each in store.look(horizon_s=0, limit=10)}
    assert due == {tasks["delayed"], tasks["retried"]}


def test_forget_deletes_what_has_finished(store, tasks):
    before = statuses(store, tasks)
    assert control.forget(status="SUCCESSFUL", backend=ALIAS) == Done(done=1)
    assert changed(store, tasks, before) == {"done": None}
    assert control.forget(backend=ALIAS) == Done(done=1)


def test_forget_keeps_what_other_rows_refer_to(store, tasks):
    with referring_table(tasks["done"]):
        assert control.forget(backend=ALIAS) == Done(done=1, kept=1)


def test_ids_that_cannot_be_are_left_and_counted(store, tasks):
    ids = [*tasks.values(), "0" * 32]
    assert control.count("retry", *ids) == 1
    assert control.retry(*ids) == Done(done=1, left=len(ids) - 1)
    assert control.forget(*ids) == Done(done=1, left=len(ids) - 1)
    assert control.run_now(*ids) == Done(done=2, left=len(ids) - 2)


def test_record_that_changes_meanwhile_is_left_and_counted(store, tasks, monkeypatch):
    rerun = type(store).rerun

    def too_late(self, ids, **since):
        TaskRecord.objects.filter(pk__in=ids).update(status="RUNNING")
        return rerun(self, ids, **since)

    monkeypatch.setattr(type(store), "rerun", too_late)
    assert control.retry(backend=ALIAS) == Done(left=1)


def test_what_fails_meanwhile_gets_no_second_attempt(store, monkeypatch):
    """A worker is quick, and each page shows what it made of the page before."""
    monkeypatch.setattr(control, "PAGE", 1)
    delayed, failed = (new_record(backend=ALIAS, pushes=0) for _ in range(2))
    store.insert([delayed, failed], None)
    claim(store, failed.id, "t")
    store.fail(failed.id, token="t", errors=[error()])
    attempts = []

    def then_it_runs(action, attempt):
        def act(self, ids, **since):
            assert len(attempts) < 3
            if done := action(self, ids, **since):
                claim(store, *ids, token := f"t{len(attempts)}", attempt=attempt)
                attempts.append(token)
                # However long the statement above took to reach the database.
                rows = TaskRecord.objects.filter(pk__in=ids)
                rows.update(last_attempted_at=timezone.now() + timedelta(minutes=1))
                if attempt:
                    store.fail(ids[0], token=token, errors=[error()])
                else:
                    store.retry(ids[0], token=token, errors=[error()], after_s=600)
            return done

        return act

    store_class = type(store)
    hurry, rerun = store_class.hurry, store_class.rerun
    monkeypatch.setattr(store_class, "hurry", then_it_runs(hurry, 0))
    monkeypatch.setattr(store_class, "rerun", then_it_runs(rerun, 1))
    assert control.run_now(backend=ALIAS).done == 1
    assert len(attempts) == 1
    assert control.retry(backend=ALIAS).done == 1
    assert len(attempts) == 2


def test_run_now_leaves_a_paused_queue_alone(store, tasks):
    store.pause("mail", by="")
    assert control.run_now(backend=ALIAS) == Done(left=2)
    store.resume("mail")
    assert control.run_now(backend=ALIAS) == Done(done=2)


def test_many_records_take_few_statements(store, monkeypatch):
    monkeypatch.setattr(control, "PAGE", 100)
    records = [new_record(backend=ALIAS, pushes=0) for _ in range(950)]
    store.insert(records, None)
    counted = []

    def count(execute, sql, parameters, many, context):
        counted.append(sql)
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(count):
        assert control.run_now(backend=ALIAS) == Done(done=950)
    pages = [sql for sql in counted if "ORDER BY wake_at" in sql]
    assert len(pages) == 10
    assert len([sql for sql in counted if "UPDATE taskbridge" in sql]) == 10


def test_retried_task_gets_one_more_attempt(queue):
    result = stubborn.using(backend=ALIAS).enqueue()
    queue.run_due()
    result.refresh()
    assert (result.status, result.attempts) == ("FAILED", 3)
    assert control.retry(result.id) == Done(done=1)
    queue.run_due()
    result.refresh()
    assert (result.status, result.attempts, len(result.errors)) == ("FAILED", 4, 4)


@pytest.mark.parametrize(
    ("ids", "which", "error", "said"),
    [
        ([], {}, ValueError, "Say which tasks to retry: ids, or a filter"),
        ([], {"queue": None}, ValueError, "Say which tasks to retry"),
        (["0" * 32], {"queue": "a"}, ValueError, "takes ids or a filter, not both"),
        (["7"], {}, ValueError, "'7' is not the id of a task"),
        ([], {"status": "READY"}, ValueError, "tasks that are FAILED, not 'READY'"),
        ([], {"backend": "no"}, ValueError, "TASKS has no backend 'no'"),
        ([], {"backend": "default"}, NotImplementedError, "DELIVERY is 'native'"),
        ([], {"color": "red"}, TypeError, "knows no filter 'color'"),
    ],
)
def test_what_cannot_be_meant_is_refused(ids, which, error, said):
    with pytest.raises(error, match=said):
        control.retry(*ids, **which)


def test_filter_by_error_is_for_failed_tasks():
    with pytest.raises(ValueError, match="cancel is not for failed tasks"):
        control.cancel(error="*")


def test_project_without_records_is_refused(settings):
    settings.TASKS = {"default": settings.TASKS["default"]}
    with pytest.raises(NotImplementedError, match="'native' everywhere"):
        control.cancel(queue="mail")


# The commands.


def command(*arguments):
    out = StringIO()
    call_command("taskbridge", *arguments, stdout=out)
    return out.getvalue()


def test_command_counts_and_asks(store, tasks, monkeypatch):
    asked, answers = [], iter(["n", "y"])

    def answer(question):
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("builtins.input", answer)
    before = statuses(store, tasks)
    said = command("cancel", "--queue", "mail-*")
    assert said == "1 task to cancel.\nNothing was done.\n"
    assert statuses(store, tasks) == before
    said = command("cancel", "--queue", "mail-*")
    assert said == "1 task to cancel.\n1 will not run any more.\n"
    assert asked == ["cancel 1 task? [y/N] "] * 2
    assert changed(store, tasks, before) == {"mail": "FAILED"}


@pytest.mark.parametrize("stdin", [StringIO(), None])
def test_command_without_anybody_to_ask_is_refused(tasks, monkeypatch, stdin):
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(CommandError, match="nobody to ask: add --yes"):
        command("forget", "--backend", ALIAS)


@pytest.mark.parametrize("age", ["infs", "1e300d", "nand"])
def test_age_that_no_task_can_have_is_refused(age):
    with pytest.raises(CommandError, match=r"is too long|at least 0 seconds"):
        command("forget", "--older-than", age, "--yes")


def test_dry_run_does_nothing(store, tasks):
    before = statuses(store, tasks)
    assert command("retry", "--backend", ALIAS, "--dry-run") == "1 task to retry.\n"
    assert statuses(store, tasks) == before


def test_commands_say_what_they_did(store, tasks):
    everything = ["--backend", ALIAS, "--yes"]
    assert "2 are due now." in command("run-now", *everything)
    said = command("cancel", *everything, "--by", "ann", "--kill")
    assert "4 will not run any more.\n1 run, and fail as soon as they end." in said
    assert TaskRecord.objects.get(pk=tasks["running"]).kill
    said = command("forget", tasks["running"], tasks["done"], "--yes")
    assert "1 records deleted.\n1 left alone: not SUCCESSFUL or FAILED," in said
    assert "has to be cancelled first" in said
    assert "5 are due now." in command("retry", *everything)


def test_command_prints_json(tasks):
    said = json.loads(command("cancel", tasks["mail"], "--json", "--yes"))
    assert said == {
        "action": "cancel",
        "matched": 1,
        "done": 1,
        "asked": 0,
        "left": 0,
        "kept": 0,
    }
    said = json.loads(command("retry", "--backend", ALIAS, "--json", "--dry-run"))
    assert said == {"action": "retry", "matched": 2}
    with pytest.raises(CommandError, match="--json asks no questions"):
        command("retry", "--backend", ALIAS, "--json")


@pytest.mark.parametrize("name", ["cancel", "retry", "run-now", "forget"])
def test_commands_refuse_what_cannot_be_meant(name):
    with pytest.raises(CommandError, match="ids, or a filter"):
        command(name, "--yes")
    with pytest.raises(CommandError, match="DELIVERY is 'native'"):
        command(name, "--backend", "default", "--yes")
