"""Recovery shortens the settings of all contenders alike, and says so."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from taskbridge_bench.contenders import CONTENDERS, Contender, Guarantee, Lane
from taskbridge_bench.contenders.model import RECOVERY_S
from taskbridge_bench.impatience import VARIABLE, impatient
from taskbridge_bench.scenarios.recovery import ENVIRON

ORM_CLUSTER = {"orm": "default", "timeout": 60, "retry": 120}


def changed(q_cluster: dict[str, Any], **tasks: dict[str, Any]) -> dict[str, Any]:
    return impatient({"TASKS": tasks, "Q_CLUSTER": q_cluster}, 5)


@pytest.mark.parametrize(
    ("alias", "delivery", "shortened"),
    [
        ("celery", "native", {"VISIBILITY_TIMEOUT": 5}),
        ("django_q_orm", "native", {"RETRY": 5}),
        ("django_q", "native", {}),
        ("django_ox", None, {"LOCK_TIMEOUT": 5}),
        ("durable_django_q_orm", "durable", {"LEASE": 5, "REDELIVER": 5}),
    ],
)
def test_impatient_shortens_the_options_of_a_backend(alias, delivery, shortened):
    options = {"DELIVERY": delivery, "BROKER_URL": "x"}

    found = changed({}, **{alias: {"BACKEND": "y", "OPTIONS": options}})

    assert found["TASKS"] == {
        alias: {"BACKEND": "y", "OPTIONS": {**options, **shortened}}
    }
    assert options == {"DELIVERY": delivery, "BROKER_URL": "x"}


def test_impatient_cluster_has_a_timeout_below_retry():
    assert changed(ORM_CLUSTER)["Q_CLUSTER"] == {
        "orm": "default",
        "timeout": 4,
        "retry": 5,
    }


def test_impatient_leaves_a_cluster_on_redis_alone():
    cluster = {"redis": "redis://", "timeout": 60, "retry": 120}

    assert changed(cluster)["Q_CLUSTER"] == cluster


def settings(**environ: str) -> dict[str, Any]:
    """Return what a process with these variables has as its settings."""
    code = (
        "import json; from taskbridge_bench import settings as s; "
        "names = ('MAX_RUN_TIME', 'CELERY_BROKER_TRANSPORT_OPTIONS', 'Q_CLUSTER'); "
        "print(json.dumps({n: getattr(s, n, None) for n in names} "
        "| {a: b['OPTIONS'] for a, b in s.TASKS.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "TASKBRIDGE_BENCH_REDIS_URL": "redis://localhost:1",
            "TASKBRIDGE_BENCH_DATABASE_URL": "sqlite://:memory:",
            "TASKBRIDGE_BENCH_Q_ORM": "1",
            **environ,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_settings_of_a_worker_in_recovery_are_shortened():
    found = settings(**ENVIRON)

    assert found["MAX_RUN_TIME"] == RECOVERY_S
    assert found["CELERY_BROKER_TRANSPORT_OPTIONS"] == {
        "visibility_timeout": RECOVERY_S,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
    assert found["Q_CLUSTER"]["retry"] == RECOVERY_S
    assert found["django_q_orm"]["RETRY"] == RECOVERY_S
    assert found["durable_celery"]["LEASE"] == RECOVERY_S
    assert found["chunk_celery"]["REDELIVER"] == RECOVERY_S


def test_settings_of_other_workers_are_not():
    found = settings(**{VARIABLE: ""})

    assert found["MAX_RUN_TIME"] is None
    assert found["CELERY_BROKER_TRANSPORT_OPTIONS"] is None
    assert found["Q_CLUSTER"]["retry"] == 120
    assert "LEASE" not in found["durable_celery"]


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: f"{c.profile}-{c.name}")
def test_contender_at_least_once_says_how_recovery_treats_it(contender: Contender):
    if contender.guarantee is Guarantee.AT_LEAST_ONCE:
        assert contender.recovery or "recovery" in contender.cannot
    if contender.lane is Lane.DURABLE:
        assert not contender.returns
