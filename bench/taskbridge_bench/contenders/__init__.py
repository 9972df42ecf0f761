"""Who is compared; a module for each library says exactly how it is set up."""

from dataclasses import replace

from . import (
    background_tasks,
    celery,
    django_q,
    django_tasks,
    dramatiq,
    huey,
    procrastinate,
    rq,
)
from .django_tasks import tasks_backend
from .model import (
    SLOTS,
    Calls,
    Contender,
    Enqueue,
    EnqueueAt,
    EnqueueMany,
    Guarantee,
    Lane,
    Profile,
)

__all__ = [
    "CONTENDERS",
    "LIBRARIES",
    "SLOTS",
    "Calls",
    "Contender",
    "Enqueue",
    "EnqueueAt",
    "EnqueueMany",
    "Guarantee",
    "Lane",
    "Profile",
    "control_of",
    "tasks_backend",
]

CONTENDERS: tuple[Contender, ...] = (
    *celery.CONTENDERS,
    *django_q.CONTENDERS,
    *background_tasks.CONTENDERS,
    *huey.CONTENDERS,
    *dramatiq.CONTENDERS,
    *rq.CONTENDERS,
    *procrastinate.CONTENDERS,
    *django_tasks.CONTENDERS,
)
LIBRARIES: tuple[str, ...] = tuple(dict.fromkeys(c.library for c in CONTENDERS))


def control_of(contender: Contender) -> Contender:
    """Return the same contender under another name: half of an A/A comparison."""
    return replace(contender, control_of=contender.name)
