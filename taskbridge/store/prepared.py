"""Prepared statements of a session on PostgreSQL: planning costs as much as executing.

They stay on the server's side of a connection, so they are of no use behind a pooler
that hands out another one for each transaction (PgBouncer before 1.21). It is noticed
in advance, by DISABLE_SERVER_SIDE_CURSORS, Django's own setting for such poolers, or by
the number of the server's process, which a pooler makes up. If it is not, a statement
that the server does not know ends preparing in this process, like a lost connection.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

THRESHOLD = 5
"""How often a connection executes a statement before it prepares it."""
OPTIONS = {"server_side_binding": True, "prepare_threshold": THRESHOLD}
"""Of a connection that prepares; Django binds on the client, where nothing can be."""
NAMED_BY_PROJECT = {"prepare_threshold", "server_side_binding", "cursor_factory"}
"""Keys of OPTIONS by which a project has decided itself."""
NOT_HERE = {"26000", "42P05", "08P01"}
"""SQLSTATE: a prepared statement is unknown, is there already, or is another one."""

_unprepared: set[str] = set()
"""Aliases in DATABASES where nothing is prepared any more in this process."""


def prepares(database: BaseDatabaseWrapper) -> bool:
    """Whether statements are to be prepared on a session of this database."""
    settings = database.settings_dict
    return (
        database.vendor == "postgresql"
        and database.alias not in _unprepared
        and not settings.get("DISABLE_SERVER_SIDE_CURSORS")
        and not NAMED_BY_PROJECT & settings["OPTIONS"].keys()
        and _driver_of(database) == "psycopg"
    )


def _driver_of(database: Any) -> str:
    return str(getattr(database.Database, "__name__", ""))


def is_direct(connection: Any) -> bool:
    """Whether a connection of psycopg leads to one process of the server.

    Names are then made unique, for psycopg counts from 0 on each connection. A pooler
    that is not noticed would else execute the statement of another client.
    """
    manager: Any = getattr(connection, "_prepared", None)
    if not hasattr(manager, "_prepared_idx"):
        return False  # a psycopg that names them in another way
    [number] = connection.execute("SELECT pg_backend_pid()").fetchone()
    if number != connection.info.backend_pid:
        return False
    manager._prepared_idx = secrets.randbits(40) << 20  # noqa: SLF001 - see above
    return True


def stop_preparing(database: str) -> None:
    """Prepare no more statements on new connections of an alias in DATABASES."""
    _unprepared.add(database)


def note_error(database: str, exc: BaseException) -> None:
    """Stop preparing if an error says that a pooler changes the server."""
    if any(getattr(each, "sqlstate", None) in NOT_HERE for each in _causes(exc)):
        stop_preparing(database)


def _causes(exc: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = exc
    while cause is not None:
        yield cause
        cause = cause.__cause__
