"""Durable delivery through the memory backend; real workers are in tests/contract."""

import json
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, connections, transaction
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext
from django.urls import path

from taskbridge import BackendUnavailable, InvalidTask, StoreUnavailable, WorkerLost
from taskbridge.compat import (
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
)
from taskbridge.delivery.durable import _shared
from taskbridge.dispatcher import Dispatcher
from taskbridge.models import TaskRecord
from taskbridge.store import statements
from tests.unit import durable_tasks, sample_tasks

pytestmark = pytest.mark.django_db(transaction=True)

ALIAS = "durable_default"


@pytest.fixture
def queue():
    backend = task_backends[ALIAS]
    _shared.clear()  # it remembers a broker that was away
    backend.purge(backend.queues)
    sample_tasks.calls.clear()
    yield backend
    backend.purge(backend.queues)


@pytest.fixture
def configured(settings):
    """Set OPTIONS of the backend under test."""

    def configure(**options):
        memory = settings.TASKS[ALIAS]
        options = {**memory["OPTIONS"], **options}
        settings.TASKS = {**settings.TASKS, ALIAS: {**memory, "OPTIONS": options}}
        backend = task_backends[ALIAS]
        backend.purge(backend.queues)
        return backend

    return configure


@pytest.fixture
def heard():
    """The results that receivers saw, by signal."""
    seen = {"enqueued": [], "finished": []}

    def on_enqueued(sender, task_result, **kwargs):
        seen["enqueued"].append(task_result)

    def on_finished(sender, task_result, **kwargs):
        seen["finished"].append(task_result)

    task_enqueued.connect(on_enqueued)
    task_finished.connect(on_finished)
    yield seen
    task_enqueued.disconnect(on_enqueued)
    task_finished.disconnect(on_finished)


add = sample_tasks.add.using(backend=ALIAS)


def verbs_of(captured):
    """The verbs of what was asked of the database."""
    return [query["sql"].split()[0] for query in captured.captured_queries]


class Statements:
    """Counts statements where reset_queries() cannot forget them."""

    def __init__(self):
        self.verbs = []

    def __call__(self, execute, sql, params, many, context):
        if not sql.startswith("SET "):  # MySQL, as it connects
            self.verbs.append(sql.split()[0])
        return execute(sql, params, many, context)


def test_task_that_succeeds_at_once_costs_one_insert_and_two_updates(queue):
    counted = Statements()
    with connection.execute_wrapper(counted):
        add.enqueue(1)
        assert queue.run_due() == 1
    assert counted.verbs == ["INSERT", "UPDATE", "UPDATE"]


def test_duplicate_costs_one_update(queue):
    add.enqueue(1)
    queue.push(queue.envelopes)
    counted = Statements()
    with connection.execute_wrapper(counted):
        queue.run_due()
    assert counted.verbs == ["UPDATE", "UPDATE", "UPDATE"]
    assert sample_tasks.calls == [(1, 0)]


