"""django-background-tasks 1.2.8 on the database.

defaults  one `process_tasks`
equal     two of them; the pause of 5 s when there is nothing to do, and the random
          0-0.1 s between two tasks, stay: they are the command's own

In recovery MAX_RUN_TIME is 5 s in all lanes. The command does not renew the lock of a
row that runs, TaskBridge's pool does.
"""

from typing import Any

from .model import NO_BROKER, RECOVERY_S, SLOTS, Contender, Guarantee, Lane, Profile
from .taskbridge import lanes

_RUN_AT = "a row, seen by the next poll"
_ACKNOWLEDGES = "after it ran; handed out again after MAX_RUN_TIME = 3600 s"
_RECOVERY = f"MAX_RUN_TIME is {RECOVERY_S} s, not 3600 s"
_FACTS: dict[str, Any] = {
    "library": "background_tasks",
    "guarantee": Guarantee.AT_LEAST_ONCE,
    "broker": "the database",
    "imports": ("background_task",),
}


def _native(profile: Profile) -> Contender:
    slots = SLOTS if profile is Profile.EQUAL else 1
    return Contender(
        lane=Lane.NATIVE,
        profile=profile,
        enqueue="background_function(...)",
        workers=(("-m", "django", "process_tasks"),) * slots,
        slots=slots,
        acknowledges=_ACKNOWLEDGES,
        prefetch="none",
        poll="5 s (the default); 0-0.1 s, random, between two tasks",
        poll_s=5,
        schedules=_RUN_AT,
        results="a CompletedTask row each; it has no switch",
        recovery=_RECOVERY,
        calls_path="taskbridge_bench.native.background_tasks_calls:calls",
        cannot=NO_BROKER
        | {
            "retries": "its gaps are attempts^4 + 5 s, up to one MAX_ATTEMPTS for all "
            "tasks; nothing else can be asked for"
        },
        **_FACTS,
    )


CONTENDERS: tuple[Contender, ...] = tuple(
    contender
    for profile in Profile
    for contender in (
        _native(profile),
        *lanes(
            profile=profile,
            acknowledges=_ACKNOWLEDGES,
            schedules=_RUN_AT,
            recovery=_RECOVERY,
            prefetch="none claimed; the keys of 500 rows are read ahead for each slot",
            poll="0.2 s; new rows wake it sooner",
            poll_s=0.2,
            **_FACTS,
        ),
    )
)
