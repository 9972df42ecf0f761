"""Everything that happens to servers, links and processes, one at a time or two."""

import contextlib
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymysql
import redis

from taskbridge.models import TaskRecord
from taskbridge.testing.harness import WorkerProcess, send_signal, session_members
from taskbridge.testing.services import Redis, Service

from .hosts import Host
from .processes import kill_one
from .scene import Scene

TABLE = TaskRecord._meta.db_table
HOUR_S = 3600
PATIENCE = ("--graceful-timeout", "10")

Trouble = Any
"""A method that returns a context manager: the trouble lasts as long as its block."""


class Database:
    """What an administrator, or a failover, does to a database server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_postgresql = url.startswith("postgresql")

    def troubles(self) -> list[Trouble]:
        return [self.lock, self.read_only, self.terminate]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold up all that touches the records, as a migration does."""
        with self._connected() as execute:
            if self._is_postgresql:
                execute("BEGIN")
                execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
            else:
                execute(f"LOCK TABLES {TABLE} WRITE")
            yield  # the lock ends with the connection

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Refuse all that writes, as a standby does."""
        self._set_read_only("on")
        try:
            yield
        finally:
            self._set_read_only("off")

    @contextlib.contextmanager
    def terminate(self) -> Iterator[None]:
        """End all connections."""
        with self._connected() as execute:
            if self._is_postgresql:
                others = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
                execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    f"WHERE {others}"
                )
            else:
                listed = "information_schema.processlist WHERE id <> connection_id()"
                for (number,) in execute(f"SELECT id FROM {listed} AND user = 'app'"):
                    with contextlib.suppress(pymysql.MySQLError):  # it has ended
                        execute(f"KILL {number}")
        yield

    def _set_read_only(self, value: str) -> None:
        with self._connected() as execute:
            if self._is_postgresql:
                execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
                execute("SELECT pg_reload_conf()")
            else:
                execute(f"SET GLOBAL read_only = {value}")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Callable[[str], Any]]:
        if self._is_postgresql:
            with contextlib.closing(psycopg.connect(self._url, autocommit=True)) as own:
                yield own.execute
            return
        split = urlsplit(self._url)
        with contextlib.closing(
            pymysql.connect(
                host=split.hostname,
                port=split.port,
                user=split.username,
                password=split.password or "",
                database=split.path[1:],
                autocommit=True,
            )
        ) as connection:

            def execute(sql: str) -> Any:
                cursor = connection.cursor()
                cursor.execute(sql)
                return cursor.fetchall()

            yield execute

    def make_user(self) -> str:
        """Make a user for whom read-only holds; return the URL that it connects to."""
        if self._is_postgresql:
            return self._url
        split = urlsplit(self._url)
        with self._connected() as execute:
            password = secrets.token_hex(8)
            execute(f"CREATE USER app IDENTIFIED BY '{password}'")
            execute(f"GRANT ALL ON {split.path[1:]}.* TO app")
        place = f"app:{password}@{split.hostname}:{split.port}"
        return split._replace(netloc=place).geturl()


class Broker:
    """What happens to a broker."""

    def __init__(self, service: Service, scene: Scene) -> None:
        self._service = service
        self._scene = scene

    def troubles(self) -> list[Trouble]:
        return [self.silent, self.refusing, self.forgetful]

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Take connections, and say nothing."""
        pids = session_members(self._service.pids[-1])
        send_signal(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            send_signal(pids, signal.SIGCONT)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Be down."""
        self._service.stop()
        try:
            yield
        finally:
            self._service.start()

    @contextlib.contextmanager
    def forgetful(self) -> Iterator[None]:
        """Drop all messages."""
        if isinstance(self._service, Redis):
            with redis.Redis.from_url(self._service.url) as client:
                client.flushall()
        else:
            self._scene.backend.purge(self._scene.backend.queues)
        yield


class Machine:
    """A host, its worker, and what happens to them."""

    def __init__(
        self, host: Host, scene: Scene, chance: random.Random, skew: Path, **env: str
    ) -> None:
        self._host = host
        self._scene = scene
        self._chance = chance
        self._skew = skew
        self._environment = env
        self._skew.write_text("0")
        self.worker = self._start()

    def troubles(self) -> list[Trouble]:
        return [
            *4 * [self.kill],
            *[link.is_cut for link in self._host.links.values()],
            self.freeze,
            self.skew,
        ]

    @contextlib.contextmanager
    def kill(self) -> Iterator[None]:
        """Kill -9 one process."""
        kind = self._chance.choice(["child", "child", "worker", "dispatcher", "all"])
        if kind == "all":
            self.worker.process.kill()
            self.worker = self._start()
        else:
            kill_one(kind, self.worker.pid, self._chance)
        yield

    @contextlib.contextmanager
    def freeze(self) -> Iterator[None]:
        """Stop the worker with all its processes."""
        pids = session_members(self.worker.pid)
        send_signal(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            send_signal(pids, signal.SIGCONT)

    @contextlib.contextmanager
    def skew(self) -> Iterator[None]:
        """Set its clock forwards or back."""
        self._skew.write_text(str(self._chance.choice([HOUR_S, -HOUR_S])))
        try:
            yield
        finally:
            self._skew.write_text("0")

    def _start(self) -> WorkerProcess:
        return self._scene.start_worker(
            *PATIENCE,
            host=self._host,
            ready=False,
            SKEW_FILE=str(self._skew),
            **self._environment,
        )


def trouble_for(
    seconds: float, troubles: list[Trouble], chance: random.Random
) -> list[str]:
    """Make trouble, at times two kinds at once; return the names, in order."""
    names = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.ExitStack() as stack:
            chosen = chance.sample(troubles, chance.choice([1, 1, 2]))
            # One at a time of each server or host: a silent broker forgets nothing.
            for trouble in {id(t.__self__): t for t in chosen}.values():
                names.append(f"{type(trouble.__self__).__name__}.{trouble.__name__}")
                print(names[-1], end=" ", flush=True)  # noqa: T201
                stack.enter_context(trouble())
                time.sleep(chance.uniform(0, 5))
        time.sleep(chance.uniform(0, 3))
    return names
