"""`DjangoQBackend`: messages to and from Django-Q2 1.11."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import Error as DatabaseError
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    RedisError,
    ResponseError,
)

from taskbridge.adapter import WorkerOptions
from taskbridge.backend import Backend, Envelope, Features, Option, Support
from taskbridge.compat import InvalidTaskBackend
from taskbridge.exceptions import BackendUnavailable
from taskbridge.legible import without_passwords

if TYPE_CHECKING:
    from .brokers import RedisBroker
    from .orm_broker import OrmBroker

RETRY_S = 3600

_UNKNOWN_SCHEME = "OPTIONS['BROKER_URL'] must be a redis:// URL or orm://ALIAS."


class DjangoQBackend(Backend):
    """Runs tasks on Django-Q2.

    OPTIONS: BROKER_URL, either ``redis://...`` or ``orm://ALIAS`` with an alias of
    DATABASES. RETRY says after how many seconds a row of the ORM broker that was taken
    and not acknowledged is handed out again.
    """

    required_apps: ClassVar = ("django_q",)
    app_entries: ClassVar = {"django_q": "taskbridge_django_q"}
    longest_name: ClassVar = 100  # columns of OrmQ and Schedule
    options_schema: ClassVar = {
        "BROKER_URL": Option(types=str, description="a redis:// URL, or orm://ALIAS"),
        "RETRY": Option(types=(int, float), description="seconds (ORM broker)"),
        "POLL": Option(types=(int, float), description="seconds between looks (ORM)"),
        "NOTIFY": Option(
            types=bool, description="whether new rows wake idle workers (ORM)"
        ),
    }

    @property
    def native_features(self) -> Features:
        """See `Features`."""
        in_database = Support.NATIVE if self._is_orm else Support.NO
        return Features(
            run_after=Support.NATIVE,
            priority=Support.NO,
            enqueue_in_transaction=in_database,
            recovery=in_database,  # RETRY after it was taken
            recycle=Support.BRIDGED,
        )

    def push(self, envelopes: Sequence[Envelope]) -> None:
        """See `Adapter.push`. Each queue's messages leave in one command."""
        from . import packages  # noqa: PLC0415 - models need the app registry

        with self._translated_errors():
            packages.push(
                self._sender,
                [
                    replace(each, queue_name=self.name_in_broker(each.queue_name))
                    for each in envelopes
                ],
            )

    def run_worker(self, options: WorkerOptions) -> None:
        """See `Adapter.run_worker`."""
        from .worker import run_worker  # noqa: PLC0415 - models need the app registry

        broker = self.broker(options.queues)
        if self.keeps_records:
            chunk = options.within_limits(self.durable_options.chunk)
            broker.join(chunk, options.concurrency)
        run_worker(broker, options)

    def queue_depths(self) -> dict[str, int | None]:
        """See `Adapter.queue_depths`.

        In native delivery on the ORM broker, running tasks count too.
        """
        names = {self.name_in_broker(name): name for name in sorted(self.queues)}
        with self._translated_errors():
            found = self._sender.depths(names)
        return {names[name]: depth for name, depth in found.items()}

    def has_due(self, queue_names: Collection[str]) -> bool:
        """See `Adapter.has_due`."""
        with self._translated_errors():
            return self.broker(queue_names).queue_size() > 0

    def purge(self, queue_names: Collection[str]) -> int:
        """See `Adapter.purge`."""
        from . import packages  # noqa: PLC0415 - models need the app registry

        self.adopt(queue_names)
        names = list(map(self.name_in_broker, queue_names))
        with self._translated_errors():
            return packages.purge(self._sender, names)

    def adopt(self, queue_names: Collection[str]) -> int:
        """See `Adapter.adopt`."""
        from . import packages  # noqa: PLC0415 - models need the app registry

        with self._translated_errors():
            return sum(
                packages.adopt(self._sender, before, self.name_in_broker(queue_name))
                for queue_name in queue_names
                for before in self.former_names(queue_name)
            )

    @property
    def why_not_native(self) -> None:
        """See `Adapter.why_not_native`."""
        return None

    def run_native_worker(self) -> None:
        """See `Adapter.run_native_worker`: what `qcluster` runs, by Q_CLUSTER."""
        from .worker import run_native_worker  # noqa: PLC0415 - see push()

        run_native_worker()

    def native_work(self) -> list[str]:
        """See `Adapter.native_work`."""
        from . import packages  # noqa: PLC0415 - see push()

        with self._translated_errors():
            return packages.native_work()

    def broker(self, queues: Collection[str] = ()) -> OrmBroker | RedisBroker:
        """Return Django-Q2's broker for these queues."""
        from .brokers import RedisBroker  # noqa: PLC0415 - see push()
        from .orm_broker import OrmBroker  # noqa: PLC0415

        names = list(map(self.name_in_broker, queues))
        if not self._is_known:
            raise InvalidTaskBackend(f"{self}: {_UNKNOWN_SCHEME}")
        if self._is_orm:
            return OrmBroker(
                self.alias,
                names,
                database=urlsplit(self._url).netloc or "default",
                retry_s=self.options.get("RETRY", RETRY_S),
                poll_s=self.options.get("POLL", 0.2),
                notify=self.options.get("NOTIFY", True),
                delays=self.delivery == "native",
            )
        return RedisBroker(self.alias, names, url=self._url)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """See `Backend.check`."""
        from .apps import DjangoQ  # noqa: PLC0415 - Q_CLUSTER is read at its import

        found = list(super().check(**kwargs))
        if not self._is_known:
            error = f"{self}: {_UNKNOWN_SCHEME}"
            found.append(checks.Error(error, id="taskbridge.django_q.E001"))
        if apps.is_installed("django_q") and not (
            hasattr(settings, "Q_CLUSTER")
            or isinstance(apps.get_app_config("django_q"), DjangoQ)
        ):
            warning = checks.Warning(
                f"{self}: without Q_CLUSTER, Django-Q2 warns at each command that "
                f"retry and timeout are misconfigured, which its workers here ignore.",
                hint="In INSTALLED_APPS, write 'taskbridge_django_q' for 'django_q'.",
                id="taskbridge.django_q.W001",
            )
            found.append(warning)
        return found

    @cached_property
    def _sender(self) -> OrmBroker | RedisBroker:
        return self.broker()

    @property
    def _url(self) -> str:
        return str(self.options.get("BROKER_URL", "redis://127.0.0.1:6379/0"))

    @property
    def _is_known(self) -> bool:
        return urlsplit(self._url).scheme in {"redis", "rediss", "unix", "orm"}

    @property
    def _is_orm(self) -> bool:
        return urlsplit(self._url).scheme == "orm"

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (ResponseError, AuthenticationError, BusyLoadingError) as exc:
            raise BackendUnavailable(
                f"{self}: Redis at {without_passwords(self._url)} refused a request: "
                f"{exc}"
            ) from exc
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(
                f"{self}: Redis did not accept or answer a request ({exc}). Is it up "
                f"at {without_passwords(self._url)}?"
            ) from exc
        except DatabaseError as exc:
            raise BackendUnavailable(
                f"{self}: the database did not carry out a statement ({exc}). Is it "
                f"up, and migrated?"
            ) from exc
