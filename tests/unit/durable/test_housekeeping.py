"""How much old records, and counting them, may cost; and what the commands say."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from taskbridge.dispatch.house import (
    FIRST_BATCH,
    LEAST_BATCH,
    MOST_IN_BATCH,
    PruneBatch,
    Pruning,
)
from taskbridge.management.subcommands import status
from taskbridge.models import TaskRecord
from taskbridge.options import DurableOptions
from taskbridge.store import Pruned
from tests.unit import sample_tasks
from tests.unit.durable.statements import Statements
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)

add = sample_tasks.add.using(backend=ALIAS)


def sizes(*batches):
    """Return the sizes after batches of (rows deleted or None for all, seconds)."""
    batch, found = PruneBatch(), []
    for deleted, took_s in batches:
        rows = batch.size if deleted is None else deleted
        batch.note(Pruned(rows, 0, more=True), took_s)
        found.append(batch.size)
    return found


def test_batches_that_are_quick_grow_up_to_a_limit():
    found = sizes(*[(None, 0.01)] * 5)
    assert found == [2000, 4000, 8000, MOST_IN_BATCH, MOST_IN_BATCH]


def test_batches_that_are_slow_shrink_to_what_fits():
    assert sizes((None, 0.4)) == [FIRST_BATCH // 2]
    assert sizes((None, 1)) == [FIRST_BATCH // 5]
    assert sizes((None, 0.21)) == [FIRST_BATCH // 2]
    assert sizes((None, 60)) == [LEAST_BATCH]


def test_batches_of_which_nothing_is_learnt_stay_as_they_are():
    assert sizes((3, 0.001), (None, 0.15)) == [FIRST_BATCH, FIRST_BATCH]


@pytest.mark.parametrize("more", [True, False])
def test_pruning_goes_on_at_once_only_if_there_is_more(more):
    class Store:
        limits = []  # noqa: RUF012 - of this test

        def prune(self, *, limit, **ages):
            self.limits.append(limit)
            return Pruned(limit, 0, more=more)

    store = Store()
    pruning = Pruning(store, DurableOptions())
    pruning.step()
    assert pruning.step() == (2 * FIRST_BATCH if more else None)
    assert store.limits == [FIRST_BATCH, 2 * FIRST_BATCH][: 1 + more]


@pytest.fixture
def finished(queue):
    """Three records that finished long ago, and one that waits."""
    add.enqueue_many([(n,) for n in range(3)])
    queue.run_due()
    add.enqueue(9)
    long_ago = timezone.now() - timedelta(days=9)
    TaskRecord.objects.filter(status="SUCCESSFUL").update(finished_at=long_ago)


def output_of(*arguments):
    out = StringIO()
    call_command("taskbridge", *arguments, stdout=out, no_color=True)
    return out.getvalue()


def test_prune_deletes_batch_after_batch(finished, monkeypatch):
    monkeypatch.setattr("taskbridge.dispatch.house.FIRST_BATCH", 1)
    counted = Statements()
    with connection.execute_wrapper(counted):
        said = output_of("prune", "--backend", ALIAS, "--older-than", "7d")
    assert said == "3 records deleted.\n"
    assert counted.verbs.count("DELETE") == 2  # of one, and of two
    assert TaskRecord.objects.count() == 1


def test_status_counts_up_to_a_number_and_says_so(finished, monkeypatch, settings):
    settings.TASKS = {ALIAS: settings.TASKS[ALIAS]}  # which needs no broker
    monkeypatch.setattr(status, "COUNTED", 2)
    assert "  tasks: 1 READY, 2 or more SUCCESSFUL\n" in output_of("status")
    entry = json.loads(output_of("status", "--json"))[ALIAS]
    assert entry["tasks"] == {"READY": 1, "SUCCESSFUL": 2}
    assert entry["tasks_counted_up_to"] == 2
