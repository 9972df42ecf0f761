"""Arguments of any size, and rows that cannot be read: no neighbour waits for them."""

import json
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from django.db import DataError, connection
from django.utils.timezone import now

import taskbridge
from taskbridge import InvalidTask, rows
from taskbridge.compat import TaskResultStatus
from taskbridge.dispatcher import Dispatcher
from taskbridge.execution import run
from taskbridge.message import LONGEST_BODY, unpack, verify
from taskbridge.models import TaskRecord
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)

QUOTES = '"' * 1_900_000

UNREADABLE = {
    "sqlite": "2026-13-01 00:00:00",
    "postgresql": "0044-03-15 00:00:00 BC",
}


@taskbridge.task(backend=ALIAS, max_attempts=2, backoff=0)
def measure(text, fails=0):
    if fails and not measured:
        measured.append("failed")
        raise OSError
    measured.append(len(text))


measured: list[object] = []


@pytest.fixture(autouse=True)
def nothing_measured():
    measured.clear()


@pytest.fixture
def unreadable():
    value = UNREADABLE.get(connection.vendor)
    if value is None:
        pytest.skip("MariaDB and MySQL refuse to store such a date")
    return value


def spoil(result, value):
    with connection.cursor() as cursor:
        key = TaskRecord._meta.pk.get_db_prep_value(result.id, connection)
        sql = "UPDATE taskbridge_taskrecord SET run_after = %s WHERE id = %s"
        cursor.execute(sql, [value, key])


# Large arguments.


def test_large_arguments_stay_in_the_record(queue):
    result = measure.enqueue(QUOTES)
    [envelope] = queue.envelopes
    assert len(envelope.body) < 1000
    [signed] = unpack(envelope.body)
    assert verify(signed).args is None
    queue.run_due()
    result.refresh()
    assert (measured, result.status) == ([1_900_000], TaskResultStatus.SUCCESSFUL)


def test_large_arguments_come_with_a_retry_and_with_what_a_dispatcher_delivers(queue):
    measure.using(run_after=timedelta(0)).enqueue(QUOTES, fails=1)
    for _ in range(2):
        Dispatcher(queue).step()
        assert all(len(envelope.body) < 1000 for envelope in queue.envelopes)
        queue.run_due()
    assert measured == ["failed", 1_900_000]


def test_message_whose_record_is_gone_is_refused(queue, caplog):
    measure.enqueue(QUOTES)
    TaskRecord.objects.all().delete()
    queue.run_due()
    assert measured == []
    assert "its arguments are in its record, and there is none" in caplog.text
    assert str(queue.store) in caplog.text


def test_chunk_is_no_larger_than_a_broker_takes(configured):
    queue = configured(CHUNK=100)
    measure.enqueue_many([("x" * 90_000,) for _ in range(12)])
    bodies = [envelope.body for envelope in queue.envelopes]
    assert len(bodies) == 3
    assert max(map(len, bodies)) < 1.1 * LONGEST_BODY
    queue.run_due()
    assert measured == [90_000] * 12


# What MariaDB and MySQL take in one packet.


@pytest.fixture
def small_packets(monkeypatch):
    monkeypatch.setattr(rows, "_longest_packet", lambda connection: 1_000_000)
    return SimpleNamespace(vendor="mysql", alias="default")


def test_size_is_counted_as_the_server_gets_it(small_packets):
    rows.check_size(small_packets, ["x" * 890_000])
    for text in ("x" * 910_000, '"' * 455_000, "\\" * 455_000, "é" * 455_000):
        with pytest.raises(DataError, match="its max_allowed_packet is 1,000,000"):
            rows.check_size(small_packets, ["short", text])


def test_result_beyond_the_packet_fails_its_task_alone(
    queue, monkeypatch, small_packets
):
    if connection.vendor != "mysql":
        pytest.skip("only MariaDB and MySQL have packets")
    large = returned.enqueue(600_000)
    small = returned.enqueue(1)
    queue.run_due()
    large.refresh()
    small.refresh()
    assert (large.status, small.status) == ("FAILED", "SUCCESSFUL")
    assert large.attempts == 1
    assert "max_allowed_packet" in large.errors[0].traceback


@taskbridge.task(backend=ALIAS, max_attempts=3, backoff=0)
def returned(size):
    return '"' * size


# Dates that cannot be read.


@pytest.mark.parametrize(
    "run_after",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=12))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12))),
        datetime.max.replace(tzinfo=UTC),
        timedelta.max,
        timedelta.min,
    ],
)
def test_run_after_beyond_the_calendar_is_refused(queue, run_after):
    with pytest.raises(InvalidTask, match="run_after"):
        measure.using(run_after=run_after).enqueue("")
    assert not TaskRecord.objects.exists()


@pytest.mark.parametrize("year", [1970, 9000])
def test_run_after_within_the_calendar_comes_back(queue, year):
    run_after = datetime(year, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    result = measure.using(run_after=run_after).enqueue("")
    assert queue.get_result(result.id).task.run_after == run_after


def test_row_that_cannot_be_read_holds_no_other_up(queue, unreadable, caplog):
    bad = measure.using(run_after=timedelta(seconds=-1)).enqueue("bad")
    spoil(bad, unreadable)
    for _ in range(5):
        measure.using(run_after=timedelta(seconds=-1)).enqueue("good")
    Dispatcher(queue).step()
    assert len(queue.envelopes) == 5
    assert f"Task id={bad.id} has a record that cannot be read" in caplog.text


def test_lost_row_that_cannot_be_read_holds_no_other_up(queue, unreadable, caplog):
    results = [measure.enqueue("text") for _ in range(3)]
    spoil(results[0], unreadable)
    TaskRecord.objects.update(
        status="RUNNING", attempt=1, wake_at=now() - timedelta(hours=1), token="t"
    )
    dispatcher = Dispatcher(queue)
    for _ in range(3):
        dispatcher.step()
    assert TaskRecord.objects.filter(status="READY", lost=1).count() == 2
    assert caplog.text.count("cannot be read") == 1


def test_result_that_cannot_be_read_is_no_error_of_its_neighbours(queue, unreadable):
    bad, good = measure.enqueue("bad"), measure.enqueue("good")
    spoil(bad, unreadable)
    [record] = queue.store.get([bad.id, good.id])
    assert json.loads(record.arguments.text) == [["good"], {}]


def test_record_that_is_no_json_costs_its_neighbours_in_the_message_nothing(
    configured, caplog
):
    queue = configured(CHUNK=2)
    spoilt, sound = measure.enqueue_many([(QUOTES,), (QUOTES,)])
    TaskRecord.objects.filter(pk=spoilt.id).update(arguments='{"no": "pair"}')
    queue.run_due()
    assert measured == [len(QUOTES)]
    sound.refresh()
    assert sound.status == TaskResultStatus.SUCCESSFUL
    assert f"{spoilt.id} has a record that cannot be read" in caplog.text


def test_record_that_the_database_cannot_read_costs_its_neighbours_nothing(
    configured, monkeypatch, caplog
):
    def fail(ids):
        raise DataError("invalid page in block 7")

    queue = configured(CHUNK=2)
    spoilt, _ = measure.enqueue_many([(QUOTES,), ("sound",)])
    monkeypatch.setattr(queue.store, "get", fail)
    run(queue.envelopes.pop().body)
    assert measured == [len("sound")]
    assert f"Tasks were not started, 1 of them ({spoilt.id})" in caplog.text
