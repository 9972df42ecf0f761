"""What a run is to be, from the options, and whether it can go on where one ended."""

import argparse
import contextlib
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from taskbridge_bench.availability import left_out
from taskbridge_bench.contenders import CONTENDERS, LIBRARIES, Contender, tasks_backend
from taskbridge_bench.head import Head, machine, versions
from taskbridge_bench.journal import Partial, as_json
from taskbridge_bench.options import DEFAULTS, PLACES
from taskbridge_bench.plan import Plan, Selection, make_plan, mode_of
from taskbridge_bench.refusal import Refusal
from taskbridge_bench.servers import OwnUrls, Servers


def check(partial: Partial, head: Head, plan: Plan) -> None:
    """Refuse to go on with a run that would be another one now.

    Raises:
        Refusal: machine, versions, plan, or a contender's description differ.
    """
    differences = list(partial.head.differences(head))
    blocks = {block.id: block for block in plan.blocks}
    for name, finished in partial.blocks.items():
        if name not in blocks:
            differences.append(f"the plan has no block {name} any more")
            continue
        before = finished.extra_info["contender"]
        # As JSON has it: tuples are lists there.
        now = json.loads(as_json(blocks[name].contender.describe()))
        names = [key for key in now.keys() | before.keys() if _differ(key, before, now)]
        if names:
            differences.append(f"{now['name']} ({', '.join(sorted(names))})")
    if differences:
        unlike = "; ".join(dict.fromkeys(differences))
        raise Refusal(
            f"The run of {partial.source} cannot be resumed, since its numbers could "
            f"not be compared with new ones: {unlike}. "
            f"Report what it has, or run from the start."
        )


def _differ(key: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return key not in one or key not in two or one[key] != two[key]


def choose(options: argparse.Namespace, partial: Partial | None) -> dict[str, Any]:
    """Return all options that make the run what it is, and where it is stored.

    Raises:
        Refusal: those given are not those of the run to go on with.
    """
    given = {
        name: value
        for name in (*DEFAULTS, "seed")
        if (value := getattr(options, name)) is not None
    }
    places = {name: _absolute(getattr(options, name)) for name in PLACES}
    if partial is None:
        seed = given.get("seed", secrets.randbits(32))
        return {**DEFAULTS, **places, **given, "seed": seed}
    before = {**partial.head.options, "seed": partial.head.seed}
    differing = [
        f"--{name} {_shown(value)}, and it had {_shown(before[name])}"
        for name, value in given.items()
        if value != before[name]
    ]
    if differing:
        raise Refusal(
            f"The run of {partial.source} had other options: {'; '.join(differing)}. "
            f"Leave them out to resume it."
        )
    return {**before, **{name: file for name, file in places.items() if file}}


def own_urls(options: argparse.Namespace) -> OwnUrls:
    """Return the user's own servers."""
    return OwnUrls(
        redis=options.redis_url,
        rabbitmq=options.rabbitmq_url,
        postgresql=options.database_url,
    )


def _absolute(file: Path | None) -> str | None:
    return None if file is None else str(file.absolute())


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value or "nothing")


def contenders_of(chosen: Mapping[str, Any]) -> Sequence[Contender]:
    """Return all contenders, the user's own backend among them.

    Raises:
        Refusal: what --backend says is no backend.
    """
    if not chosen["backend"]:
        return CONTENDERS
    name, equals, path = chosen["backend"].partition("=")
    if not (name and equals and "." in path):
        raise Refusal(
            f"--backend {chosen['backend']!r} is not NAME=CLASS, as "
            f"mine=django_tasks_db.DatabaseBackend."
        )
    if name in LIBRARIES:
        raise Refusal(f"--backend: {name} is a contender already: choose another name.")
    return (*CONTENDERS, tasks_backend(name, path, worker=chosen["worker"]))


def plan_of(
    chosen: Mapping[str, Any],
    contenders: Sequence[Contender],
    missing: Mapping[str, str] | None = None,
) -> Plan:
    """Return the plan of a run, without the contenders that are missing here."""
    backend = chosen["backend"]
    return make_plan(
        mode_of(chosen["mode"], chosen["database"]),
        chosen["seed"],
        Selection(
            libraries=chosen["contender"],
            scenarios=chosen["scenario"],
            lanes=chosen["lane"],
            profiles=chosen["profile"],
            added=(backend.partition("=")[0],) if backend else (),
        ),
        work=chosen["work"],
        left_out=missing or {},
        contenders=contenders,
    )


def missing_of(plan: Plan, servers: Servers) -> dict[str, str]:
    """Return which contenders of a plan cannot be measured here, and why."""
    names = {block.contender.name: block.contender for block in plan.blocks}
    return left_out([c for c in names.values() if not c.control_of], servers)


def head_of(
    chosen: Mapping[str, Any],
    missing: Mapping[str, str],
    servers: Servers,
    partial: Partial | None,
) -> Head:
    """Return what identifies a run; one that goes on keeps its name."""
    return Head(
        run=partial.head.run if partial else secrets.token_hex(6),
        mode=mode_of(chosen["mode"], chosen["database"]),
        seed=chosen["seed"],
        database=servers.database,
        options={name: chosen[name] for name in (*DEFAULTS, *PLACES)},
        left_out=missing,
        machine=machine(),
        versions={**versions(), **servers.sources},
    )


@contextlib.contextmanager
def with_project(chosen: Mapping[str, Any]) -> Iterator[None]:
    """Tell this process and its workers about the user's settings and function."""
    variables = {
        "TASKBRIDGE_BENCH_PROJECT": chosen["settings"],
        "TASKBRIDGE_BENCH_TASK": chosen["task"],
        "TASKBRIDGE_BENCH_ARGUMENTS": chosen["arguments"],
    }
    os.environ.update({name: text for name, text in variables.items() if text})
    if chosen["settings"] or chosen["task"] or chosen["backend"]:
        # As `python -m` does: the modules are those of the directory we are in.
        here = str(Path.cwd())
        sys.path.insert(0, here)
        paths = (here, os.environ.get("PYTHONPATH"))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    for name in ("settings", "task"):
        if chosen[name]:
            _refuse_unless_found(name, chosen[name])
    yield


def _refuse_unless_found(name: str, path: str) -> None:
    module = path.partition(":")[0]
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise Refusal(
            f"--{name}: there is no module {module} on sys.path, which begins with "
            f"{Path.cwd()}."
        )
