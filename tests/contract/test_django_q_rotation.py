"""After a change of SECRET_KEY, Django-Q2 reads what the fallback keys have signed."""

import pytest
from django_q.conf import Conf
from django_q.signing import BadSignature, SignedPackage
from django_q.tasks import async_task

from taskbridge import execution
from taskbridge.compat import task_backends
from tests.unit import sample_tasks

ALIASES = ["django_q_redis", "django_q_orm"]


@pytest.fixture(params=ALIASES)
def backend(request, transactional_db):
    if "redis" in request.param:
        request.getfixturevalue("redis_service")
    backend = task_backends[request.param]
    backend.purge(["default"])
    yield backend
    backend.purge(["default"])


@pytest.fixture
def rotate(settings, monkeypatch):
    """Change SECRET_KEY, as a deployment does: Django-Q2 reads it at import."""

    def change(*fallbacks):
        settings.SECRET_KEY = "new"
        settings.SECRET_KEY_FALLBACKS = list(fallbacks)
        monkeypatch.setattr(Conf, "SECRET_KEY", "new")

    return change


@pytest.fixture
def broker(backend):
    """It takes from the queue as it is called before SECRET_KEY is changed."""
    return backend.broker(["default"])


def taken(broker):
    """Return the package of the only message, as Django-Q2's pusher reads it."""
    [(_, package)] = broker.dequeue()
    return SignedPackage.loads(package)


def test_task_signed_with_a_fallback_runs(backend, broker, rotate, settings):
    sample_tasks.calls.clear()
    sample_tasks.add.using(backend=backend.alias).enqueue(40, 2)
    rotate("older still", settings.SECRET_KEY)
    task = taken(broker)
    assert task["func"] == "taskbridge.execution.run"
    execution.run(*task["args"])
    assert sample_tasks.calls == [(40, 2)]


def test_package_of_the_projects_own_is_read_with_a_fallback(
    backend, broker, rotate, settings
):
    queue = backend.name_in_broker("default")
    async_task("math.sqrt", 9, broker=broker, group=queue)
    rotate(settings.SECRET_KEY)
    assert taken(broker)["func"] == "math.sqrt"


def test_package_signed_with_no_key_of_ours_is_refused(backend, broker, rotate):
    sample_tasks.add.using(backend=backend.alias).enqueue(40, 2)
    rotate("some other key")
    with pytest.raises(BadSignature):
        taken(broker)


@pytest.mark.parametrize("junk", [b"\xff\xfe", b"", b":", b"::::", b"junk"])
def test_junk_is_refused_and_does_not_end_the_pusher(
    transactional_db, redis_service, rotate, junk
):
    backend = task_backends["django_q_redis"]
    backend.purge(["default"])
    broker = backend.broker(["default"])
    queue = backend.name_in_broker("default")
    broker.get_connection().rpush(f"django_q:{queue}:q", junk)
    rotate("older")
    with pytest.raises(BadSignature):  # which the pusher expects, or a TypeError
        taken(broker)
