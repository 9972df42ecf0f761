"""Where a run happens: its ledger, its workers, its directory, and their end."""

import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import redis

from taskbridge.testing.services import Service
from taskbridge.testing.services.process import Guard

from . import additions
from .availability import available
from .contenders import CONTENDERS, Calls, Contender
from .databases import RedisDatabase, redis_url
from .interrupts import Interrupts
from .ledger import Ledger, Round
from .servers import Servers
from .verdict import WrongExecution
from .workers import MARK, Workers

ANSWER_TIMEOUT_S = 10
START_S = 30.0
"""How long a worker may take until each of its slots has run a task."""
RECORDS_S = 5.0
"""How long the records of tasks that have started may take to become SUCCESSFUL."""
LOOK_EVERY_S = 0.02


class Stage:
    """The worker and the ledger that scenarios work with.

    Args:
        ledger: of the run.
        workers: of the run.
        brokers: what a scenario may stop and start; see `Servers.brokers`.
    """

    def __init__(
        self,
        ledger: Ledger,
        workers: Workers,
        brokers: Mapping[str, Service] | None = None,
    ) -> None:
        self.ledger = ledger
        self.workers = workers
        self.brokers = brokers or {}
        self.saturation: dict[tuple[str, str], float] = {}
        """Tasks per second by profile and contender; see `scenarios.saturation`."""

    def hold_slots(self, contender: Contender, calls: Calls) -> Round:
        """Return when a gate keeps each slot of the contender's worker.

        The worker is started if it does not run. `Ledger.release` opens the gates.
        """
        gates = self.ledger.new_round(contender.slots + contender.hoarded)
        for key in range(gates.total):
            calls.hold(gates.id, key, gates.total)
        if self.workers.contender is None:
            self.workers.start(contender)
        if contender.hoarded:
            self.ledger.wait_for_runs(gates, contender.slots, START_S)
        else:
            self.ledger.wait(gates, START_S)
            self.ledger.judge(gates)
        self._forget_rows()
        return gates

    def settle(self, calls: Calls) -> int:
        """Return how many records there are, once all of them are SUCCESSFUL.

        Where no records are kept it is 0, at once.

        Raises:
            WrongExecution: some are not, in time; it says which status they have.
        """
        if calls.records is None:
            return 0
        end = time.monotonic() + RECORDS_S
        while True:
            counts = calls.records()
            if set(counts) <= {"SUCCESSFUL"}:
                return sum(counts.values())
            if time.monotonic() > end:
                raise WrongExecution(
                    f"{RECORDS_S:.0f} s after the last task started, its records are "
                    f"{', '.join(f'{n} {status}' for status, n in counts.items())}."
                )
            self.workers.check()
            time.sleep(LOOK_EVERY_S)

    def clear(self) -> list[str]:
        """End the worker; return what the ledger says now that none can write to it."""
        if self.workers.contender is None:
            return []
        try:
            self.ledger.release_all()
        finally:
            self.workers.stop()
        self._forget_rows()
        return self.ledger.close_rounds()

    def _forget_rows(self) -> None:
        """Delete what tasks of the work "orm" wrote; no task must run."""
        if self.workers.variables.get("TASKBRIDGE_BENCH_WORK") == "orm":
            from .native.models import Written  # noqa: PLC0415 - Django is set up later

            Written.objects.all().delete()


@contextlib.contextmanager
def open_stage(
    interrupts: Interrupts,
    servers: Servers,
    contenders: Sequence[Contender] = CONTENDERS,
) -> Iterator[Stage]:
    """Set Django up and migrate the database; end all that was started at the end.

    Args:
        interrupts: of the run.
        servers: of the run.
        contenders: who could take part; Django gets the apps of those who can.
    """
    with contextlib.ExitStack() as stack:
        with interrupts.held():
            directory = Path(tempfile.mkdtemp(prefix="taskbridge-bench-"))
            guard = Guard(directory)
            stack.callback(guard.close)  # it deletes the directory
        os.environ.update(_environ(servers, directory))
        os.environ.update(additions.merged(available(contenders, servers)))
        for url in {servers.redis_url, servers.ledger_url}:
            _flush(url)
        _set_up_django(stack)
        # The directory takes what a library forgets in TMPDIR as well.
        marked = {**os.environ, MARK: secrets.token_hex(8), "TMPDIR": str(directory)}
        for name in additions.VARIABLES:
            marked.pop(name)  # a worker has those of its own contender
        workers = Workers(directory, guard, marked, interrupts.held)
        stack.callback(workers.stop)
        client = _client(servers.ledger_url, RedisDatabase.LEDGER)
        stack.callback(client.close)
        yield Stage(Ledger(client, workers.check), workers, servers.brokers)


def _environ(servers: Servers, directory: Path) -> Mapping[str, str]:
    ledger = directory / "ledger"
    ledger.mkdir()
    environ = {
        "DJANGO_SETTINGS_MODULE": "taskbridge_bench.settings",
        "TASKBRIDGE_BENCH_REDIS_URL": servers.redis_url,
        "TASKBRIDGE_BENCH_LEDGER_URL": redis_url(
            servers.ledger_url, RedisDatabase.LEDGER
        ),
        "TASKBRIDGE_BENCH_LEDGER": str(ledger),
        "TASKBRIDGE_BENCH_DATABASE_URL": servers.database_url(directory),
    }
    if servers.rabbitmq_url:
        environ["TASKBRIDGE_BENCH_RABBITMQ_URL"] = servers.rabbitmq_url
    return environ


def _client(url: str, database: RedisDatabase) -> redis.Redis:
    return redis.Redis.from_url(
        redis_url(url, database), socket_timeout=ANSWER_TIMEOUT_S
    )


def _flush(url: str) -> None:
    for database in RedisDatabase:
        client = _client(url, database)
        client.flushdb()
        client.close()


def _set_up_django(stack: contextlib.ExitStack) -> None:
    import django  # noqa: PLC0415 - reads the environment, which had to be set first
    from django.core.management import call_command  # noqa: PLC0415 - see above
    from django.db import connections  # noqa: PLC0415 - see above

    django.setup()
    stack.callback(connections.close_all)
    call_command("migrate", run_syncdb=True, verbosity=0)
