"""Native delivery through the memory backend: its retries are new messages."""

from datetime import timedelta

import pytest
from django.utils import timezone

from taskbridge import BackendUnavailable, InvalidTask, exponential
from taskbridge.compat import task_backends
from taskbridge.task import Task
from taskbridge.testing.memory import MemoryBackend
from tests.unit import sample_tasks

# Connections that other tests left open are looked at.
pytestmark = pytest.mark.django_db


def test_task_is_retried_max_attempts_times(queue, finished):
    sample_tasks.stubborn.enqueue()
    assert queue.run_due() == 3
    assert [context.attempt for (context,) in sample_tasks.calls] == [1, 2, 3]
    [result] = finished
    assert (result.status, result.attempts) == ("FAILED", 3)


def test_retry_waits_in_the_library(queue, finished):
    sample_tasks.patient.enqueue()
    assert queue.run_due() == 1
    [envelope] = queue.envelopes
    wait = envelope.run_after - timezone.now()
    assert timedelta(seconds=59) < wait <= timedelta(seconds=60)
    assert finished == []


def test_retry_that_cannot_be_queued_fails_the_task_and_is_told(
    queue, finished, monkeypatch, caplog
):
    sample_tasks.stubborn.enqueue()

    def away(envelopes):
        raise BackendUnavailable("the broker is away")

    monkeypatch.setattr(queue, "push", away)
    queue.run_due()
    [result] = finished
    assert result.status == "FAILED"
    assert "cannot be retried: the broker is away" in caplog.text


def test_bulk_that_fails_half_way_says_what_was_queued(queue, monkeypatch):
    push, calls = queue.push, []

    def second_fails(envelopes):
        calls.append(len(envelopes))
        if len(calls) > 1:
            raise BackendUnavailable("the broker is away")
        push(envelopes)

    monkeypatch.setattr(queue, "push", second_fails)
    with pytest.raises(BackendUnavailable, match="The first 1000 of 2500 tasks were"):
        sample_tasks.add.enqueue_many([(n,) for n in range(2500)])
    assert calls == [1000, 1000]
    assert len(queue.envelopes) == 1000


class Forgetful(MemoryBackend):
    max_delay_s = 60


def task_with(backoff):
    return Task(
        func=sample_tasks.break_down.func,
        backend="default",
        priority=0,
        queue_name="default",
        run_after=None,
        takes_context=False,
        max_attempts=2,
        backoff=backoff,
    )


def test_backoff_beyond_what_the_broker_keeps_is_refused(settings):
    path = f"{__name__}.Forgetful"
    settings.TASKS = {"default": {"BACKEND": path, "OPTIONS": {"DELIVERY": "native"}}}
    for backoff in (61, (1, 61), exponential(cap=60)):
        with pytest.raises(
            InvalidTask, match="cannot delay a retry in native delivery by more than 60"
        ):
            task_with(backoff)
    task_with(60)
    settings.TASKS = {"default": {"BACKEND": path}}
    task_with(3600)


def test_backoff_that_is_only_known_later_is_cut_short(settings, caplog, monkeypatch):
    path = f"{__name__}.Forgetful"
    settings.TASKS = {"default": {"BACKEND": path, "OPTIONS": {"DELIVERY": "native"}}}
    backend = task_backends["default"]
    sample_tasks.very_patient.enqueue()
    backend.run_due()
    [envelope] = backend.envelopes
    backend.envelopes.clear()
    assert envelope.run_after - timezone.now() <= timedelta(seconds=60)
    assert "is retried after 60 s instead of 600" in caplog.text
