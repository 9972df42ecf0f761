"""A queue that is paused keeps what waits, on every backend with real workers."""

import pytest

from taskbridge.models import TaskRecord
from taskbridge.pausing import pause, paused, resume
from taskbridge.store.pausing import parked_at
from taskbridge.testing import tasks
from taskbridge.testing.contracts.fixtures import ContractFixtures
from taskbridge.testing.harness import wait_until

MANY = 20


class Pausing(ContractFixtures):
    def test_paused_queue_waits_while_another_goes_on(
        self, enqueue, start_worker, ledger
    ):
        pause("default", backend=self.alias, by="the test")
        held = [enqueue(tasks.record, f"held {n}") for n in range(MANY)]
        other = {f"mail {n}": 1 for n in range(5)}
        for key in other:
            enqueue(tasks.record, key, queue_name="mail")
        start_worker()
        wait_until(lambda: ledger.counts("ran") == other, "the other queue was run")
        at = parked_at("default")
        parked = TaskRecord.objects.filter(wake_at=at, pushes=0, attempt=0)
        wait_until(lambda: parked.count() == MANY, "workers have refused all the rest")
        assert ledger.counts("ran") == other
        [(name, since)] = paused(backend=self.alias).items()
        assert (name, since.by) == ("default", "the test")

        assert resume("default", backend=self.alias)
        everything = other | {f"held {n}": 1 for n in range(MANY)}
        wait_until(lambda: ledger.counts("ran") == everything, "all have run")
        for result in held:
            wait_until(lambda r=result: _is_finished(r), "it has finished")
            assert result.attempts == 1

    def test_burst_ends_although_a_paused_queue_has_something(
        self, enqueue, run_burst, ledger
    ):
        pause("default", backend=self.alias)
        for n in range(3):
            enqueue(tasks.record, f"held {n}")
        enqueue(tasks.record, "mail", queue_name="mail")
        run_burst()
        assert ledger.counts("ran") == {"mail": 1}
        resume("default", backend=self.alias)
        run_burst()
        assert len(ledger.counts("ran")) == 4


def _is_finished(result):
    result.refresh()
    return result.is_finished


@pytest.mark.usefixtures("redis_service")
class TestCeleryOnRedis(Pausing):
    alias = "durable_celery_redis"


@pytest.mark.usefixtures("rabbitmq_service")
class TestCeleryOnRabbitMQ(Pausing):
    alias = "durable_celery_rabbitmq"


@pytest.mark.usefixtures("redis_service")
class TestDjangoQOnRedis(Pausing):
    alias = "durable_django_q_redis"


class TestDjangoQOnItsOrmBroker(Pausing):
    alias = "durable_django_q_orm"


class TestBackgroundTasks(Pausing):
    alias = "durable_background_tasks"
