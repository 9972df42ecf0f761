"""A backend without a queue library, for unit tests of projects and of the core."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from taskbridge.adapter import WorkerOptions
from taskbridge.backend import Backend, Envelope, Features, Support
from taskbridge.execution import run
from taskbridge.message import seal
from taskbridge.store import Due
from taskbridge.store.record import message_of_record
from taskbridge.store.session import close_sessions

FAR_AHEAD_S = 10 * 365 * 86_400
LOOK_AT = 1000
MOST_ATTEMPTS = 100
ANSWER_S = 60


class MemoryBackend(Backend):
    """Keeps envelopes in this process, until `run_due()` runs them."""

    _ahead_s: float = 0
    _by_alias: ClassVar[defaultdict[str, list[Envelope]]] = defaultdict(list)

    @property
    def native_features(self) -> Features:
        """See `Features`."""
        return Features(run_after=Support.NATIVE, priority=Support.NATIVE)

    @property
    def envelopes(self) -> list[Envelope]:
        """What waits, in the order in which it came."""
        return self._by_alias[self.alias]

    def push(self, envelopes: Sequence[Envelope]) -> None:
        """See `Adapter.push`."""
        self.envelopes.extend(envelopes)

    def run_due(
        self, queue_names: Collection[str] | None = None, *, ahead_s: float = 0
    ) -> int:
        """Run what is due, and what that enqueues; return how many envelopes ran.

        In durable delivery there is no dispatcher in a test, so attempts that follow a
        failure, and tasks with a `run_after`, are delivered here when they are due: of
        each task at most a hundred, since some have no limit of attempts.

        Args:
            queue_names: None: all.
            ahead_s: also run, at once, what will be due within so many seconds.
        """
        ran = 0
        delivered: defaultdict[str, set[int]] = defaultdict(set)
        self._ahead_s = ahead_s
        try:
            while True:
                while (envelope := self._next(queue_names)) is not None:
                    self.envelopes.remove(envelope)
                    run(envelope.body)
                    ran += 1
                if not (self.keeps_records and self._deliver(queue_names, delivered)):
                    return ran
        finally:
            self._ahead_s = 0
            close_sessions()  # a database in use cannot be dropped after the tests

    def _deliver(
        self,
        queue_names: Collection[str] | None,
        delivered: defaultdict[str, set[int]],
    ) -> bool:
        """Push records that are due, as a dispatcher does; False: there are none.

        By the clock of this process: inside a transaction, that of the database stands.

        Args:
            queue_names: None: all.
            delivered: the attempts of each task that were delivered before.
        """
        with self.store.session(answer_s=ANSWER_S):  # whatever tasks did to the other
            found = self.store.look(horizon_s=FAR_AHEAD_S, limit=LOOK_AT)
            records = self.store.get([e.id for e in found if _is_left_to_dispatcher(e)])
        until = datetime.now(UTC) + timedelta(seconds=self._ahead_s)
        due = [
            record
            for record in records
            if record.wake_at and record.wake_at <= until
            if queue_names is None or record.queue_name in queue_names
            if record.attempt not in delivered[record.id]  # it cannot be claimed
            if len(delivered[record.id]) < MOST_ATTEMPTS
        ]
        for record in due:
            delivered[record.id].add(record.attempt)
        messages = [message_of_record(record) for record in due]
        self.push(seal(messages, chunk=1))
        return bool(messages)

    def run_worker(self, options: WorkerOptions) -> None:
        """Run what is due, and return: the queue ends with this process."""
        options.ready()
        self.run_due(options.queues)

    def queue_depths(self) -> dict[str, int | None]:
        """See `Adapter.queue_depths`. Delayed messages count."""
        names = [envelope.queue_name for envelope in self.envelopes]
        return {name: names.count(name) for name in sorted(self.queues or set(names))}

    def purge(self, queue_names: Collection[str]) -> int:
        """See `Adapter.purge`."""
        kept = [e for e in self.envelopes if e.queue_name not in queue_names]
        removed = len(self.envelopes) - len(kept)
        self.envelopes[:] = kept
        return removed

    def _next(self, queue_names: Collection[str] | None) -> Envelope | None:
        now = datetime.now(UTC) + timedelta(seconds=self._ahead_s)
        due = [
            envelope
            for envelope in self.envelopes
            if (queue_names is None or envelope.queue_name in queue_names)
            and (envelope.run_after is None or envelope.run_after <= now)
        ]
        return max(due, key=lambda e: e.priority, default=None)


def _is_left_to_dispatcher(due: Due) -> bool:
    return due.status == "READY" and not due.pushes
