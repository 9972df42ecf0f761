"""Delays and instants, whatever the host's clock and USE_TZ say."""

import pickle
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from taskbridge import rows
from taskbridge.compat import task_backends
from taskbridge.message import Envelope
from taskbridge.models import TaskRecord
from taskbridge.moments import as_django, as_utc, from_now, seconds_left
from taskbridge.rows import database_now
from tests.unit import sample_tasks
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
ZONES = ["America/New_York", "Asia/Tokyo", "UTC"]

fast_and_slow = pytest.mark.parametrize("skew", [HOUR, -HOUR], ids=["fast", "slow"])


@pytest.fixture
def skewed(monkeypatch):
    """Make the clock of this host wrong for whoever asks Django."""
    true_now = timezone.now

    def skewed(skew):
        monkeypatch.setattr(timezone, "now", lambda: true_now() + skew)

    return skewed


@pytest.fixture(params=ZONES)
def naive(request, settings):
    """A project without USE_TZ, somewhere in the world."""
    settings.USE_TZ = False
    settings.TIME_ZONE = request.param
    rows._ahead.clear()
    return ZoneInfo(request.param)


def seconds_until(instant):
    return (as_utc(instant) - datetime.now(UTC)).total_seconds()


# The clock of the host that enqueues.


@fast_and_slow
def test_record_is_due_by_the_clock_of_the_store(skewed, skew):
    skewed(skew)
    later = sample_tasks.add.using(backend=ALIAS, run_after=timedelta(seconds=90))
    now, delayed = sample_tasks.add.using(backend=ALIAS).enqueue(1), later.enqueue(1)
    record = TaskRecord.objects.get(pk=now.id)
    assert 0 < seconds_until(record.wake_at) <= 30
    assert abs(seconds_until(record.enqueued_at)) < 30
    record = TaskRecord.objects.get(pk=delayed.id)
    assert 60 < seconds_until(record.wake_at) <= 90
    task_backends[ALIAS].purge(["default"])


def test_absolute_time_is_that_time(skewed):
    skewed(HOUR)
    run_after = datetime.now(UTC).replace(microsecond=0) + MINUTE
    task = sample_tasks.add.using(backend=ALIAS, run_after=run_after)
    assert TaskRecord.objects.get(pk=task.enqueue(1).id).wake_at == run_after


def test_delay_is_counted_from_when_it_was_said(monkeypatch):
    later = sample_tasks.add.using(backend=ALIAS, run_after=timedelta(hours=2))
    before = seconds_left(later.run_after)
    monotonic = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 3600)
    assert before - 3700 < seconds_left(later.run_after) < before - 3500


@pytest.mark.parametrize(
    "instant",
    [
        from_now(HOUR) + MINUTE,
        from_now(HOUR).replace(microsecond=0),
        pickle.loads(pickle.dumps(from_now(HOUR))),
        datetime.now(UTC),
        None,
    ],
)
def test_what_is_made_of_a_delay_is_an_instant(instant):
    assert seconds_left(instant) is None


def queue_rows(alias):
    """Return what tells the rows of a queue that are due, and the clock they use."""
    backend = task_backends[alias]
    backend.purge(["default"])
    if alias == "background_tasks":
        name = backend.name_in_broker("default")
        return backend, lambda: len(backend._rows().due([name], 10))
    return backend, backend.broker(["default"]).queue_size


queues = pytest.mark.parametrize("alias", ["background_tasks", "django_q_orm"])


def envelope(delay=None):
    due = None if delay is None else as_utc(from_now(delay))
    return Envelope(body="[]", queue_name="default", priority=0, run_after=due)


@queues
@fast_and_slow
def test_row_of_a_queue_is_due_by_the_clock_of_its_database(alias, skewed, skew):
    backend, due = queue_rows(alias)
    skewed(skew)
    backend.push([envelope(), envelope(MINUTE)])
    assert due() == 1
    backend.purge(["default"])


@queues
def test_row_without_use_tz_is_due_when_it_was_asked_for(alias, naive, monkeypatch):
    backend, due = queue_rows(alias)
    backend.push([envelope(), envelope(MINUTE)])
    assert due() == 1
    for later, expected in ((50, 1), (70, 2)):
        at = database_now("default") + timedelta(seconds=later)
        monkeypatch.setattr(rows, "database_now", lambda database, at=at: at)
        assert due() == expected
        monkeypatch.undo()
    backend.purge(["default"])


def test_clock_of_the_database_is_asked_now_and_then(monkeypatch):
    rows._ahead.clear()
    found = [database_now("default") for _ in range(3)]
    assert found == sorted(found)
    assert all(abs(seconds_until(each)) < 30 for each in found)


# Projects without USE_TZ.


def test_retry_without_use_tz_waits_as_long_as_its_backoff(naive, queue):
    sample_tasks.patient.enqueue()
    queue.run_due()
    [retry] = queue.envelopes
    assert retry.run_after.utcoffset() == timedelta(0)
    assert 30 < seconds_until(retry.run_after) <= 60


def test_delay_without_use_tz_is_as_long_as_it_says(naive, queue):
    sample_tasks.add.using(run_after=MINUTE).enqueue(1)
    assert 30 < seconds_until(queue.envelopes[0].run_after) <= 60
    assert queue.run_due() == 0


def test_naive_time_is_in_the_time_zone_of_the_project(naive, queue):
    local = datetime(2030, 1, 1, 12)  # noqa: DTZ001 - as such a project says it
    sample_tasks.add.using(run_after=local).enqueue(1)
    assert queue.envelopes[0].run_after == local.replace(tzinfo=naive)


def test_results_without_use_tz_have_naive_times(naive, queue, finished):
    result = sample_tasks.add.using(queue_name="mail").enqueue(1)
    queue.run_due()
    [seen] = finished
    for instant in (seen.enqueued_at, seen.started_at, seen.finished_at):
        assert timezone.is_naive(instant)
        assert abs(seconds_until(instant)) < 30
    assert seen.enqueued_at == result.enqueued_at


@pytest.mark.parametrize("aware", ["2026-03-08T07:30", "2026-11-01T05:30"])
def test_instants_near_a_change_of_clocks_come_back(settings, aware):
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"
    instant = datetime.fromisoformat(f"{aware}+00:00")
    assert as_utc(as_django(instant)) == instant


def test_hour_that_is_left_out_in_spring_is_some_instant(settings):
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"
    gap = datetime(2026, 3, 8, 2, 30)  # noqa: DTZ001 - as above
    assert as_utc(gap) == datetime(2026, 3, 8, 7, 30, tzinfo=UTC)
