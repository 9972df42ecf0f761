"""`BackgroundTasksBackend`: messages to and from the tables of background_task 1.2."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import Error as DatabaseError
from django.db.models import Count

from taskbridge.adapter import WorkerOptions
from taskbridge.backend import Backend, Envelope, Features, Option, Support
from taskbridge.exceptions import BackendUnavailable

if TYPE_CHECKING:
    from .rows import Rows

KEYS = "django.db.models.AutoField"
"""What the migrations of version 1.2 made."""


class BackgroundTasksBackend(Backend):
    """Runs tasks on django-background-tasks, with our own worker over its table."""

    required_apps: ClassVar = ("background_task",)
    app_entries: ClassVar = {"background_task": "taskbridge_background_tasks"}
    longest_name: ClassVar = 190  # a column of Task
    options_schema: ClassVar = {
        "POLL": Option(types=(int, float), description="seconds between looks"),
        "NOTIFY": Option(types=bool, description="whether new rows wake idle workers"),
    }

    @property
    def native_features(self) -> Features:
        """See `Features`."""
        return Features(
            run_after=Support.NATIVE,
            priority=Support.NATIVE,
            enqueue_in_transaction=Support.NATIVE,
            recovery=Support.NATIVE,  # MAX_RUN_TIME after it was taken
            recycle=Support.BRIDGED,
        )

    def push(self, envelopes: Sequence[Envelope]) -> None:
        """See `Adapter.push`. Rows join the caller's transaction, if there is one."""
        with self._translated_errors():
            self._rows().insert(
                [
                    replace(each, queue_name=self.name_in_broker(each.queue_name))
                    for each in envelopes
                ],
                notify=self._notifies,
            )

    def run_worker(self, options: WorkerOptions) -> None:
        """See `Adapter.run_worker`."""
        from taskbridge.worker.pool import Pool  # noqa: PLC0415 - of workers alone

        poll_s = self.options.get("POLL", 0.2)
        names = tuple(map(self.name_in_broker, options.queues))
        options = replace(options, queues=names)
        rows = self._rows()
        wakeups = rows.wakeups(names) if self._notifies else None
        chunk = self.durable_options.chunk if self.keeps_records else 1
        chunk = options.within_limits(chunk)
        Pool(rows, options, poll_s=poll_s, chunk=chunk, wakeups=wakeups).run()

    def queue_depths(self) -> dict[str, int | None]:
        """See `Adapter.queue_depths`. Delayed messages count.

        In durable delivery there are none: a row that is not due was pushed before the
        clock was set back, and no worker will find it.
        """
        rows = self._rows()
        with self._translated_errors():
            waiting = rows.waiting_and_due() if self.keeps_records else rows.waiting()
            counted = waiting.values("queue").annotate(n=Count("pk")).order_by()
            found = {row["queue"]: row["n"] for row in counted}
        if not self.queues:
            start = f"{self.prefix}:"
            return {name.removeprefix(start): found[name] for name in sorted(found)}
        return {
            name: found.get(self.name_in_broker(name), 0)
            for name in sorted(self.queues)
        }

    def has_due(self, queue_names: Collection[str]) -> bool:
        """See `Adapter.has_due`."""
        with self._translated_errors():
            return bool(
                self._rows().due(list(map(self.name_in_broker, queue_names)), 1)
            )

    def purge(self, queue_names: Collection[str]) -> int:
        """See `Adapter.purge`. Running tasks are left alone."""
        self.adopt(queue_names)
        names = list(map(self.name_in_broker, queue_names))
        with self._translated_errors():
            rows = self._rows().waiting().filter(queue__in=names)
            return int(rows.delete()[0])

    def adopt(self, queue_names: Collection[str]) -> int:
        """See `Adapter.adopt`."""
        rows = self._rows()
        with self._translated_errors():
            return sum(
                rows.move(self.former_names(name), self.name_in_broker(name))
                for name in queue_names
            )

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """See `Backend.check`."""
        found = list(super().check(**kwargs))
        if (
            apps.is_installed("background_task")
            and "background_task" not in settings.MIGRATION_MODULES
            and apps.get_app_config("background_task").default_auto_field != KEYS
        ):
            warning = checks.Warning(
                f"{self}: with this DEFAULT_AUTO_FIELD, makemigrations wants to change "
                f"the keys of 'background_task', among the installed packages.",
                hint="In INSTALLED_APPS, write 'taskbridge_background_tasks' for it.",
                id="taskbridge.background_tasks.W001",
            )
            found.append(warning)
        return found

    @property
    def why_not_native(self) -> None:
        """See `Adapter.why_not_native`."""
        return None

    def run_native_worker(self) -> None:
        """See `Adapter.run_native_worker`. One process, as `process_tasks` is."""
        from .native import run_native_worker  # noqa: PLC0415 - see push()

        run_native_worker(poll_s=self.options.get("POLL", 0.2))

    def native_work(self) -> list[str]:
        """See `Adapter.native_work`."""
        with self._translated_errors():
            count = self._rows().others().count()
        return [f"{count} rows of @background functions"] if count else []

    @property
    def _notifies(self) -> bool:
        return bool(self.options.get("NOTIFY", True))

    def _rows(self) -> "Rows":
        from .rows import Rows  # noqa: PLC0415 - models need the app registry

        return Rows()

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as exc:
            raise BackendUnavailable(
                f"{self}: the database did not carry out a statement ({exc}). Is it "
                f"up, and migrated?"
            ) from exc
