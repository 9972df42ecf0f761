"""The contract, run on every backend and broker with real worker processes."""

import pytest

from taskbridge.testing.contract import BackendContract
from taskbridge.testing.contract_durable import DurableContract


@pytest.mark.usefixtures("redis_service")
class TestCeleryOnRedis(BackendContract):
    alias = "celery_redis"

    @pytest.fixture
    def recovery_environment(self, worker_environment):
        """What was taken and never acknowledged comes back to the next worker."""
        return {**worker_environment, "TESTS_VISIBILITY_TIMEOUT": "1"}


@pytest.mark.usefixtures("rabbitmq_service")
class TestCeleryOnRabbitMQ(BackendContract):
    alias = "celery_rabbitmq"


@pytest.mark.usefixtures("redis_service")
class TestDjangoQOnRedis(BackendContract):
    alias = "django_q_redis"


class TestDjangoQOnItsOrmBroker(BackendContract):
    alias = "django_q_orm"

    @pytest.fixture
    def recovery_environment(self, worker_environment):
        return {**worker_environment, "TESTS_RETRY": "4"}


class TestBackgroundTasks(BackendContract):
    alias = "background_tasks"

    @pytest.fixture
    def recovery_environment(self, worker_environment):
        return {**worker_environment, "TESTS_MAX_RUN_TIME": "4"}


@pytest.mark.usefixtures("redis_service")
class TestDurableCeleryOnRedis(DurableContract):
    alias = "durable_celery_redis"


@pytest.mark.usefixtures("rabbitmq_service")
class TestDurableCeleryOnRabbitMQ(DurableContract):
    alias = "durable_celery_rabbitmq"


@pytest.mark.usefixtures("redis_service")
class TestDurableDjangoQOnRedis(DurableContract):
    alias = "durable_django_q_redis"


class TestDurableDjangoQOnItsOrmBroker(DurableContract):
    alias = "durable_django_q_orm"


class TestDurableBackgroundTasks(DurableContract):
    alias = "durable_background_tasks"
