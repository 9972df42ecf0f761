"""The statements that take a task through the database, and how they are completed.

They are written out, since building them with the ORM takes longer than running them.
Each touches rows by primary key, or by the index on (backend, wake_at).
"""

from functools import lru_cache

from taskbridge.models import PausedQueue, TaskRecord

from .clock import CLOCKS, Clock

TABLE = TaskRecord._meta.db_table  # noqa: SLF001 - Django documents it
PAUSED = PausedQueue._meta.db_table  # noqa: SLF001 - the same

# It reads one entry of a table that is nearly always empty.
IS_PAUSED = """EXISTS (SELECT 1 FROM {paused} AS paused
WHERE paused.backend = {table}.backend
AND paused.queue_name = {table}.queue_name{exactly})"""

# The usual collations ignore case; the line above is for the index.
EXACTLY = """
AND CAST(paused.queue_name AS BINARY) = CAST({table}.queue_name AS BINARY)"""

START = """
UPDATE {table} SET status = 'RUNNING', attempt = attempt + 1, worker_ids = %s,
token = %s, last_attempted_at = {now}, started_at = COALESCE(started_at, {now}),
wake_at = {written_later}
WHERE id {among} AND status = 'READY' AND attempt = %s AND cancelled_by = ''
AND NOT {is_paused}{fresh}{without_flush}"""

# What was given back may be what killed its worker, and is claimed alone from then on.
# One that is to run at most once may be new to who asks for it together with others.
FRESH = "AND given_back = 0 AND NOT at_most_once"

# On PostgreSQL: the statement is a transaction of its own, which then does not wait for
# the disk. The finish does, as does whatever the task commits, and their flush includes
# the claim. A server that crashes may forget a claim of its last 0.6 s, so a task that
# is to run at most once waits.
WITHOUT_FLUSH = """
AND CASE WHEN at_most_once THEN TRUE
ELSE set_config('synchronous_commit', 'off', TRUE) = 'off' END"""

# That this is due may be over; that its queue is paused, too.
PARK = """
UPDATE {table} SET wake_at = %s, pushes = 0
WHERE id {among} AND status = 'READY' AND wake_at <= {now} AND queue_name = %s
AND cancelled_by = '' AND {is_paused}"""

# A worker has its message, so it is due, and will get no other one. The message may be
# of another queue than the record, if that has left QUEUES.
PARK_REFUSED = """
UPDATE {table} SET pushes = 0,
wake_at = CASE WHEN {is_paused} THEN %s ELSE {written} END
WHERE id {among} AND status = 'READY' AND attempt = %s AND queue_name = %s
AND cancelled_by = ''"""

UNPARK = """
UPDATE {table} SET wake_at = {written}
WHERE id {among} AND status = 'READY' AND wake_at = %s AND NOT {is_paused}"""

EXTEND = """
UPDATE {table} SET wake_at = {written_later}
WHERE id {among} AND token = %s AND status = 'RUNNING'"""

# Only first attempts are claimed together. One that is cancelled is READY for no longer
# than the dispatcher takes to see it, which ends it.
GIVE_BACK = """
UPDATE {table} SET status = 'READY', attempt = 0, worker_ids = NULL, started_at = NULL,
last_attempted_at = NULL, token = '', pushes = 0, given_back = given_back + 1,
wake_at = {written}
WHERE id {among} AND token = %s AND status = 'RUNNING'{if_lost}"""

# A finish that is repeated because its answer was lost is still the same finish. Once
# somebody was told that the task is cancelled, none is taken.
SUCCEED = """
UPDATE {table} SET status = 'SUCCESSFUL', finished_at = {now}, wake_at = NULL,
return_value = {value}
WHERE id {among} AND token = %s AND status IN ('RUNNING', 'SUCCESSFUL')
AND cancelled_by = ''"""

RETRY = """
UPDATE {table} SET status = 'READY', errors = %s, pushes = 0, wake_at = {written_later}
WHERE id {among} AND token = %s AND status IN ('RUNNING', 'READY')
AND cancelled_by = ''"""

FAIL = """
UPDATE {table} SET status = 'FAILED', errors = %s, finished_at = {now},
wake_at = NULL
WHERE id {among} AND token = %s AND status IN ('RUNNING', 'FAILED')
AND cancelled_by = ''"""

# Whoever keeps a row locked, an admin or the project's code, holds up nothing but it.
# On PostgreSQL, adding a reference to a row is no reason to pass it over: NO KEY.
UNLOCKED = """
SELECT id FROM {table} WHERE id {among}{condition}
FOR {no_key}UPDATE SKIP LOCKED"""

LOOK = """
SELECT id, status, queue_name, pushes, priority, {seconds_until_wake} FROM {table}
WHERE backend = %s AND wake_at <= {later}{only} ORDER BY wake_at LIMIT {limit}"""

