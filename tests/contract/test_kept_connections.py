"""Connections of the project in real workers, where it has Django's CONN_MAX_AGE: 0."""

import pytest
from django.db import connection

from taskbridge.testing.contracts.fixtures import ContractFixtures
from taskbridge.testing.harness import wait_until
from tests.contract.connection_tasks import note_session

TASKS = 50
PROCESSES = 2
OPENED_AT_MOST = 12
"""By all processes, with the queue's, the dispatcher's and those for records."""


class KeptConnections(ContractFixtures):
    @pytest.fixture
    def worker(self, request, backend, worker_environment, start_worker):
        if connection.vendor == "sqlite":
            pytest.skip("SQLite has no sessions; run it on another database.")
        usual = {"DJANGO_SETTINGS_MODULE": "tests.contract.usual_settings"}
        return start_worker(
            concurrency=PROCESSES, environment={**worker_environment, **usual}
        )

    @pytest.fixture
    def run(self, worker, backend, ledger):
        """Run tasks, one a message, to their end; return the session of each."""

        def run(*keys):
            task = note_session.using(backend=self.alias)
            results = [task.enqueue(str(ledger.path), key) for key in keys]

            def noted():
                return {e.key: e.event for e in ledger.entries() if e.key in keys}

            def are_over():
                if backend.keeps_records:
                    records = backend.store.get([result.id for result in results])
                    return all(record.finished_at for record in records)
                return len(noted()) == len(keys)

            wait_until(are_over, f"all have run:\n{worker.log_tail()}")
            return noted()

        return run

    def test_tasks_of_a_process_share_a_connection(self, run):
        sessions = run(*map(str, range(TASKS)))
        assert len(sessions) == TASKS
        assert len(set(sessions.values())) <= PROCESSES

    def test_few_connections_are_opened_at_all(self, run, worker):
        if connection.vendor != "postgresql":
            pytest.skip("Only PostgreSQL counts the sessions of one database.")
        before = sessions_opened()
        run(*map(str, range(TASKS)))
        worker.stop()  # what was opened is counted when it ends
        assert sessions_opened() - before <= OPENED_AT_MOST

    def test_session_that_the_server_has_ended_fails_no_task(self, run):
        keys = [str(n) for n in range(8)]
        ended = set(run(*keys).values())
        for session in ended:
            end_session(session)
        sessions = run(*(f"after {key}" for key in keys))
        assert len(sessions) == len(keys)
        assert not ended & set(sessions.values())


@pytest.mark.usefixtures("redis_service")
class TestDurableOnCelery(KeptConnections):
    alias = "durable_celery_redis"


class TestDurableOnDjangoQ(KeptConnections):
    alias = "durable_django_q_orm"


class TestDurableOnBackgroundTasks(KeptConnections):
    alias = "durable_background_tasks"


class TestNativeOnBackgroundTasks(KeptConnections):
    alias = "background_tasks"


def sessions_opened():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
        )
        return cursor.fetchone()[0]


def end_session(number):
    end = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
    with connection.cursor() as cursor:
        cursor.execute(end[connection.vendor], [int(number)])
