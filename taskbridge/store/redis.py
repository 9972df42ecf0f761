"""Records in Redis; see `Store` for what each method promises.

Each method is one script (see `lua`), hence one round trip and one atomic step. Redis
must keep what it is given: ``maxmemory-policy noeviction``, and an append-only file
where tasks have to survive a crash of the server.
"""

from __future__ import annotations

import contextlib
import json
import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from django.db import connection, transaction

from taskbridge.compat import InvalidTaskBackend
from taskbridge.exceptions import StoreUnavailable
from taskbridge.models import TaskRecord

from . import Due, Store, lua

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ModuleNotFoundError as exc:
    raise ImportError(
        "OPTIONS['STORE'] = 'redis' needs redis-py: pip install 'taskbridge[redis]'"
    ) from exc

if TYPE_CHECKING:
    from taskbridge.backend import Backend

logger = logging.getLogger("taskbridge")

SCHEMES = ("redis://", "rediss://", "unix://")
CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 4
REDIRECT_BATCH = 1000

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
INSTANTS = (
    *("run_after", "enqueued_at", "started_at", "last_attempted_at", "finished_at"),
    "wake_at",
)
NUMBERS = ("priority", "attempt", "lost", "pushes")
STATUSES = ("READY", "RUNNING", "SUCCESSFUL", "FAILED")


class RedisStore(Store):
    """Hashes in the Redis that OPTIONS["STORE_URL"] or ["BROKER_URL"] names."""

    def __init__(self, alias: str, url: str) -> None:
        self._alias = alias
        self._client = _client(url)
        self._keys = [f"taskbridge:{{{alias}}}:{name}" for name in lua.KEYS]
        self._record_prefix = f"taskbridge:{{{alias}}}:record:"

    @classmethod
    def of(cls, backend: Backend) -> Self:
        """Return the store of a backend, not connected yet.

        Raises:
            InvalidTaskBackend: its OPTIONS name no Redis.
        """
        key = "STORE_URL" if backend.durable_options.store_url else "BROKER_URL"
        url = backend.durable_options.store_url or backend.options.get("BROKER_URL")
        if not isinstance(url, str) or not url.startswith(SCHEMES):
            raise InvalidTaskBackend(
                f"{backend} keeps its records in Redis, and nothing says in which one. "
                f"Set OPTIONS['STORE_URL'] to a URL that starts with "
                f"{', '.join(SCHEMES)}."
            )
        try:
            return cls(backend.alias, url)
        except (ValueError, TypeError):
            # What redis-py says may quote a part of the password.
            raise InvalidTaskBackend(
                f"{backend}: OPTIONS[{key!r}] is no URL that redis-py understands. "
                f"Write it as redis://USER:PASSWORD@HOST:PORT/DATABASE, with special "
                f"characters of the password percent-encoded."
            ) from None

    def insert(
        self, records: Sequence[TaskRecord], then: Callable[[], None] | None
    ) -> None:
        """See `Store.insert`. In a transaction of the default database, on commit.

        A crash between the commit and the answer of Redis loses them. If it cannot be
        reached then, what raises is the ``atomic`` block, whose changes are committed.
        """
        rows = [_encode(record) for record in records]

        def insert() -> None:
            self._run(lua.INSERT, *rows)
            if then is not None:
                _call(then)

        if _is_in_transaction():
            transaction.on_commit(insert)
        else:
            insert()

    def claim(
        self,
        ids: Sequence[str],
        *,
        attempt: int,
        worker_ids: str,
        token: str,
        lease_s: float,
        again: bool = False,
    ) -> Collection[str]:
        """See `Store.claim`."""
        lease = _microseconds(lease_s)
        claimed: list[str] = self._run(
            lua.CLAIM, attempt, worker_ids, token, lease, int(again), *ids
        )
        return claimed

    def extend(self, ids: Collection[str], *, token: str, lease_s: float) -> None:
        """See `Store.extend`."""
        self._run(lua.EXTEND, token, _microseconds(lease_s), *ids)

    def succeed(self, return_values: Mapping[str, str], *, token: str) -> int:
        """See `Store.succeed`."""
        pairs = [word for pair in return_values.items() for word in pair]
        return int(self._run(lua.SUCCEED, token, *pairs))

    def retry(self, record_id: str, *, token: str, errors: str, after_s: float) -> bool:
        """See `Store.retry`."""
        after = _microseconds(after_s)
        return bool(self._run(lua.RETRY, record_id, token, errors, after))

    def fail(self, record_id: str, *, token: str, errors: str) -> bool:
        """See `Store.fail`."""
        return bool(self._run(lua.FAIL, record_id, token, errors))

    def look(self, *, horizon_s: float, limit: int) -> list[Due]:
        """See `Store.look`."""
        found = self._run(lua.LOOK, _microseconds(horizon_s), limit)
        return [
            Due(id=key, status=status, pushes=int(pushes), in_s=int(us) / 1_000_000)
            for key, status, pushes, us in found
        ]

    def take(
        self, ids: Collection[str], *, token: str, again_s: float, pushed_to: str
    ) -> list[TaskRecord]:
        """See `Store.take`."""
        again = _microseconds(again_s)
        return self._records(self._run(lua.TAKE, token, again, pushed_to, *ids))

    def put_back(self, ids: Collection[str], *, token: str, after_s: float) -> None:
        """See `Store.put_back`."""
        self._run(lua.PUT_BACK, token, _microseconds(after_s), *ids)

    def expire(self, record: TaskRecord, *, errors: str, rerun: bool) -> bool:
        """See `Store.expire`."""
        expired = self._run(lua.EXPIRE, record.id.hex, record.token, errors, int(rerun))
        return bool(expired)

    def redirect(self, pushed_to: str) -> int:
        """See `Store.redirect`. It reads only those that were pushed elsewhere."""
        total = 0
        while True:
            seen, redirected = self._run(lua.REDIRECT, pushed_to, REDIRECT_BATCH)
            total += int(redirected)
            if not seen:
                return total

    def prune(
        self, *, successful_s: float | None, failed_s: float | None, limit: int
    ) -> int:
        """See `Store.prune`. It reads only those that it deletes."""
        ages = [
            "" if age_s is None else _microseconds(age_s)
            for age_s in (successful_s, failed_s)
        ]
        return int(self._run(lua.PRUNE, limit, *ages))

    def get(self, ids: Collection[str]) -> list[TaskRecord]:
        """See `Store.get`."""
        return self._records(self._run(lua.GET, *ids))

    def counts(self) -> dict[str, int]:
        """See `Store.counts`."""
        counts = zip(STATUSES, self._run(lua.COUNTS), strict=True)
        return {status: count for status, count in counts if count}

    # How.

    def _run(self, script: str, *arguments: str | int) -> Any:
        """Run a script, by its hash; redis-py sends the text where it is not known."""
        with self._translated_errors():
            run = _registered(self._client, script)
            return run(self._keys, [self._record_prefix, *arguments])

    def _records(self, found: Iterable[tuple[str, list[str]]]) -> list[TaskRecord]:
        return [_decode(self._alias, key, fields) for key, fields in found]

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as exc:
            raise StoreUnavailable(
                f"The Redis at {self._place} did not take or answer what was asked "
                f"about the tasks of {self._alias!r} ({exc}). Is it up, and the one "
                f"that STORE_URL (or else BROKER_URL) should name?"
            ) from exc

    @property
    def _place(self) -> str:
        """Where it is, without who connects."""
        parameters = self._client.connection_pool.connection_kwargs
        if "path" in parameters:
            return str(parameters["path"])
        host, port = parameters.get("host", "localhost"), parameters.get("port", 6379)
        return f"{host}:{port}/{parameters.get('db', 0)}"


