"""A task's database connections, left as it found them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("taskbridge")

CANCEL_WITHIN_S = 1
"""How long the server of an interrupted statement may take to hear of that."""


@contextlib.contextmanager
def restored_connections() -> Iterator[list[BaseDatabaseWrapper]]:
    """End what a task left open, so that what is written next is committed.

    Yields:
        The connections that were in a transaction before.
    """
    connected = connections.all(initialized_only=True)
    in_transaction = [each for each in connected if each.in_atomic_block]
    before = {each.alias for each in in_transaction}
    try:
        yield in_transaction
    finally:
        for connection in connections.all(initialized_only=True):
            try:
                _restore(connection, before)
            except Exception:  # the task's outcome must be saved all the same
                logger.exception("Database %r cannot be left.", connection.alias)


@contextlib.contextmanager
def savepoints(in_transaction: Sequence[BaseDatabaseWrapper]) -> Iterator[None]:
    """Let no task break a transaction that it runs in, as that of a TestCase.

    What follows can then still be written, and the test can look at it. A transaction
    that the task has broken, or a block that it left open, goes back to the savepoint.
    """
    blocks = [
        _Savepoint(connection)
        for connection in in_transaction
        if not connection.needs_rollback
    ]
    try:
        yield
    finally:
        for block in blocks:
            block.end()


class _Savepoint:
    """A block of `atomic` around the attempt, on one connection."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        block: Any = transaction.atomic(using=connection.alias)
        # A task may have durable blocks in a TestCase, so Django marks its blocks.
        outer: Any = connection.atomic_blocks[-1:]
        block._from_testcase = any(each._from_testcase for each in outer)  # noqa: SLF001
        self._block = block
        self._block.__enter__()
        self._depth = len(connection.atomic_blocks)

    def end(self) -> None:
        """Keep what the task has written, if it can be kept."""
        connection = self._connection
        if len(connection.atomic_blocks) > self._depth:
            logger.error(
                "A task left a transaction open on database %r; it is rolled back.",
                connection.alias,
            )
            opened = len(connection.atomic_blocks) - self._depth
            del connection.atomic_blocks[-opened:]
            del connection.savepoint_ids[-opened:]
            connection.needs_rollback = True
        try:
            self._block.__exit__(None, None, None)
        except DatabaseError as exc:  # it was broken, and is rolled back
            logger.info("A task broke its transaction: %s", exc)


def distrust_connections() -> None:
    """Have the connections of this thread closed after the task, which is interrupted.

    One that was in the middle of a statement takes no other. The server would go on
    with it, and keep its locks, so with psycopg 3.2 it is told to stop.
    """
    for connection in connections.all(initialized_only=True):
        connection.errors_occurred = True  # as Django says it; see `_restore`
        inner: Any = connection.connection
        with contextlib.suppress(Exception):  # another driver, or the server is away
            if inner.info.transaction_status.name == "ACTIVE":
                inner.cancel_safe(timeout=CANCEL_WITHIN_S)


def close_stale_connections() -> None:
    """Do what Django does around a request, but spare those of an open transaction.

    `close_old_connections` closes them, and with them what a TestCase has written.
    """
    for connection in connections.all(initialized_only=True):
        try:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
        except Exception:  # the work is done, or is to be done, all the same
            logger.exception("Database %r cannot be left.", connection.alias)


def _restore(connection: BaseDatabaseWrapper, before: set[str]) -> None:
    if connection.in_atomic_block:
        if connection.alias not in before:
            _drop(connection)
    elif connection.errors_occurred or not _commits(connection):
        connection.close()


def _commits(connection: BaseDatabaseWrapper) -> bool:
    usual = connection.settings_dict["AUTOCOMMIT"]
    return connection.connection is None or connection.get_autocommit() == usual


def _drop(connection: Any) -> None:
    """Let go of a connection whose task opened a transaction and did not end it.

    Otherwise what is written after it would never be committed.
    """
    logger.error(
        "A task left a transaction open on database %r; it is rolled back.",
        connection.alias,
    )
    try:
        connection._close()  # noqa: SLF001 - into its pool, if it came from one
    finally:
        connection.connection = None  # whoever still has the object closes it again
        del connections[connection.alias]
