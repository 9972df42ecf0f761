"""Where a run happens: its Redis, its database, its directory, and their end."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import redis

from taskbridge.testing.services import Redis
from taskbridge.testing.services.process import Guard

from .contenders import SLOTS, Calls, Contender
from .databases import RedisDatabase, redis_url
from .interrupts import Interrupts
from .ledger import Ledger, Round
from .workers import MARK, Workers

ANSWER_TIMEOUT_S = 10
START_S = 30.0
"""How long a worker may take until each of its slots has run a task."""


class Stage:
    """The worker and the ledger that scenarios work with."""

    def __init__(self, ledger: Ledger, workers: Workers, redis_source: str) -> None:
        self.ledger = ledger
        self.workers = workers
        self.redis = redis_source
        """Where Redis comes from, for humans."""

    def hold_slots(self, contender: Contender, calls: Calls) -> Round:
        """Return when a gate keeps each slot of the contender's worker.

        The worker is started if it does not run. `Ledger.release` opens the gates.
        """
        gates = self.ledger.new_round(SLOTS)
        for key in range(gates.total):
            calls.hold(gates.id, key, gates.total)
        if self.workers.contender is None:
            self.workers.start(contender)
        self.ledger.wait(gates, START_S)
        self.ledger.judge(gates)
        return gates

    def clear(self) -> list[str]:
        """End the worker; return what the ledger says now that none can write to it."""
        if self.workers.contender is None:
            return []
        try:
            self.ledger.release_all()
        finally:
            self.workers.stop()
        return self.ledger.close_rounds()


@contextlib.contextmanager
def open_stage(interrupts: Interrupts) -> Iterator[Stage]:
    """Start Redis, migrate a database, set Django up; end all of it at the end."""
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(Redis())
        with interrupts.held():
            directory = Path(tempfile.mkdtemp(prefix="taskbridge-bench-"))
            guard = Guard(directory)
            stack.callback(guard.close)  # it deletes the directory
        environ = _environ(service.url, directory)
        os.environ.update(environ)
        _flush(service.url)
        _set_up_django()
        # The directory takes what a library forgets in TMPDIR as well.
        marked = {**os.environ, MARK: secrets.token_hex(8), "TMPDIR": str(directory)}
        workers = Workers(directory, guard, marked, interrupts.held)
        stack.callback(workers.stop)
        client = _client(service.url, RedisDatabase.LEDGER)
        stack.callback(client.close)
        yield Stage(Ledger(client, workers.check), workers, service.source)


def _environ(url: str, directory: Path) -> Mapping[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "taskbridge_bench.settings",
        "TASKBRIDGE_BENCH_REDIS_URL": url,
        "TASKBRIDGE_BENCH_LEDGER_URL": redis_url(url, RedisDatabase.LEDGER),
        "TASKBRIDGE_BENCH_SQLITE": str(directory / "bench.sqlite3"),
    }


def _client(url: str, database: RedisDatabase) -> redis.Redis:
    return redis.Redis.from_url(
        redis_url(url, database), socket_timeout=ANSWER_TIMEOUT_S
    )


def _flush(url: str) -> None:
    for database in RedisDatabase:
        client = _client(url, database)
        client.flushdb()
        client.close()


def _set_up_django() -> None:
    import django  # noqa: PLC0415 - reads the environment, which had to be set first
    from django.core.management import call_command  # noqa: PLC0415 - see above

    django.setup()
    call_command("migrate", verbosity=0)