STANDING = """
SELECT id, backend, token, status, cancelled_by, {kill} FROM {table}
WHERE id {among}"""

# By hand: cancel, retry, run now, forget. That the records are of this alias is seen
# before: with both, MariaDB may prefer an index on it, and wait for others' locks.

# The token is new, and so tells which of them this has ended.
CANCEL_WAITING = """
UPDATE {table} SET status = 'FAILED', cancelled_by = %s, {kill} = FALSE, token = %s,
errors = {with_error}, finished_at = {written}, wake_at = NULL
WHERE id {among} AND status = 'READY'"""

# Whoever was first has cancelled it.
CANCEL_RUNNING = """
UPDATE {table} SET {kill} = CASE WHEN %s THEN TRUE ELSE {kill} END,
cancelled_by = CASE WHEN cancelled_by = '' THEN %s ELSE cancelled_by END
WHERE id {among} AND status = 'RUNNING'"""

END_CANCELLED = """
UPDATE {table} SET status = 'FAILED', errors = {errors}, finished_at = {now},
wake_at = NULL
WHERE id {among} AND token = %s AND status = 'RUNNING' AND cancelled_by <> ''"""

# A list in JSON, and one more item; `encode` leaves no spaces at its ends.
_IS_EMPTY = "COALESCE(errors, '[]') = '[]'"
_LIST_WITH_ITEM = (
    f"CASE WHEN {_IS_EMPTY} THEN '[' "
    "ELSE SUBSTR(errors, 1, LENGTH(errors) - 1) || ',' END || %s || ']'"
)
WITH_ERROR = {
    "postgresql": _LIST_WITH_ITEM,
    "sqlite": _LIST_WITH_ITEM,
    "mysql": (
        f"CONCAT(CASE WHEN {_IS_EMPTY} THEN '[' "
        "ELSE CONCAT(LEFT(errors, CHAR_LENGTH(errors) - 1), ',') END, %s, ']')"
    ),
}

# What was started since the call began has had its turn, and may have failed again.
RERUN = """
UPDATE {table} SET status = 'READY', finished_at = NULL, wake_at = {written},
pushes = 0, token = '', cancelled_by = '', {kill} = FALSE
WHERE id {among} AND status = 'FAILED'
AND (last_attempted_at IS NULL OR last_attempted_at <= {written_later})"""

# In a paused queue, a dispatcher would only park it again.
HURRY = """
UPDATE {table} SET wake_at = {written}
WHERE id {among} AND status = 'READY' AND pushes = 0
AND wake_at > {now} AND NOT {is_paused}
AND (last_attempted_at IS NULL OR last_attempted_at <= {written_later})"""

FORGET = """
DELETE FROM {table}
WHERE id {among} AND status IN ('SUCCESSFUL', 'FAILED')"""

# In the order of an index: those that wait or run, and those that have finished.
OPEN = """
SELECT id, COALESCE(wake_at, wake_at), status, queue_name, task, pushes, cancelled_by,
{kill}, CASE WHEN wake_at <= {now} THEN 1 ELSE 0 END,
CASE WHEN enqueued_at <= {later} THEN 1 ELSE 0 END, NULL
FROM {table} WHERE backend = %s AND wake_at IS NOT NULL{after}
ORDER BY wake_at, id LIMIT %s"""

AFTER_OPEN = " AND wake_at >= %s AND (wake_at, id) > (%s, %s)"

ENDED = """
SELECT id, COALESCE(finished_at, finished_at), status, queue_name, task, pushes,
cancelled_by, {kill}, 0, 1, {errors}
FROM {table} WHERE finished_at <= {later} AND backend = %s AND status = %s{after}
ORDER BY finished_at, id LIMIT %s"""

SIZES = """
SELECT id, {octets}(arguments) + COALESCE({octets}(errors), 0) FROM {table}
WHERE id {among}"""

TAKE = """
UPDATE {table} SET token = %s, pushes = pushes + 1, pushed_to = %s,
wake_at = {written_later}
WHERE id {among} AND status = 'READY' AND wake_at <= {now}"""

# Not pushed, hence not counted: the gaps until the next push grow with the number.
PUT_BACK = """
UPDATE {table} SET wake_at = {written_later},
pushes = CASE WHEN pushes > 0 THEN pushes - 1 ELSE 0 END
WHERE id {among} AND token = %s AND status = 'READY'"""

POSTPONE = """
UPDATE {table} SET wake_at = {written_later}
WHERE id {among} AND status = 'READY' AND pushes > 0 AND wake_at <= {now}"""

WAITING = """
SELECT queue_name, COUNT(*) FROM {table}
WHERE backend = %s AND wake_at <= {later} AND status = 'READY' AND pushes > 0
GROUP BY queue_name"""

# It reads the expired part of the index on (backend, wake_at), and a second more: some
# databases take a time of its own for each row of the statement that extends them.
LOST_OF_CLAIM = """
SELECT id, priority, {seconds_until_wake} FROM {table}
WHERE backend = %s AND wake_at <= {later} AND status = 'RUNNING' AND token = %s"""

