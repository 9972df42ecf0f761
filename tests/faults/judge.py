"""What must hold of every task, whatever was done to the processes that ran it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from taskbridge.store import Record
from taskbridge.testing.ledger import Entry, Ledger

MAX_LOST = 3  # the default of OPTIONS
LEASE_S = 2  # of the aliases fault_...


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a task, as the ledger tells it."""

    pid: int
    started: float
    ended: float | None
    """When it finished or raised; None: its process was killed."""


def runs_of(ledger: Ledger) -> dict[str, list[Run]]:
    """Return the runs of each key, in the order in which they started."""
    entries: dict[str, list[Entry]] = defaultdict(list)
    for entry in ledger.entries():
        entries[entry.key].append(entry)
    return {key: _runs(of_key) for key, of_key in entries.items()}


def judge(
    records: Iterable[Record],
    keys: dict[str, str],
    ledger: Ledger,
    *,
    forgotten: int = 0,
) -> "Figures":
    """See that every task has run, and none more often than its record says.

    Args:
        records: of all tasks, every one `work`.
        keys: of the ledger, by the id of the record.
        ledger: what they wrote.
        forgotten: how many claims of each task a crash of the database may have undone.

    Returns:
        What it cost.

    Raises:
        AssertionError: with all that was seen of the first task that is wrong.
    """
    runs = runs_of(ledger)
    found = {record.id: record for record in records}
    assert set(found) == set(keys), "records were lost, or appeared"
    for record_id, key in keys.items():
        _judge_one(found[record_id], runs.get(key, []), forgotten)
    assert not set(runs) - set(keys.values()), "something ran that was not enqueued"
    return Figures(
        tasks=len(keys),
        lost=sum(record.lost for record in found.values()),
        again=sum(len(of_key) - 1 for of_key in runs.values()),
        most=max(record.attempt for record in found.values()),
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """What a test cost."""

    tasks: int
    lost: int
    """Attempts whose worker was lost."""
    again: int
    """Runs after the first one of a task."""
    most: int
    """Attempts of the task that had most."""

    def __str__(self) -> str:
        return (
            f"{self.tasks} tasks, {self.lost} attempts lost, {self.again} runs again, "
            f"at most {self.most} attempts of a task"
        )


def _judge_one(record: Record, runs: Sequence[Run], forgotten: int) -> None:
    seen = (
        f"{record} attempt={record.attempt} lost={record.lost} errors={record.errors} "
        f"runs={runs}"
    )
    assert record.status == "SUCCESSFUL", seen
    assert record.attempt == 1 + record.lost, seen
    assert record.lost <= MAX_LOST, seen
    # Fewer: it was killed after the claim, before the first line of the task.
    # One more: nobody knew that it had begun, and it was given back with its chunk.
    uncounted = forgotten + bool(record.given_back)
    assert 1 <= len(runs) <= record.attempt + uncounted, seen
    assert any(run.ended for run in runs), seen
    assert not overlaps(runs), seen


def overlaps(runs: Sequence[Run]) -> bool:
    """Whether a run started before the one before it had ended or lost its lease."""
    slack_s = 0.5  # the lease begins with the claim, a little before the first line
    for first, second in pairwise(runs):
        free_at = first.ended or first.started + LEASE_S - slack_s
        if second.started < free_at:
            return True
    return False


def _runs(entries: Sequence[Entry]) -> list[Run]:
    started = [entry for entry in entries if entry.event == "started"]
    ended = [entry for entry in entries if entry.event in {"finished", "failed"}]
    return [
        Run(
            pid=start.pid,
            started=start.time,
            ended=next(
                (
                    end.time
                    for end in ended
                    if end.pid == start.pid and end.time >= start.time
                ),
                None,
            ),
        )
        for start in sorted(started, key=lambda entry: entry.time)
    ]
