"""`DjangoQBackend`: messages to and from Django-Q2 1.11."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from django.core import checks
from django.db import Error as DatabaseError
from redis.exceptions import RedisError

from taskbridge.backend import Backend, Envelope, Features, Option, Support
from taskbridge.compat import InvalidTaskBackend
from taskbridge.exceptions import BackendUnavailable
from taskbridge.worker import WorkerOptions

if TYPE_CHECKING:
    from .brokers import OrmBroker, RedisBroker

RETRY_S = 3600

_UNKNOWN_SCHEME = "OPTIONS['BROKER_URL'] must be a redis:// URL or orm://ALIAS."


class DjangoQBackend(Backend):
    """Runs tasks on Django-Q2.

    OPTIONS: BROKER_URL, either ``redis://...`` or ``orm://ALIAS`` with an alias of
    DATABASES. RETRY says after how many seconds a row of the ORM broker that was taken
    and not acknowledged is handed out again.
    """

    required_apps: ClassVar = ("django_q",)
    options_schema: ClassVar = {
        "BROKER_URL": Option(types=str, description="a redis:// URL, or orm://ALIAS"),
        "RETRY": Option(types=(int, float), description="seconds (ORM broker)"),
        "POLL": Option(types=(int, float), description="seconds between looks (ORM)"),
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
        )

    def push(self, envelopes: Sequence[Envelope]) -> None:
        """See `Backend.push`. Each queue's messages leave in one command."""
        from . import packages  # noqa: PLC0415 - models need the app registry

        with self._translated_errors():
            packages.push(self._sender, envelopes)

    def run_worker(self, options: WorkerOptions) -> None:
        """See `Backend.run_worker`."""
        from .worker import run_worker  # noqa: PLC0415 - models need the app registry

        run_worker(self.broker(options.queues), options)

    def queue_depths(self) -> dict[str, int | None]:
        """See `Backend.queue_depths`. On the ORM broker, running tasks count too."""
        with self._translated_errors():
            return {**self._sender.depths(sorted(self.queues))}

    def purge(self, queue_names: Collection[str]) -> int:
        """See `Backend.purge`."""
        from . import packages  # noqa: PLC0415 - models need the app registry

        with self._translated_errors():
            return packages.purge(self._sender, queue_names)

    def broker(self, queues: Collection[str] = ()) -> OrmBroker | RedisBroker:
        """Return Django-Q2's broker for these queues."""
        from .brokers import OrmBroker, RedisBroker  # noqa: PLC0415 - see push()

        if not self._is_known:
            raise InvalidTaskBackend(f"{self}: {_UNKNOWN_SCHEME}")
        if self._is_orm:
            return OrmBroker(
                self.alias,
                queues,
                database=urlsplit(self._url).netloc or "default",
                retry_s=self.options.get("RETRY", RETRY_S),
                poll_s=self.options.get("POLL", 0.2),
            )
        return RedisBroker(self.alias, queues, url=self._url)

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        """See `Backend.check`."""
        yield from super().check(**kwargs)
        if not self._is_known:
            yield checks.Error(
                f"{self}: {_UNKNOWN_SCHEME}", id="taskbridge.django_q.E001"
            )

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
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(
                f"{self}: Redis did not take or answer it ({exc}). Is it up at "
                f"{_without_password(self._url)}?"
            ) from exc
        except DatabaseError as exc:
            raise BackendUnavailable(
                f"{self}: the database did not take or answer it ({exc}). Is it "
                f"up, and migrated?"
            ) from exc


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
