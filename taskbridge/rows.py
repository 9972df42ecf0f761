"""A queue in a database: many rows in few statements, and the time that it is there."""

import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from django.db import DataError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .moments import as_django, seconds_left

ROWS_PER_INSERT = 1000
CHARACTERS_PER_INSERT = 4_000_000  # MariaDB takes 16 MB in one packet by default
SMALL = 100_000
"""Characters that any MariaDB or MySQL takes in a packet, however they are escaped."""

ASK_EVERY_S = 30
"""How old what a database has said of itself may be."""

_packets: dict[str, tuple[int, float]] = {}
"""For each database: its max_allowed_packet, and when it was asked."""

Row = tuple[Any, ...]
NO_EXPRESSIONS: Mapping[str, str] = {}


def insert_rows(
    database: str,
    table: str,
    columns: tuple[str, ...],
    rows: Sequence[Row],
    *,
    expressions: Mapping[str, str] = NO_EXPRESSIONS,
    channels: Sequence[str] = (),
) -> None:
    """Insert rows, all or none; in the caller's transaction, if there is one.

    ``executemany`` sends a statement for each row, which PostgreSQL and MariaDB plan
    one by one; ``bulk_create`` takes longer to make the statement than they take to run
    it.

    Args:
        database: an alias of DATABASES.
        table: its name, which needs no quotes.
        columns: their names; words that a database reserves are quoted here.
        rows: values in the order of the columns, as the database takes them.
        expressions: SQL around the placeholder of a column's value.
        channels: what PostgreSQL notifies once the rows are committed, in the same
            statement; see `taskbridge.wakeups`. Other databases have none.

    Raises:
        django.db.Error: from the database; no row was inserted.
    """
    connection = connections[database]
    quoted = tuple(map(connection.ops.quote_name, columns))
    row = ", ".join(expressions.get(column, "%s") for column in columns)
    number = _rows_per_insert(connection, len(columns))
    batches = list(_batches(rows, number, _characters_per_insert(connection, rows)))
    insert = partial(_insert, connection, table, quoted, row)
    if connection.vendor != "postgresql":
        channels = ()
    if len(batches) == 1:
        # BEGIN and COMMIT would be two round trips.
        insert(batches[0], channels)
        return
    with transaction.atomic(using=database):
        for number, batch in enumerate(batches, start=1):
            insert(batch, channels if number == len(batches) else ())


def check_size(connection: BaseDatabaseWrapper, parameters: Iterable[Any]) -> None:
    """Refuse a statement that MariaDB or MySQL would answer by hanging up.

    Raises:
        django.db.DataError: with the escapes of its values it is longer than the
            server's max_allowed_packet.
    """
    if connection.vendor != "mysql":
        return
    texts = [value for value in parameters if isinstance(value, str)]
    if sum(map(len, texts)) <= SMALL:
        return
    size = sum(map(_size_on_wire, texts))
    limit = _longest_packet(connection)
    if size + SMALL > limit:
        raise DataError(
            f"A statement of {size:,} bytes is too long for the database "
            f"{connection.alias!r}: its max_allowed_packet is {limit:,}. Raise that, "
            f"or keep the value elsewhere, and pass a key."
        )


def _size_on_wire(text: str) -> int:
    escapes = sum(map(text.count, "\\'\"\n\r\0\x1a"))
    return escapes + (len(text) if text.isascii() else len(text.encode()))


def _longest_packet(connection: BaseDatabaseWrapper) -> int:
    now = time.monotonic()
    limit, asked_at = _packets.get(connection.alias, (0, -math.inf))
    if now - asked_at > ASK_EVERY_S:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            limit = int(cursor.fetchone()[0])
        _packets[connection.alias] = limit, now
    return limit


