"""A success in a chunk is saved while its neighbour still runs."""

import threading

import pytest
from django.db import DatabaseError

import taskbridge
from taskbridge import StoreUnavailable
from taskbridge.models import TaskRecord
from taskbridge.testing.harness import wait_until
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)


@taskbridge.task(backend=ALIAS)
def outlast(count):
    """Run until so many of the neighbours are saved; return their statuses then."""
    wait_until(lambda: statuses().count("SUCCESSFUL") == count, "they are saved")
    return statuses()


def statuses():
    """Return those of all tasks, in the order of their arguments."""
    records = TaskRecord.objects.order_by("arguments")
    return list(records.values_list("status", flat=True))


@pytest.fixture
def chunked(configured, patient):
    return configured(CHUNK=10)


@pytest.fixture
def in_thread(chunked, monkeypatch):
    """Replace `Store.succeed`, but for the thread that runs the tasks."""
    succeed = chunked.store.succeed
    main = threading.current_thread()

    def replace(other):
        def choose(values, *, token):
            if threading.current_thread() is main:
                return succeed(values, token=token)
            return other(succeed, values, token=token)

        monkeypatch.setattr(chunked.store, "succeed", choose)

    return replace


def test_successes_are_saved_while_their_neighbour_runs(chunked, heard):
    results = outlast.enqueue_many([(0,), (0,), (2,)])
    assert len(chunked.envelopes) == 1
    chunked.run_due()
    for result in results:
        result.refresh()
    assert [result.status for result in results] == ["SUCCESSFUL"] * 3
    assert results[2].return_value == ["SUCCESSFUL", "SUCCESSFUL", "RUNNING"]
    assert [each.id for each in heard["finished"]] == [each.id for each in results]


def test_each_long_neighbour_has_those_before_it_saved(chunked, heard):
    results = outlast.enqueue_many([(n,) for n in range(4)])
    chunked.run_due()
    assert statuses() == ["SUCCESSFUL"] * 4
    assert [each.id for each in heard["finished"]] == [each.id for each in results]


def test_saving_is_tried_again_while_the_neighbour_runs(chunked, in_thread, heard):
    tries = []

    def away_at_first(succeed, values, *, token):
        tries.append(list(values))
        if len(tries) == 1:
            raise StoreUnavailable("the database is away")
        return succeed(values, token=token)

    in_thread(away_at_first)
    result = outlast.enqueue_many([(0,), (1,)])[0]
    chunked.run_due()
    assert tries == [[result.id]] * 2
    assert len(heard["finished"]) == 2


def test_value_that_cannot_be_saved_leaves_its_neighbours_alone(
    chunked, in_thread, heard
):
    """The failure is saved by the thread that runs the tasks, with its policy."""
    results = outlast.enqueue_many([(0,), (0,), (1,)])

    def refuse(succeed, values, *, token):
        if results[0].id in values:
            raise DatabaseError("too large")
        return succeed(values, token=token)

    in_thread(refuse)
    chunked.run_due()
    assert statuses() == ["SUCCESSFUL"] * 3
    assert [each.id for each in heard["finished"]] == [results[n].id for n in (1, 0, 2)]


def test_success_whose_lease_was_lost_is_refused_and_told(chunked, caplog):
    results = lose_first.enqueue_many([(n,) for n in range(3)])
    chunked.run_due()
    assert statuses() == ["READY", "SUCCESSFUL", "SUCCESSFUL"]
    assert f"id={results[0].id}" in caplog.text
    assert "ended here in attempt 1 after its lease was lost" in caplog.text


@taskbridge.task(backend=ALIAS)
def lose_first(number):
    if number == 1:
        first = TaskRecord.objects.filter(arguments__contains="[0]")
        first.update(token="", status="READY")
    if number == 2:
        wait_until(lambda: statuses().count("SUCCESSFUL") == 1, "it is saved")
