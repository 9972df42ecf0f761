"""Packages, the signed pickles that Django-Q2 1.11 runs, around our envelopes."""

import secrets
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from itertools import groupby

from django.db.models import Q
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule
from django_q.signals import pre_enqueue
from django_q.signing import PickleSerializer

from taskbridge.adapter import is_signed_here
from taskbridge.backend import Envelope
from taskbridge.moments import as_django

from .brokers import SCHEDULES, RedisBroker, list_key, native_client
from .joining import NATIVE_TASK, OPTIONS, ours
from .orm_broker import OrmBroker
from .signatures import renewed, signer


def push(broker: OrmBroker | RedisBroker, envelopes: Sequence[Envelope]) -> None:
    """Hand envelopes over, those of the same queue and time in one command."""
    for (queue, due), group in groupby(
        envelopes, lambda e: (e.queue_name, e.run_after)
    ):
        is_later = due is not None and due > datetime.now(UTC)
        if is_later and isinstance(broker, RedisBroker):
            _schedule(broker, list(group))
        else:
            broker.add(queue, [package(envelope.body) for envelope in group], due)


def package(body: str) -> str:
    """Return the package that calls `taskbridge.execution.run` with a body.

    ``django_q.tasks.async_task`` makes the same, but cannot hand over several.
    """
    task = {
        "id": secrets.token_hex(16),
        "name": "taskbridge",
        "func": NATIVE_TASK,
        "args": (body,),
        "kwargs": {},
        "started": timezone.now(),
        **OPTIONS,
    }
    pre_enqueue.send(sender="django_q", task=task)
    return signer().sign_object(task, PickleSerializer, Conf.COMPRESSED)


def purge(broker: OrmBroker | RedisBroker, queues: Collection[str]) -> int:
    """Drop what waits in these queues, schedules too; return how many."""
    delayed = Schedule.objects.filter(cluster=broker.schedules, name__in=queues)
    return broker.purge(queues) + int(delayed.delete()[0])


def adopt(broker: OrmBroker | RedisBroker, before: str, name: str) -> int:
    """Move what is ours from a queue to another one; return how many."""
    delayed = Schedule.objects.filter(cluster=broker.schedules, name=before)
    return broker.move(before, name, is_ours) + delayed.update(name=name)


def is_ours(package: str) -> bool:
    """Whether a package is one of ours, and not of the project or somebody else."""
    try:
        task = ours(renewed(package))
        return task is not None and is_signed_here(task["args"][0])
    except Exception:  # noqa: BLE001 - whatever somebody put there
        return False


def native_work() -> list[str]:
    """Say what waits for `qcluster`: the project's own schedules and packages."""
    ours = Q(cluster__startswith=SCHEDULES)
    schedules = Schedule.objects.exclude(repeats=0).filter(Q(cluster=None) | ~ours)
    counts = {"rows of Schedule": schedules.count(), "packages": _native_packages()}
    return [f"{count} {what}" for what, count in counts.items() if count]


def _native_packages() -> int:
    """Count what waits in the queue of Q_CLUSTER, if that is a table or in Redis."""
    if Conf.ORM:
        return OrmQ.objects.using(Conf.ORM).filter(key=Conf.CLUSTER_NAME).count()
    if not Conf.REDIS:
        return 0
    return native_client(Conf.REDIS).llen(list_key(Conf.CLUSTER_NAME))


def _schedule(broker: RedisBroker, envelopes: Sequence[Envelope]) -> None:
    """Keep envelopes for Django-Q2's scheduler, which looks every 30 seconds.

    The worker of any queue fires them, each into its own: the name of a schedule comes
    back as the group of its package (see `RedisBroker.enqueue`).
    """
    Schedule.objects.bulk_create(
        [
            Schedule(
                func=NATIVE_TASK,
                args=repr((envelope.body,)),
                kwargs=repr({"q_options": OPTIONS}),
                schedule_type=Schedule.ONCE,
                repeats=-1,
                next_run=envelope.run_after and as_django(envelope.run_after),
                cluster=broker.schedules,
                name=envelope.queue_name,
            )
            for envelope in envelopes
        ],
        batch_size=1000,
    )
