"""The statements of a task's way through the database, and how they are completed.

They are written out, since building them with the ORM takes longer than the database
does. Each touches rows by primary key, or by the index on (backend, wake_at).
"""

from functools import lru_cache

from taskbridge.models import TaskRecord

from .clock import Clock

TABLE = TaskRecord._meta.db_table  # noqa: SLF001 - Django documents it
INSERTED = (
    *("id", "backend", "task", "queue_name", "priority", "arguments", "run_after"),
    *("enqueued_at", "at_most_once", "wake_at", "pushes", "pushed_to"),
)

START = """
UPDATE {table} SET status = 'RUNNING', attempt = attempt + 1, worker_ids = %s,
token = %s, last_attempted_at = {now}, started_at = COALESCE(started_at, {now}),
wake_at = {later}
WHERE id IN ({ids}) AND status = 'READY' AND attempt = %s{without_flush}"""

# PostgreSQL's own transaction is this statement, which then does not wait for the disk.
# The finish does, and whatever the task commits, and their flush has the claim in it. A
# crash of the server may forget a claim of its last 0.6 s, so a task that is to run at
# most once waits.
WITHOUT_FLUSH = """
AND CASE WHEN at_most_once THEN TRUE
ELSE set_config('synchronous_commit', 'off', TRUE) = 'off' END"""

EXTEND = """
UPDATE {table} SET wake_at = {later}
WHERE id IN ({ids}) AND token = %s AND status = 'RUNNING'"""

# A finish that is written again, since its answer was lost, is no other finish.
SUCCEED = """
UPDATE {table} SET status = 'SUCCESSFUL', finished_at = {now}, wake_at = NULL,
return_value = {value}
WHERE id IN ({ids}) AND token = %s AND status IN ('RUNNING', 'SUCCESSFUL')"""

RETRY = """
UPDATE {table} SET status = 'READY', errors = %s, pushes = 0, wake_at = {later}
WHERE id IN ({ids}) AND token = %s AND status IN ('RUNNING', 'READY')"""

FAIL = """
UPDATE {table} SET status = 'FAILED', errors = %s, finished_at = {now}, wake_at = NULL
WHERE id IN ({ids}) AND token = %s AND status IN ('RUNNING', 'FAILED')"""

LOOK = """
SELECT id, status, pushes, {seconds_until_wake} FROM {table}
WHERE backend = %s AND wake_at <= {later} ORDER BY wake_at LIMIT {limit}"""

TAKE = """
UPDATE {table} SET token = %s, pushes = pushes + 1, pushed_to = %s, wake_at = {later}
WHERE id IN ({ids}) AND status = 'READY' AND wake_at <= {now}"""

PUT_BACK = """
UPDATE {table} SET wake_at = {later}
WHERE id IN ({ids}) AND token = %s AND status = 'READY'"""

EXPIRE = """
UPDATE {table} SET status = %s, errors = %s, lost = lost + 1, token = '', pushes = 0,
finished_at = {finished_at}, wake_at = {next_wake}
WHERE id IN ({ids}) AND token = %s AND status = 'RUNNING' AND wake_at <= {now}"""

# Two statements: MariaDB's UPDATE over a range waits for rows that others insert.
PUSHED_ELSEWHERE = """
SELECT id FROM {table}
WHERE backend = %s AND wake_at > {now} AND status = 'READY' AND pushes > 0
AND pushed_to <> %s"""

REDIRECT = """
UPDATE {table} SET wake_at = {now}, pushes = 0
WHERE id IN ({ids}) AND status = 'READY' AND pushes > 0 AND pushed_to <> %s"""


@lru_cache(maxsize=512)
def complete(template: str, clock: Clock, ids: int = 0, **fragments: str) -> str:
    """Return a statement for the database of a clock, with places for so many ids."""
    return template.format(
        table=TABLE,
        now=clock.now,
        later=clock.later,
        seconds_until_wake=clock.seconds_until_wake,
        ids=", ".join(["%s"] * ids),
        **fragments,
    )