@cache
def _client(url: str) -> redis.Redis:
    """Return the client for a URL, once for each process; it survives a fork."""
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
        # redis-py's default retries for longer than a caller should wait.
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
    }
    return redis.Redis.from_url(url, **options)


@cache
def _registered(client: redis.Redis, script: str) -> Callable[..., Any]:
    return client.register_script(script)


def _is_in_transaction() -> bool:
    # get_autocommit() would connect to a database that may not be needed, or not be up.
    is_manual = connection.connection is not None and not connection.autocommit
    return connection.in_atomic_block or is_manual


def _call(then: Callable[[], None]) -> None:
    # As on_commit(robust=True): what was accepted is accepted.
    try:
        then()
    except Exception:
        logger.exception("Tasks were accepted; what had to follow failed.")


# Values.


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _instant(value: datetime | None) -> str:
    return "" if value is None else str((value - EPOCH) // MICROSECOND)


def _encode(record: TaskRecord) -> str:
    """Return what INSERT reads: a JSON list of texts."""
    return json.dumps(
        [
            *(record.id.hex, record.task, record.queue_name, str(record.priority)),
            *(record.arguments, _instant(record.enqueued_at)),
            *(str(int(record.at_most_once)), _instant(record.wake_at)),
            *(str(record.pushes), record.pushed_to, _instant(record.run_after)),
        ]
    )


def _decode(alias: str, key: str, words: Sequence[str]) -> TaskRecord:
    fields: dict[str, Any] = dict(zip(words[::2], words[1::2], strict=True))
    for name in INSTANTS:
        if name in fields:
            fields[name] = EPOCH + int(fields[name]) * MICROSECOND
    for name in NUMBERS:
        if name in fields:
            fields[name] = int(fields[name])
    fields["at_most_once"] = fields["at_most_once"] == "1"
    return TaskRecord(id=uuid.UUID(hex=key), backend=alias, **fields)
