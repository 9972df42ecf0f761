"""`BackgroundTasksBackend`: messages to and from the tables of background_task 1.2."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from django.db import Error as DatabaseError
from django.db.models import Count

from taskbridge.backend import Backend, Envelope, Features, Option, Support
from taskbridge.exceptions import BackendUnavailable
from taskbridge.worker import WorkerOptions

if TYPE_CHECKING:
    from .rows import Rows


class BackgroundTasksBackend(Backend):
    """Runs tasks on django-background-tasks, with our own worker over its table."""

    required_apps: ClassVar = ("background_task",)
    options_schema: ClassVar = {
        "POLL": Option(types=(int, float), description="seconds between looks"),
    }

    @property
    def native_features(self) -> Features:
        """See `Features`."""
        return Features(
            run_after=Support.NATIVE,
            priority=Support.NATIVE,
            enqueue_in_transaction=Support.NATIVE,
            recovery=Support.NATIVE,  # MAX_RUN_TIME after it was taken
        )

    def push(self, envelopes: Sequence[Envelope]) -> None:
        """See `Backend.push`. Rows join the caller's transaction, if there is one."""
        with self._translated_errors():
            self._rows().insert(envelopes)

    def run_worker(self, options: WorkerOptions) -> None:
        """See `Backend.run_worker`."""
        from .pool import Pool  # noqa: PLC0415 - models need the app registry

        poll_s = self.options.get("POLL", 0.2)
        Pool(self._rows(), options, poll_s=poll_s).run()

    def queue_depths(self) -> dict[str, int | None]:
        """See `Backend.queue_depths`. Delayed messages count."""
        with self._translated_errors():
            waiting = self._rows().waiting().values("queue").annotate(n=Count("pk"))
            found = {row["queue"]: row["n"] for row in waiting.order_by()}
        return {name: found.get(name, 0) for name in sorted(self.queues or found)}

    def purge(self, queue_names: Collection[str]) -> int:
        """See `Backend.purge`. Running tasks are left alone."""
        with self._translated_errors():
            rows = self._rows().waiting().filter(queue__in=queue_names)
            return int(rows.delete()[0])

    def _rows(self) -> "Rows":
        from .rows import Rows  # noqa: PLC0415 - models need the app registry

        return Rows()

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as exc:
            raise BackendUnavailable(
                f"{self}: the database did not take or answer it ({exc}). Is it "
                f"up, and migrated?"
            ) from exc
