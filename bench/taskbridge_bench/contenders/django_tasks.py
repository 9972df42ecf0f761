"""Any backend of Django's own tasks framework, by its dotted path in TASKS.

What is timed and run is the tasks API alone: `Task.enqueue`, and `using(run_after=)`.

django-tasks-db 0.13.0: `db_worker` takes a row, marks it RUNNING, and commits before it
runs it (management/commands/db_worker.py); nothing looks at RUNNING rows again.
    defaults  one `db_worker`
    equal     two of them; the pause of 1 s when there is nothing to do stays

django-ox 1.9.1 (Python >= 3.12): a row is leased for LOCK_TIMEOUT = 300 s, the lease is
renewed while it runs, and a reaper of any worker looks for expired ones every 30 s; a
task is handed out MAX_ATTEMPTS = 3 times (worker.py, backend.py).
    defaults  one `ox_worker`: one process, one thread
    equal     --processes 2; the pause of 1 s stays
In recovery LOCK_TIMEOUT is 5 s; the reaper then looks each half of it (worker.py).
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .model import NO_BROKER, RECOVERY_S, SLOTS, Contender, Guarantee, Lane, Profile

CANNOT: Mapping[str, str] = {
    "enqueue-bulk": "the tasks API of Django enqueues one task at a time",
    "retries": "the tasks API of Django has no retry policy",
    "periodic": "the tasks API of Django has no schedules",
}
"""What no backend can be asked for by the API alone."""
_UNKNOWN = "not known: it was given by its path alone"


def tasks_backend(
    name: str,
    path: str,
    *,
    worker: str | Sequence[str],
    processes: int = SLOTS,
    slots: int | None = None,
    options: Mapping[str, Any] | None = None,
    apps: Sequence[str] | None = None,
    imports: Sequence[str] | None = None,
    profile: Profile = Profile.EQUAL,
    guarantee: Guarantee = Guarantee.AT_MOST_ONCE,
    poll_s: float = 1.0,
    cannot: Mapping[str, str] = CANNOT,
    **facts: str,
) -> Contender:
    """Return a contender that is a backend in TASKS; `additions` puts it there.

    Args:
        name: of the contender, and its alias in TASKS.
        path: of the backend's class.
        worker: arguments of ``python`` that start a worker, e.g. "-m django db_worker
            --backend {name}"; "{name}" stands for the name.
        processes: how many workers are started.
        slots: how many tasks they run at once in all; one each by default.
        options: OPTIONS in TASKS, JSON; see `additions` for "{redis}".
        apps: of INSTALLED_APPS, whose tables are emptied by each purge; by default the
            path's first package, if it is an app.
        imports: modules that must be there; by default the path's first package.
        profile: under which it is ranked.
        guarantee: what becomes of a task whose worker is killed.
        poll_s: the longest pause between two looks of an idle worker.
        cannot: as in `Contender`.
        facts: the other descriptions in `Contender`, in words.
    """
    words = shlex.split(worker) if isinstance(worker, str) else worker
    package = path.partition(".")[0]
    apps = _app_of(package) if apps is None else tuple(apps)
    settings = {"BACKEND": path, "OPTIONS": dict(options or {})}
    described: dict[str, Any] = {
        "broker": _UNKNOWN,
        "acknowledges": _UNKNOWN,
        "prefetch": _UNKNOWN,
        "poll": _UNKNOWN,
        "schedules": "as it does run_after",
        "results": _UNKNOWN,
        **facts,
    }
    return Contender(
        library=name,
        lane=Lane.NATIVE,
        profile=profile,
        guarantee=guarantee,
        enqueue="task.enqueue(...)",
        workers=(tuple(word.replace("{name}", name) for word in words),) * processes,
        slots=processes if slots is None else slots,
        poll_s=poll_s,
        calls_path="taskbridge_bench.native.backend_calls:calls",
        calls_arguments=(name, *apps),
        environ={
            "TASKBRIDGE_BENCH_APPS": json.dumps(apps),
            "TASKBRIDGE_BENCH_BACKENDS": json.dumps({name: settings}),
        },
        imports=(package,) if imports is None else tuple(imports),
        cannot=dict(cannot),
        **described,
    )


def _app_of(package: str) -> tuple[str, ...]:
    """Return a package that is a Django app; a top-level name is found unimported."""
    spec = find_spec(package)
    places = (spec and spec.submodule_search_locations) or ()
    return (package,) * any((Path(place) / "apps.py").exists() for place in places)


def _django_tasks_db(profile: Profile) -> Contender:
    return tasks_backend(
        "django_tasks_db",
        "django_tasks_db.DatabaseBackend",
        worker="-m django db_worker --backend {name}",
        processes=SLOTS if profile is Profile.EQUAL else 1,
        apps=("django_tasks_db",),
        profile=profile,
        broker="the database",
        acknowledges="when it starts: what a killed worker ran stays RUNNING for ever",
        prefetch="none",
        poll="1 s (the default)",
        schedules="its row, seen by the next poll",
        results="its row, kept",
        cannot={**CANNOT, **NO_BROKER},
    )


def _django_ox(profile: Profile) -> Contender:
    is_equal = profile is Profile.EQUAL
    own = "django-ox has {} of its own, which the tasks API of Django does not know"
    return tasks_backend(
        "django_ox",
        "django_ox.backend.OxBackend",
        worker="-m django ox_worker --backend {name}"
        + f" --processes {SLOTS}" * is_equal,
        processes=1,
        slots=SLOTS if is_equal else 1,
        apps=("django_ox",),
        profile=profile,
        guarantee=Guarantee.AT_LEAST_ONCE,
        broker="the database",
        acknowledges="after it ran; handed out again when its lease of LOCK_TIMEOUT = "
        "300 s has expired and a reaper has looked, every 30 s",
        prefetch="none",
        poll="1 s (the default)",
        schedules="its row, seen by the next poll",
        results="its row, kept",
        recovery=f"LOCK_TIMEOUT is {RECOVERY_S} s, not 300 s",
        cannot={
            "enqueue-bulk": own.format("enqueue_many"),
            "retries": own.format("max_attempts and backoff"),
            "periodic": own.format('OPTIONS["SCHEDULES"]'),
            **NO_BROKER,
        },
    )


CONTENDERS: tuple[Contender, ...] = tuple(
    contender
    for profile in Profile
    for contender in (_django_tasks_db(profile), _django_ox(profile))
)
