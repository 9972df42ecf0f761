"""What a run has finished, kept on disk while it runs, so that it can be resumed.

A journal is a file of JSON lines: the head of the run, then one line for each block
that was measured and judged, and for each failure. It is deleted when pytest-benchmark
has stored the run. So a run that was killed leaves its journal, and one that was
interrupted leaves a document that says so: either is a `Partial`.
"""

import contextlib
import fcntl
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from pytest_benchmark.utils import safe_dumps

from .head import Head
from .refusal import Refusal

SUFFIX = ".journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A block that was measured, and judged when its worker had ended."""

    id: str
    seconds: list[float]
    """Of its rounds, as pytest-benchmark stores them."""
    extra_info: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a contender has no valid measurement in a scenario."""

    scenario: str
    profile: str
    contender: str
    work: str
    database: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """A run that did not come to its end."""

    source: Path
    head: Head
    blocks: Mapping[str, Finished] = field(default_factory=dict)
    """By the id of the block."""
    failures: list[Failure] = field(default_factory=list)
    spent_s: float = 0.0
    """What the run took so far."""

    @classmethod
    def of_document(cls, source: Path, document: Mapping[str, Any]) -> Self:
        """Return what a document has; see `results` for its schema.

        Raises:
            KeyError, TypeError: it is not one of this version.
        """
        about = document["taskbridge"]
        blocks = [
            Finished(
                id=entry["param"],
                seconds=entry["stats"]["data"],
                extra_info=entry["extra_info"],
            )
            for entry in document["benchmarks"]
        ]
        return cls(
            source=source,
            head=Head.of(about),
            blocks={block.id: block for block in blocks},
            failures=[Failure(**failure) for failure in about["failures"]],
            spent_s=about["total_s"],
        )

    @classmethod
    def of_journal(cls, source: Path) -> Self:
        """Return what a journal has; a line that was torn by a kill is left out.

        Raises:
            Refusal: the run is still going on, or its file is no journal.
        """
        with source.open("rb") as file:
            if not _lock(file.fileno()):
                raise Refusal(f"The run of {source} is still going on: wait for it.")
            lines = [line for line in file if line.endswith(b"\n")]
        try:
            head, *entries = map(json.loads, lines)
            blocks = [Finished(**e["finished"]) for e in entries if "finished" in e]
            return cls(
                source=source,
                head=Head.of(head),
                blocks={block.id: block for block in blocks},
                failures=[Failure(**e["failed"]) for e in entries if "failed" in e],
                spent_s=max((entry["at_s"] for entry in entries), default=0.0),
            )
        except (ValueError, KeyError, TypeError) as exc:
            raise Refusal(
                f"{source} is not a journal that this version can read "
                f"({type(exc).__name__}: {exc}). Delete it, and run from the start."
            ) from exc


class Journal:
    """The journal of the run that goes on; a lock on the file tells that it does.

    Args:
        directory: where it is; made if need be.
        head: of the run; a journal that this run has already is continued.
    """

    def __init__(self, directory: Path, head: Head) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / f"{head.run}{SUFFIX}"
        # Closed by `close`: it is open as long as the run.
        self._file = self.path.open("a+b", buffering=0)
        if not _lock(self._file.fileno()):
            raise Refusal(f"Another process goes on with the run of {self.path}.")
        self._drop_torn_line()
        if not self._file.tell():
            self._write(head.as_dict())

    def resume(self, partial: Partial) -> None:
        """Write what was finished before, unless it is this journal that has it."""
        if partial.source.resolve() != self.path.resolve():
            self.write(partial.spent_s, partial.blocks.values(), partial.failures)

    def write(
        self,
        at_s: float,
        finished: Iterable[Finished] = (),
        failed: Iterable[Failure] = (),
    ) -> None:
        """Add what has happened; `at_s` seconds is what all attempts took until now."""
        for block in finished:
            self._write({"at_s": at_s, "finished": asdict(block)})
        for failure in failed:
            self._write({"at_s": at_s, "failed": asdict(failure)})

    def close(self, *, delete: bool) -> None:
        """Let go of the file; delete it if the run is stored, or has nothing in it."""
        if delete:
            self.path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else is in it
                self.path.parent.rmdir()
        self._file.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        # One call of write(2): a kill leaves the whole line or a torn last one. And the
        # same encoder as pytest-benchmark's, so that both forms hold the same.
        self._file.write(f"{as_json(entry)}\n".encode())

    def _drop_torn_line(self) -> None:
        self._file.seek(0)
        whole, newline, _torn = self._file.read().rpartition(b"\n")
        self._file.truncate(len(whole + newline))
        self._file.seek(0, 2)


def as_json(value: Any) -> str:
    """Return a value as pytest-benchmark stores it."""
    # pytest-benchmark 5.3 says that it is typed, and its functions are not.
    text: str = safe_dumps(value)  # type: ignore[no-untyped-call]
    return text


def _lock(descriptor: int) -> bool:
    """Lock a file as long as it is open; tell whether it was free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
