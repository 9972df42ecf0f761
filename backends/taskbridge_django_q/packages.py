"""Packages, the signed pickles that Django-Q2 1.11 runs, around our envelopes."""

import secrets
from collections.abc import Collection, Sequence
from functools import cache
from itertools import groupby
from typing import Any

from django.core.signing import TimestampSigner
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import Schedule
from django_q.signals import pre_enqueue
from django_q.signing import PickleSerializer

from taskbridge.backend import Envelope
from taskbridge.signing import KeyOnceSigner

from .brokers import OrmBroker, RedisBroker

NATIVE_TASK = "taskbridge.execution.run"
# Results are not kept, and a failure is acknowledged: Django-Q2 never runs it again.
OPTIONS: dict[str, Any] = {"save": False, "ack_failure": True}


def push(broker: OrmBroker | RedisBroker, envelopes: Sequence[Envelope]) -> None:
    """Hand envelopes over, those of the same queue and time in one command."""
    for (queue, due), group in groupby(
        envelopes, lambda e: (e.queue_name, e.run_after)
    ):
        is_later = due is not None and due > timezone.now()
        if is_later and isinstance(broker, RedisBroker):
            _schedule(broker, list(group))
        else:
            broker.add(queue, [package(envelope.body) for envelope in group], due)


def package(body: str) -> str:
    """Return the package that calls `taskbridge.execution.run` with a body.

    It is what ``django_q.tasks.async_task`` makes, which cannot hand over several.
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
    signer = _signer(Conf.SECRET_KEY, Conf.PREFIX)
    return signer.sign_object(task, PickleSerializer, Conf.COMPRESSED)


class _Signer(KeyOnceSigner, TimestampSigner):
    """What ``SignedPackage`` makes anew for each package."""


@cache
def _signer(key: str, salt: str) -> _Signer:
    return _Signer(key=key, salt=salt)


def purge(broker: OrmBroker | RedisBroker, queues: Collection[str]) -> int:
    """Drop what waits in these queues, schedules too; return how many."""
    delayed = Schedule.objects.filter(cluster=broker.schedules, name__in=queues)
    return broker.purge(queues) + int(delayed.delete()[0])


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
                next_run=envelope.run_after,
                cluster=broker.schedules,
                name=envelope.queue_name,
            )
            for envelope in envelopes
        ],
        batch_size=1000,
    )
