"""A backend without a queue library, for unit tests of projects and of the core."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import ClassVar

from django.utils import timezone

from taskbridge.backend import Backend, Envelope, Features, Support
from taskbridge.execution import run
from taskbridge.worker import WorkerOptions


class MemoryBackend(Backend):
    """Keeps envelopes in this process, until `run_due()` runs them."""

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
        """See `Backend.push`."""
        self.envelopes.extend(envelopes)

    def run_due(self, queue_names: Collection[str] | None = None) -> int:
        """Run what is due, and what that enqueues; return how many envelopes ran."""
        ran = 0
        while (envelope := self._next(queue_names)) is not None:
            self.envelopes.remove(envelope)
            run(envelope.body)
            ran += 1
        return ran

    def run_worker(self, options: WorkerOptions) -> None:
        """Run what is due, and return: the queue ends with this process."""
        options.ready()
        self.run_due(options.queues)

    def queue_depths(self) -> dict[str, int | None]:
        """See `Backend.queue_depths`. Delayed messages count."""
        names = [envelope.queue_name for envelope in self.envelopes]
        return {name: names.count(name) for name in sorted(self.queues or set(names))}

    def purge(self, queue_names: Collection[str]) -> int:
        """See `Backend.purge`."""
        kept = [e for e in self.envelopes if e.queue_name not in queue_names]
        removed = len(self.envelopes) - len(kept)
        self.envelopes[:] = kept
        return removed

    def _next(self, queue_names: Collection[str] | None) -> Envelope | None:
        now = timezone.now()
        due = [
            envelope
            for envelope in self.envelopes
            if (queue_names is None or envelope.queue_name in queue_names)
            and (envelope.run_after is None or envelope.run_after <= now)
        ]
        return max(due, key=lambda e: e.priority, default=None)
