"""A ledger: a file to which tasks write what they did, the judge of every test.

It does not rely on the queue, the database or any counter of the system under test.
"""

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line: `event` happened for `key` in process `pid` at `time` (Unix time)."""

    key: str
    event: str
    pid: int
    time: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """Entries in the order in which they were written, by any number of processes."""

    path: Path

    def write(self, key: str, event: str) -> None:
        """Append an entry in one write, which the system keeps whole."""
        # Not time.time(), which a test may set back and forth.
        now = time.clock_gettime(time.CLOCK_REALTIME)
        entry = {"key": key, "event": event, "pid": os.getpid(), "time": now}
        line = json.dumps(entry).encode() + b"\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, line)
        finally:
            os.close(file)

    def entries(self, event: str | None = None) -> list[Entry]:
        """Return all entries, or those of one event."""
        if not self.path.exists():
            return []
        # A reader may see the beginning of a line that is being written.
        whole = self.path.read_text().rpartition("\n")[0]
        entries = [Entry(**json.loads(line)) for line in whole.splitlines()]
        return [entry for entry in entries if event in (None, entry.event)]

    def counts(self, event: str) -> Counter[str]:
        """Return how often the event happened for each key."""
        return Counter(entry.key for entry in self.entries(event))