@pytest.mark.parametrize("count", [1, 2, 1000, 2500])
def test_enqueue_many_is_one_insert_and_one_push_per_thousand(queue, count):
    pushed = []
    push = queue.push
    queue.push = lambda envelopes: pushed.append(len(envelopes)) or push(envelopes)
    try:
        with CaptureQueriesContext(connection) as captured:
            results = add.enqueue_many([(n,) for n in range(count)])
    finally:
        del queue.push
    batches = -(-count // 1000)
    assert verbs_of(captured).count("INSERT") == batches
    assert pushed == [min(1000, count - 1000 * n) for n in range(batches)]
    assert TaskRecord.objects.count() == len({r.id for r in results}) == count


def test_enqueue_many_of_nothing_does_nothing(queue):
    with CaptureQueriesContext(connection) as captured:
        assert add.enqueue_many([]) == []
    assert verbs_of(captured) == []


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunk_is_claimed_and_finished_together(configured, chunk, heard):
    queue = configured(CHUNK=chunk)
    results = add.enqueue_many([(n,) for n in range(100)])
    envelopes = len(queue.envelopes)
    assert envelopes == -(-100 // chunk)
    counted = Statements()
    with connection.execute_wrapper(counted):
        queue.run_due()
    assert counted.verbs == ["UPDATE"] * 2 * envelopes
    assert [call[0] for call in sample_tasks.calls[-100:]] == list(range(100))
    assert len(heard["finished"]) == 100
    for number, result in enumerate(results):
        result.refresh()
        assert (result.status, result.return_value) == ("SUCCESSFUL", number)


def test_failure_in_a_chunk_leaves_its_neighbours_alone(configured):
    queue = configured(CHUNK=10)
    sample = sample_tasks.divide.using(backend=ALIAS)
    results = sample.enqueue_many([(1,), (0,), (2,)])
    assert len(queue.envelopes) == 1
    queue.run_due()
    for result in results:
        result.refresh()
    assert [r.status for r in results] == ["SUCCESSFUL", "FAILED", "SUCCESSFUL"]
    assert results[1].errors[0].exception_class is ZeroDivisionError


def test_task_that_was_lost_or_may_not_run_twice_never_shares_a_claim(configured):
    queue = configured(CHUNK=10)
    durable_tasks.once.enqueue_many([(n,) for n in range(3)])
    counted = Statements()
    with connection.execute_wrapper(counted):
        queue.run_due()
    assert counted.verbs == ["UPDATE"] * 6


# Transactions.


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


@pytest.mark.parametrize("argument", [float("nan"), {1}])
def test_bad_argument_leaves_nothing(queue, argument):
    with pytest.raises(TypeError, match="arguments must be JSON"):
        add.enqueue_many([(1,), (argument,)])
    assert (TaskRecord.objects.count(), queue.envelopes) == (0, [])


def test_table_that_is_not_there_is_told(queue, monkeypatch):
    monkeypatch.setattr(statements, "TABLE", "no_such_table")
    with pytest.raises(BackendUnavailable, match=r"Is it up, and migrated\?"):
        add.enqueue(1)
    assert queue.envelopes == []


def test_name_that_does_not_fit_a_record_is_refused(queue):
    task = sample_tasks.add
    long = {"__module__": "a" * 250, "__qualname__": "function"}
    function = type(task.func)(task.func.__code__, {})
    for name, value in long.items():
        setattr(function, name, value)
    with pytest.raises(InvalidTask, match=r"path has 259 characters.*at most 255"):
        type(task)(
            func=function,
            backend=ALIAS,
            priority=0,
            queue_name="default",
            run_after=None,
            takes_context=False,
        )


# A broker that is away.


class Away:
    """A push that fails as long as `is_up` is not set."""

    def __init__(self, backend):
        self.calls = 0
        self.is_up = False
        self._push = backend.push

    def __call__(self, envelopes):
        self.calls += 1
        if not self.is_up:
            raise BackendUnavailable("the broker is away")
        self._push(envelopes)


@pytest.fixture
def away(queue, monkeypatch):
    away = Away(queue)
    monkeypatch.setattr(queue, "push", away)
    return away


def test_broker_that_is_away_does_not_fail_enqueue(queue, away, heard, caplog):
    result = add.enqueue(1)
    assert result.status == TaskResultStatus.READY
    assert "Tasks are delivered later, by the dispatcher" in caplog.text
    assert [r.id for r in heard["enqueued"]] == [result.id]
    away.is_up = True
    Dispatcher(queue).step()
    queue.run_due()
    assert sample_tasks.calls == [(1, 0)]


def test_broker_that_is_away_is_not_asked_by_every_enqueue(queue, away):
    for _ in range(20):
        add.enqueue(1)
    assert away.calls == 1


def test_half_of_a_bulk_that_was_pushed_is_lost_neither(queue, away, monkeypatch):
    def second_fails(envelopes):
        if away.calls:
            raise BackendUnavailable("away after the first batch")
        away.is_up = True
        away(envelopes)

    monkeypatch.setattr(queue, "push", second_fails)
    add.enqueue_many([(n,) for n in range(1500)])
    assert len(queue.envelopes) == 1000
    monkeypatch.setattr(queue, "push", away)
    dispatcher = Dispatcher(queue)
    while not dispatcher.step():
        pass
    queue.run_due()
    assert sorted(call[0] for call in sample_tasks.calls) == list(range(1500))


# What a worker writes.


def test_return_value_without_json_word_fails_the_task(queue):
    result = durable_tasks.return_nan.enqueue()
    queue.run_due()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class is ValueError


def test_result_that_the_database_refuses_fails_the_task(queue, monkeypatch, heard):
    result = add.enqueue(1)
    neighbour = add.enqueue(2)
    succeed = queue.store.succeed

    def refuse(values, *, token):
        if '"' in values or result.id in values:
            raise DatabaseError("value too long")
        return succeed(values, token=token)

    monkeypatch.setattr(queue.store, "succeed", refuse)
    queue.run_due()
    result.refresh()
    neighbour.refresh()
    assert (result.status, neighbour.status) == ("FAILED", "SUCCESSFUL")
    assert "value too long" in result.errors[0].traceback
    assert [r.status for r in heard["finished"]] == ["FAILED", "SUCCESSFUL"]


def test_backoff_that_raises_fails_the_task_and_is_told(queue):
    result = durable_tasks.broken_backoff.enqueue()
    queue.run_due()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert [e.exception_class for e in result.errors] == [OSError, LookupError]


def test_context_knows_the_errors_of_attempts_before(queue):
    result = durable_tasks.look_back.enqueue()
    for _ in range(3):
        queue.run_due()
        Dispatcher(queue).step()
    queue.run_due()
    result.refresh()
    assert result.return_value == ["attempt 1", "attempt 2"]


def test_stale_message_of_an_earlier_attempt_is_dropped(queue):
    """It must not start the retry before its time."""
    result = durable_tasks.fail_slowly.enqueue()
    [envelope] = queue.envelopes
    queue.run_due()
    queue.push([envelope, envelope])
    queue.run_due()
    result.refresh()
    assert (result.status, result.attempts) == ("READY", 1)


def test_late_finish_is_refused_and_told(queue, caplog, heard):
    result = durable_tasks.lose_lease.enqueue()
    queue.run_due()
    assert "ended here in attempt 1 after its lease was lost" in caplog.text
    result.refresh()
    assert (result.status, len(result.errors)) == ("READY", 1)
    assert heard["finished"] == []


def test_store_that_is_away_at_the_claim_leaves_the_task_to_the_dispatcher(
    queue, monkeypatch, caplog
):
    add.enqueue(1)
    monkeypatch.setattr("taskbridge.options.DurableOptions.patience_s", 0)

    def away(*args, **kwargs):
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(queue.store, "claim", away)
        queue.run_due()
    assert "Tasks were not started" in caplog.text
    assert sample_tasks.calls == []
    TaskRecord.objects.update(wake_at=TaskRecord.objects.get().enqueued_at)
    Dispatcher(queue).step()
    queue.run_due()
    assert sample_tasks.calls == [(1, 0)]


def test_claim_whose_answer_was_lost_is_still_ours(queue, monkeypatch):
    add.enqueue(1)
    claim = queue.store.claim
    answers = iter([StoreUnavailable("connection lost"), None])

    def lossy(*args, **kwargs):
        claimed = claim(*args, **kwargs)
        if (answer := next(answers)) is not None:
            raise answer
        return claimed

    monkeypatch.setattr(queue.store, "claim", lossy)
    queue.run_due()
    assert sample_tasks.calls == [(1, 0)]


def test_native_messages_still_run_after_a_change_to_durable(settings, queue):
    sample_tasks.add.using(backend="default").enqueue(5)
    native = task_backends["default"]
    settings.TASKS = {**settings.TASKS, "default": settings.TASKS[ALIAS]}
    native.run_due()
    assert (5, 0) in sample_tasks.calls


# Results.


def test_result_of_another_backend_is_not_found(queue):
    result = add.enqueue(1)
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["durable_background_tasks"].get_result(result.id)


def test_result_is_found_by_either_form_of_its_id(queue):
    import uuid

    result = add.enqueue(1)
    assert queue.get_result(str(uuid.UUID(result.id))).id == result.id
    assert add.get_result(result.id).args == [1]


def test_native_delivery_keeps_no_results():
    with pytest.raises(NotImplementedError, match="keeps no results in native"):
        task_backends["default"].get_result("0" * 32)


def test_strange_text_survives(queue):
    text = "\x00 \N{SNOWMAN} \U0001f600 \ud800 'quoted' %s"
    result = sample_tasks.echo.using(backend=ALIAS).enqueue(text)
    queue.run_due()
    result.refresh()
    assert result.return_value == text


def test_records_are_bounded_by_the_lost_attempts(queue, caplog):
    """Even a task of one attempt runs again after a loss, but not for ever."""
    result = add.enqueue(1)
    for lost in range(1, 5):
        record = TaskRecord.objects.get()
        token = f"{lost:016x}"
        assert queue.store.claim(
            [result.id],
            attempt=record.attempt,
            worker_ids=json.dumps(["w"] * lost),
            token=token,
            lease_s=-1,
        )
        Dispatcher(queue).step()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert [e.exception_class for e in result.errors] == [WorkerLost] * 4
    assert result.attempts == 4


def test_task_that_may_run_at_most_once_fails_with_its_worker(queue, heard):
    result = durable_tasks.once.enqueue(1)
    queue.store.claim([result.id], attempt=0, worker_ids='["w"]', token="t", lease_s=-1)
    Dispatcher(queue).step()
    result.refresh()
    assert (result.status, result.attempts) == ("FAILED", 1)
    assert [r.id for r in heard["finished"]] == [result.id]


def test_delayed_task_waits_in_the_record_alone(queue):
    soon = sample_tasks.add.using(backend=ALIAS, run_after=timedelta(days=400))
    result = soon.enqueue(1)
    assert queue.envelopes == []
    assert Dispatcher(queue).step() == 0.5
    assert queue.envelopes == []
    assert queue.get_result(result.id).task.run_after == soon.run_after


# What a review has broken.


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


def test_backoff_that_ends_the_process_does_not(queue):
    result = durable_tasks.leaving_backoff.enqueue()
    queue.run_due()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[1].exception_class is SystemExit


def test_delay_beyond_any_calendar_is_ten_years(queue):
    result = durable_tasks.retry_much_later.enqueue()
    queue.run_due()
    result.refresh()
    record = TaskRecord.objects.get()
    assert record.status == "READY"
    assert record.wake_at.year - record.enqueued_at.year in {9, 10}


def test_argument_that_no_broker_takes_is_refused(queue):
    with pytest.raises(TypeError, match="a record holds 4,000,000 at most"):
        sample_tasks.echo.using(backend=ALIAS).enqueue("x" * 4_000_001)
    assert TaskRecord.objects.count() == 0


def test_return_value_that_no_database_takes_fails_the_task(queue):
    result = durable_tasks.return_much.enqueue(4_000_001)
    queue.run_due()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert "a record holds 4,000,000 at most" in result.errors[0].traceback


def test_long_errors_are_cut_and_old_ones_first(queue):
    result = durable_tasks.fail_at_length.enqueue()
    for _ in range(60):
        queue.run_due()
        Dispatcher(queue).step()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 60)
    lengths = [len(error.traceback) for error in result.errors]
    assert max(lengths) < 61_000
    assert sum(lengths) < 2_100_000
    assert lengths[0] <= 200
    assert lengths[-1] > 50_000


def test_values_of_a_chunk_are_saved_before_they_are_too_many(configured):
    queue = configured(CHUNK=10)
    durable_tasks.return_much.enqueue_many([(400_000,)] * 10)
    counted = Statements()
    with connection.execute_wrapper(counted):
        queue.run_due()
    assert counted.verbs == ["UPDATE"] * 5
    assert TaskRecord.objects.filter(status="SUCCESSFUL").count() == 10


def test_result_of_a_task_that_was_removed_is_told(queue):
    result = add.enqueue(1)
    TaskRecord.objects.update(task="tests.unit.sample_tasks.removed")
    with pytest.raises(TaskResultDoesNotExist, match="not in the code any more"):
        queue.get_result(result.id)


def test_threads_share_what_is_known_of_the_broker(queue, monkeypatch):
    import threading

    calls = []

    def away(self, envelopes):
        calls.append(len(envelopes))
        raise BackendUnavailable("the broker is away")

    def enqueue():
        try:
            add.enqueue(1)
        finally:
            connections.close_all()

    monkeypatch.setattr(type(queue), "push", away)
    for _ in range(5):
        thread = threading.Thread(target=enqueue)
        thread.start()
        thread.join()
    assert (len(calls), TaskRecord.objects.count()) == (1, 5)
