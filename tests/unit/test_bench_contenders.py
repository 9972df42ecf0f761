"""Who is compared is described in full, and costs nothing where it is not installed."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from importlib.util import find_spec

import pytest

from taskbridge_bench import additions
from taskbridge_bench.availability import available, left_out
from taskbridge_bench.contenders import (
    CONTENDERS,
    SLOTS,
    Contender,
    Guarantee,
    Lane,
    Profile,
    tasks_backend,
)
from taskbridge_bench.policies import POLICIES
from taskbridge_bench.servers import Servers

LIBRARIES = (
    *("celery", "kombu", "django_q", "background_task", "huey", "dramatiq", "rq"),
    *("procrastinate", "django_tasks_db", "django_ox", "django", "redis"),
)
PEERS = ("huey", "dramatiq", "rq", "procrastinate", "django_tasks_db", "django_ox")
MAY_BE_EMPTY = {
    *("calls_arguments", "environ", "imports", "servers", "cannot", "beside"),
    *("recovery", "returns", "hoarded", "fills_in_bulk", "control_of", "poll_s"),
}


def servers(**missing: str) -> Servers:
    """Servers that are all there but for those, with the reason."""
    known: dict[str, object] = {field.name: {} for field in fields(Servers)}
    return Servers(**{**known, "missing": missing})  # type: ignore[arg-type]


def peer(library: str, profile: Profile = Profile.EQUAL) -> Contender:
    """The contender of a library that has the native lane only."""
    return next(
        each
        for each in CONTENDERS
        if (each.library, each.profile) == (library, profile)
    )


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: f"{c.profile}-{c.name}")
def test_description_has_no_empty_field(contender):
    description = contender.describe()
    empty = {name for name, value in description.items() if value in ("", (), None, {})}

    assert empty <= MAY_BE_EMPTY
    json.dumps(description)


@pytest.mark.parametrize("profile", Profile)
def test_names_within_a_profile_are_unique(profile):
    names = [each.name for each in CONTENDERS if each.profile is profile]

    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("library", PEERS)
def test_peer_is_native_only_and_has_both_profiles(library):
    found = [each for each in CONTENDERS if each.library == library]

    assert {each.lane for each in found} == {Lane.NATIVE}
    assert {each.profile for each in found} == set(Profile)
    assert peer(library).slots == SLOTS


@pytest.mark.parametrize("library", PEERS)
def test_peer_says_what_it_cannot_by_names_of_scenarios(library):
    for name, reason in peer(library).cannot.items():
        prefix, _, rest = name.partition("-")
        assert reason
        assert (
            name in ("enqueue-bulk", "schedule", "retries", "periodic")
            or (prefix == "retries" and rest in POLICIES)
            or prefix == "recovery"
        )


def test_importing_contenders_imports_no_library():
    code = (
        "import sys; import taskbridge_bench.contenders; "
        "print(*(each.partition('.')[0] for each in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert not set(LIBRARIES) & set(done.stdout.split())


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: f"{c.profile}-{c.name}")
def test_our_workers_run_at_the_default_of_django_and_no_other(contender):
    ours = contender.lane is not Lane.NATIVE

    assert contender.environ.get("TASKBRIDGE_BENCH_CONN_MAX_AGE") == (
        "0" if ours else None
    )


def test_settings_import_no_peer_that_adds_nothing():
    code = (
        "import sys; "
        f"sys.modules.update(dict.fromkeys({PEERS!r})); "  # importing one now fails
        "import django; django.setup(); "
        "from django.conf import settings; print(*settings.INSTALLED_APPS)"
    )
    environ = {
        "DJANGO_SETTINGS_MODULE": "taskbridge_bench.settings",
        "TASKBRIDGE_BENCH_REDIS_URL": "redis://localhost:1",
        "TASKBRIDGE_BENCH_DATABASE_URL": "sqlite://:memory:",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert not set(PEERS) & set(done.stdout.split())


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: f"{c.profile}-{c.name}")
def test_contender_without_its_library_is_left_out_with_the_reason(contender):
    lacking = replace(contender, imports=("no_such_library",))

    assert left_out([lacking], servers()) == {
        contender.name: "The module no_such_library is not installed."
    }
    assert available([lacking], servers()) == []


def test_ox_is_left_out_only_where_it_is_not_installed():
    reasons = left_out([peer("django_ox")], servers())

    assert bool(reasons) is (find_spec("django_ox") is None)


def test_procrastinate_is_left_out_without_postgresql():
    reason = "The project's database is SQLite in this run."

    reasons = left_out([peer("procrastinate")], servers(postgresql=reason))

    assert reasons == {"procrastinate-native": reason}


def test_tasks_backend_replaces_its_name_and_finds_its_app():
    contender = tasks_backend(
        "mine", "django_tasks_db.DatabaseBackend", worker="-m django db {name}"
    )

    assert contender.name == "mine-native"
    assert contender.workers == (("-m", "django", "db", "mine"),) * SLOTS
    assert contender.slots == SLOTS
    assert contender.guarantee is Guarantee.AT_MOST_ONCE
    assert contender.imports == ("django_tasks_db",)
    assert json.loads(contender.environ[additions.APPS]) == ["django_tasks_db"]


def test_tasks_backend_of_no_app_adds_none():
    contender = tasks_backend("mine", "json.Backend", worker="-m x")

    assert json.loads(contender.environ[additions.APPS]) == []


def test_additions_of_contenders_are_merged():
    first = tasks_backend("a", "one.A", worker="-m x", apps=["one"])
    second = tasks_backend("b", "one.B", worker="-m x", apps=["one", "two"])

    merged = additions.merged([first, second])

    assert json.loads(merged[additions.APPS]) == ["one", "two"]
    assert list(json.loads(merged[additions.BACKENDS])) == ["a", "b"]


def test_added_backends_get_the_redis_of_the_run(monkeypatch):
    options = {"urls": ["{redis}"], "depth": 3}
    contender = tasks_backend("a", "one.A", worker="-m x", options=options)
    monkeypatch.setenv(additions.BACKENDS, contender.environ[additions.BACKENDS])

    backends = additions.added_backends("redis://here/8")

    assert backends == {
        "a": {
            "BACKEND": "one.A",
            "OPTIONS": {"urls": ["redis://here/8"], "depth": 3},
        }
    }