def _characters_per_insert(connection: BaseDatabaseWrapper, rows: Sequence[Row]) -> int:
    if connection.vendor != "mysql" or sum(map(_characters, rows)) <= SMALL:
        return CHARACTERS_PER_INSERT
    return min(CHARACTERS_PER_INSERT, _longest_packet(connection) // 4)


def _characters(row: Row) -> int:
    return sum(len(value) for value in row if isinstance(value, str))


def _insert(
    connection: BaseDatabaseWrapper,
    table: str,
    columns: tuple[str, ...],
    row: str,
    rows: Sequence[Row],
    channels: Sequence[str],
) -> None:
    parameters = [value for row in rows for value in row]
    check_size(connection, parameters)
    statement = _statement(table, columns, row, len(rows))
    if channels:
        statement = f"WITH inserted AS ({statement}) SELECT {_notify(len(channels))}"
    with connection.cursor() as cursor:
        cursor.execute(statement, [*parameters, *channels])


def _notify(channels: int) -> str:
    return ", ".join(["pg_notify(%s, '')"] * channels)


@lru_cache(maxsize=64)
def _statement(table: str, columns: tuple[str, ...], row: str, rows: int) -> str:
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) VALUES {', '.join([f'({row})'] * rows)}"  # noqa: S608 - no name comes from outside


def _rows_per_insert(connection: BaseDatabaseWrapper, columns: int) -> int:
    if connection.vendor != "sqlite":
        return ROWS_PER_INSERT
    connection.ensure_connection()
    sqlite: sqlite3.Connection = connection.connection
    limit = sqlite.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    return min(ROWS_PER_INSERT, limit // columns)


def _batches(
    rows: Sequence[Row], number: int, most_characters: int
) -> Iterator[Sequence[Row]]:
    """Split rows so that each statement stays below the limits of databases."""
    rest = iter(rows)
    while batch := list(islice(rest, number)):
        characters = 0
        start = 0
        for index, row in enumerate(batch):
            size = _characters(row)
            characters += size
            if characters > most_characters and index > start:
                yield batch[start:index]
                start, characters = index, size
        yield batch[start:]


# The clock of the database: that of this host may be wrong, and is not asked.

NOW = {
    "postgresql": "SELECT EXTRACT(EPOCH FROM CLOCK_TIMESTAMP())",
    "mysql": (
        "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1000000.0"
    ),
}
"""Seconds since 1970; SQLite has the clock of the host, and others are not asked."""
PROMPT_S = 0.1
"""An answer that took longer says how late it was at some time in between."""

_ahead: dict[str, tuple[float, float, float]] = {}
"""For each database: by how much it is ahead of time.monotonic() at most; how much less
it may be, which is how long its answer took; and when it was asked."""


def database_now(database: str) -> datetime:
    """Return the time in UTC, by the clock of a database, which is asked now and then.

    Args:
        database: an alias of DATABASES.

    Raises:
        django.db.Error: from the database.
    """
    return _bounds(database)[1]


def _bounds(database: str) -> tuple[datetime, datetime]:
    """Return the earliest and the latest that it can be by the clock of a database."""
    connection = connections[database]
    if connection.vendor not in NOW:
        now = datetime.now(UTC)
        return now, now
    since = time.monotonic()
    ahead_s, took_s, asked_at = _ahead.get(database, (0.0, 0.0, -math.inf))
    if since - asked_at > ASK_EVERY_S:
        with connection.cursor() as cursor:
            since = time.monotonic()  # it may have had to connect
            cursor.execute(NOW[connection.vendor])
            ahead_s = float(cursor.fetchone()[0]) - since
        took_s = time.monotonic() - since
        if took_s < PROMPT_S:
            _ahead[database] = ahead_s, took_s, since
    latest = datetime.fromtimestamp(since + ahead_s, UTC)
    return latest - timedelta(seconds=took_s), latest


def queue_instant(database: str, instant: datetime | None) -> datetime:
    """Return when a row of a queue is due, as Django keeps it in the database.

    Args:
        database: an alias of DATABASES.
        instant: in UTC; a delay is counted by the clock of the database, as is None,
            which means now.
    """
    delay_s = 0.0 if instant is None else seconds_left(instant)
    if instant is None or delay_s is not None:
        instant = database_now(database) + timedelta(seconds=delay_s or 0)
    return _kept(database, instant)


def queue_instant_of_new(database: str, instant: datetime | None) -> datetime:
    """Return `queue_instant` for a row that is inserted now.

    Without a delay it is as early as now may be: a worker that is woken by the row
    looks within a millisecond, and has asked the clock at another time.
    """
    if instant is not None:
        return queue_instant(database, instant)
    return _kept(database, _bounds(database)[0])


def _kept(database: str, instant: datetime) -> datetime:
    # PostgreSQL keeps the time zone, with and without USE_TZ.
    is_kept = connections[database].vendor == "postgresql"
    return instant if is_kept else as_django(instant)
