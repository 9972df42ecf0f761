"""What counts as due, where the queue is a table that keeps more than that."""

from datetime import timedelta
from typing import Any

import pytest

from taskbridge.compat import task_backends
from taskbridge.testing import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def _take(backend: Any) -> None:
    """Take what is due, as a worker does."""
    if backend.alias == "django_q_orm":
        assert backend.broker(["default"]).dequeue()
    else:
        rows = backend._rows()
        name = backend.name_in_broker("default")
        assert rows.claim(rows.due([name], 1), "somebody")


@pytest.mark.parametrize("alias", ["django_q_orm", "background_tasks"])
def test_only_what_can_be_taken_now_is_due(alias: str) -> None:
    backend = task_backends[alias]
    later = tasks.record.using(backend=alias, run_after=timedelta(minutes=1))
    later.enqueue("ledger", "later")
    assert not backend.has_due(["default"])

    tasks.record.using(backend=alias).enqueue("ledger", "now")
    assert backend.has_due(["default"])

    _take(backend)
    assert not backend.has_due(["default"])
    assert backend.queue_depths()["default"] > 0