# Of a claim whose leases hold, hence within what is due until they end.
HELD_OF_CLAIM = """
SELECT id FROM {table}
WHERE backend = %s AND wake_at > {now} AND wake_at <= {later} AND status = 'RUNNING'
AND token = %s"""

EXPIRE = """
UPDATE {table} SET status = %s, errors = %s, lost = lost + 1, token = '', pushes = 0,
finished_at = {finished_at}, wake_at = {next_wake}
WHERE id {among} AND token = %s AND cancelled_by = %s AND status = 'RUNNING'{if_lost}"""

# If this had to wait, so did the worker that extends the lease, and that goes first.
IF_LOST = " AND wake_at <= {now} AND {is_prompt}"

TOUCH = """
UPDATE {table} SET lost = lost WHERE id {among}"""

# Two statements: MariaDB's UPDATE over a range waits for rows that others insert.
PUSHED_ELSEWHERE = """
SELECT id FROM {table}
WHERE backend = %s AND wake_at > {now} AND status = 'READY' AND pushes > 0
AND pushed_to <> %s"""

REDIRECT = """
UPDATE {table} SET wake_at = {written}, pushes = 0
WHERE id {among} AND status = 'READY' AND pushes > 0 AND pushed_to <> %s"""

# With a limit it is also ordered, so that PostgreSQL reads the index and not the table.
COUNT = """
SELECT COUNT(*) FROM (
SELECT 1 FROM {table} WHERE backend = %s AND status = %s{limit}) AS counted"""

# Those that are due first come first, up to the limit.
UNFINISHED_BY_QUEUE = """
SELECT queue_name, kind, COUNT(*), MIN(since), {now} FROM (
SELECT queue_name, COALESCE(last_attempted_at, run_after, enqueued_at) AS since,
CASE WHEN status = 'RUNNING' THEN 'running'
WHEN wake_at >= %s AND wake_at < %s THEN 'parked'
WHEN pushes > 0 OR wake_at <= {now} THEN 'waiting' ELSE 'delayed' END AS kind
FROM {table} WHERE backend = %s AND wake_at BETWEEN %s AND %s
ORDER BY wake_at LIMIT {limit}) AS counted GROUP BY queue_name, kind"""

FAILED_BY_QUEUE = """
SELECT queue_name, COUNT(*) FROM (
SELECT queue_name FROM {table} WHERE backend = %s AND status = 'FAILED'
ORDER BY finished_at DESC LIMIT {limit}) AS counted GROUP BY queue_name"""

# What was finished long enough ago, in the order of its index. MySQL does not look up
# pairs in an index, hence the first of the two conditions.
OLD = """
FROM {table} WHERE backend = %s AND status = %s AND finished_at <= {later}{after}
ORDER BY finished_at, id LIMIT {limit}"""

AFTER = """
AND finished_at >= %s AND (finished_at, id) > (%s, %s)"""

MEASURE_OLD = """
SELECT COUNT(*), MAX(finished_at) FROM (SELECT finished_at{old}) AS old"""

# SQLite's driver would make an instant of a column, and that would not be equal to it.
READ_OLD = """
SELECT COALESCE(finished_at, finished_at), id{old}"""

# On PostgreSQL an array is read once; a join may read it again, and lock others. MySQL
# takes no LIMIT in IN, and MariaDB's optimizer sorts all rows for DELETE .. LIMIT; of a
# short table it reads all rows, and waits for those that somebody has locked, unless it
# is told what comes first.
DELETE_OLD = {
    "postgresql": "DELETE FROM {table} WHERE id = ANY(ARRAY(SELECT id{old}{unlocked}))",
    "sqlite": "DELETE FROM {table} WHERE rowid IN (SELECT rowid{old}{unlocked})",
    "mysql": (
        "DELETE record FROM (SELECT id{old}{unlocked}) AS old STRAIGHT_JOIN "
        "{table} AS record FORCE INDEX (PRIMARY) ON record.id = old.id"
    ),
}


@lru_cache(maxsize=512)
def complete(template: str, clock: Clock, **fragments: str) -> str:
    """Return a statement for a clock's database; `among` says for which ids."""
    is_mysql = clock is CLOCKS["mysql"]
    exactly = EXACTLY.format(table=TABLE) if is_mysql else ""
    return template.format(
        table=TABLE,
        is_paused=IS_PAUSED.format(table=TABLE, paused=PAUSED, exactly=exactly),
        now=clock.now,
        later=clock.later,
        written=clock.written,
        written_later=clock.written_later,
        is_prompt=clock.is_prompt,
        seconds_until_wake=clock.seconds_until_wake,
        # A reserved word there, and standard quotes are none.
        kill="`kill`" if is_mysql else "kill",
        **fragments,
    )
