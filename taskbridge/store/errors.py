"""What an error of the database means: it is away, it refuses a row, or it is a bug.

This is the one place that decides it. Drivers sort errors into classes by the standard
of their own: a read-only PostgreSQL is an `InternalError` to psycopg, as a trigger that
refuses a row is, and a statement that times out is an `OperationalError` like one that
is too complex. So the code of the error is looked up first, and its class only if there
is none.
"""

from __future__ import annotations

import enum
from typing import Any

from django.db import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from django.db.transaction import TransactionManagementError


class Meaning(enum.Enum):
    """What to do about an error."""

    AWAY = "away"
    """Wait and try again, on a fresh connection."""
    ROW = "row"
    """Only what was to be written is refused; other rows can be."""
    BUG = "bug"
    """Nothing will change it but somebody who changes the code."""


AWAY, ROW, BUG = Meaning.AWAY, Meaning.ROW, Meaning.BUG

# By SQLSTATE, or its first two characters.
POSTGRESQL = {
    "08": AWAY,  # connection
    "0A000": AWAY,  # "cached plan must not change result type", after a migration
    "21": ROW,
    "22": ROW,  # data
    "23": ROW,  # constraint
    "25006": AWAY,  # read-only: a standby, a failover, a role
    "25P03": AWAY,  # idle in a transaction for too long
    "25P04": AWAY,  # transaction_timeout
    "26": AWAY,  # a prepared statement is unknown: a pooler changed the server
    "27": ROW,  # a trigger
    "28": AWAY,  # a password that is being changed
    "38": ROW,  # a function in a trigger
    "39": ROW,
    "3D000": AWAY,  # the database is not there: being restored
    "3F000": AWAY,  # nor is the schema: not migrated
    "40": AWAY,  # serialization failure, deadlock
    "42501": AWAY,  # not allowed: SET ROLE, or privileges yet to be granted
    "42703": AWAY,  # no such column: not migrated
    "42P01": AWAY,  # no such table: not migrated, or another schema
    "42P05": AWAY,  # a prepared statement exists already: see 26
    "44": ROW,
    "53": AWAY,  # disk full, memory, too many connections
    "54": ROW,  # too large, too complex
    "55": AWAY,  # lock_timeout, in use
    "57": AWAY,  # statement_timeout, shutdown, crash, starting up
    "58": AWAY,  # the system below
    "72": AWAY,  # snapshot too old
    "P0": ROW,  # RAISE in a trigger
    "XX000": AWAY,  # also what poolers say
    "XX001": ROW,  # data corrupted
}

# By number, of MySQL and MariaDB. From 2000 to 2999 it is their client.
MYSQL = {
    **dict.fromkeys((1015, 1021, 1030, 1037, 1038, 1041, 1114), AWAY),  # disk, memory
    **dict.fromkeys((1020, 1180, 1205, 1206, 1213, 1614, 1637), AWAY),  # locks
    **dict.fromkeys((3058, 3100, 3101, 3572), AWAY),  # locks, group replication
    **dict.fromkeys((1040, 1203, 1226), AWAY),  # too many connections
    **dict.fromkeys((1042, 1043, 1044, 1045, 1049, 1129, 1130), AWAY),  # connecting
    **dict.fromkeys((1047, 1053, 1077, 1079, 1080), AWAY),  # shutdown, not yet a member
    **dict.fromkeys((1152, 1158, 1159, 1160, 1161, 1184), AWAY),  # the network
    **dict.fromkeys((1317, 1927, 4031), AWAY),  # killed, idle for too long
    **dict.fromkeys((1969, 3024, 1028, 1907), AWAY),  # statement timeout
    **dict.fromkeys((1223, 1290, 1792, 1836, 3032), AWAY),  # read-only, offline
    **dict.fromkeys((1054, 1142, 1143, 1146), AWAY),  # not migrated, not allowed
    **dict.fromkeys((1048, 1062, 1216, 1217, 1451, 1452, 1557), ROW),  # constraint
    **dict.fromkeys((1761, 1762, 3819, 4025), ROW),
    **dict.fromkeys(
        (1118, 1264, 1265, 1292, 1366, 1406, 1411, 3140, 4078), ROW
    ),  # data
    **dict.fromkeys((1153, 1301, 2020), ROW),  # larger than max_allowed_packet
    1644: ROW,  # SIGNAL in a trigger
    2034: BUG,
}
MYSQL_CLIENT = range(2000, 3000)

# By the primary result code, which is the last byte.
SQLITE = {
    3: AWAY,  # SQLITE_PERM
    4: AWAY,  # SQLITE_ABORT
    5: AWAY,  # SQLITE_BUSY
    6: AWAY,  # SQLITE_LOCKED
    7: AWAY,  # SQLITE_NOMEM
    8: AWAY,  # SQLITE_READONLY: the file system, or PRAGMA query_only
    9: AWAY,  # SQLITE_INTERRUPT
    10: AWAY,  # SQLITE_IOERR
    11: BUG,  # SQLITE_CORRUPT
    13: AWAY,  # SQLITE_FULL
    14: AWAY,  # SQLITE_CANTOPEN
    15: AWAY,  # SQLITE_PROTOCOL: the locks of WAL
    17: AWAY,  # SQLITE_SCHEMA
    18: ROW,  # SQLITE_TOOBIG
    19: ROW,  # SQLITE_CONSTRAINT, and RAISE in a trigger
    20: ROW,  # SQLITE_MISMATCH
    26: BUG,  # SQLITE_NOTADB
}
SQLITE_ERROR = 1
NOT_MIGRATED = ("no such table", "no such column", "has no column")

# Where a driver gives no code: it could not connect, or lost the connection.
CLASSES: dict[type[Exception], Meaning] = {
    TransactionManagementError: BUG,
    DataError: ROW,
    IntegrityError: ROW,
    ProgrammingError: BUG,
    NotSupportedError: BUG,
    InternalError: AWAY,
    OperationalError: AWAY,
    InterfaceError: AWAY,
    DatabaseError: AWAY,
    Error: AWAY,
}


def meaning_of(exc: Exception) -> Meaning:
    """Return what to do about an error that Django raised, from any of its drivers."""
    found = _by_code(exc.__cause__)
    if found is None:
        classes = (CLASSES.get(each) for each in type(exc).__mro__)
        found = next(filter(None, classes), BUG)
    return found


def is_away(exc: Exception) -> bool:
    """Whether waiting, and a fresh connection, may help."""
    return meaning_of(exc) is AWAY


def _by_code(cause: Any) -> Meaning | None:
    """Return the meaning of a driver's exception by its code; None: it has none."""
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return _of_sqlite(code & 0xFF, str(cause))
    number = cause.args[0] if cause is not None and cause.args else None
    if isinstance(number, int):  # before the SQLSTATE, which PyMySQL has as well
        usual = AWAY if number in MYSQL_CLIENT else None
        return (MYSQL.get(number, usual) or _of_mysql_class(cause)) if number else None
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if isinstance(state, str):
        return POSTGRESQL.get(state) or POSTGRESQL.get(state[:2], BUG)
    return None


def _of_sqlite(code: int, text: str) -> Meaning:
    if code == SQLITE_ERROR:
        return AWAY if any(each in text for each in NOT_MIGRATED) else BUG
    return SQLITE.get(code, BUG)


def _of_mysql_class(cause: Exception) -> Meaning:
    """Return the meaning of a number that is not in the table, by its class."""
    names = {each.__name__ for each in type(cause).__mro__}
    if names & {"DataError", "IntegrityError"}:
        return ROW
    return BUG if "ProgrammingError" in names else AWAY
