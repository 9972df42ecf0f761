"""Names of queues in a broker belong to one project, and fit."""

import pytest
from django.db import connection

from taskbridge.compat import InvalidTaskBackend, task_backends
from taskbridge.queue_names import default_prefixes, prefixed

CELERY = "taskbridge_celery.CeleryBackend"
DJANGO_Q = "taskbridge_django_q.DjangoQBackend"
BACKGROUND_TASKS = "taskbridge_background_tasks.BackgroundTasksBackend"
ODD = ["x" * 255, "é" * 200, "\U0001f600" * 90, "amq.x", "new\nline", "a b", "%s"]


def backend_with(settings, path=CELERY, **options):
    settings.TASKS = {"default": {"BACKEND": path, "OPTIONS": options}}
    return task_backends["default"]


@pytest.mark.parametrize("changed", ["SECRET_KEY", "NAME"])
def test_prefix_is_of_one_key_and_one_database(settings, monkeypatch, changed):
    before = default_prefixes()
    if changed == "SECRET_KEY":
        settings.SECRET_KEY = "another"
    else:
        monkeypatch.setitem(connection.settings_dict, "NAME", "another")
    assert default_prefixes() != before


@pytest.mark.parametrize("key", ["HOST", "PORT", "USER", "PASSWORD", "ENGINE"])
def test_prefix_is_the_same_wherever_the_database_is_reached(monkeypatch, key):
    before = default_prefixes()
    monkeypatch.setitem(connection.settings_dict, key, "another")
    assert default_prefixes() == before


def test_name_of_today_is_a_former_name_after_a_rotation(settings):
    backend = backend_with(settings)
    before = backend.name_in_broker("mail")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert backend.name_in_broker("mail") != before
    assert backend.former_names("mail") == ["mail", before]


def test_prefix_can_be_given(settings):
    default = backend_with(settings).name_in_broker("mail")
    backend = backend_with(settings, PREFIX="shop-staging")
    assert backend.name_in_broker("mail") == "shop-staging:mail"
    assert backend.former_names("mail") == ["mail", default]


def test_messages_are_pushed_again_after_another_prefix_was_given(settings):
    channels = {
        backend_with(settings, **options).channel
        for options in ({}, {"PREFIX": "a"}, {"PREFIX": "b"})
    }
    assert len(channels) == 3


@pytest.mark.parametrize("prefix", ["", "a:b", "a b", "ä", "x" * 41, None, 7.5j])
def test_prefix_that_no_broker_keeps_apart_is_refused(settings, prefix):
    with pytest.raises(InvalidTaskBackend, match="must be 1 to 40 letters, digits"):
        backend_with(settings, PREFIX=prefix)


@pytest.mark.parametrize("path", [CELERY, DJANGO_Q, BACKGROUND_TASKS])
@pytest.mark.parametrize("queue_name", ODD)
def test_each_name_fits(settings, path, queue_name):
    backend = backend_with(settings, path, PREFIX="p" * 40)
    name = backend.name_in_broker(queue_name)
    assert len(name.encode()) <= backend.longest_name
    assert name.isprintable()
    assert name.startswith(f"{'p' * 40}:{queue_name.splitlines()[0][:5]}")


def test_long_names_that_differ_at_the_end_stay_different():
    names = {prefixed("p", "x" * 250 + end, 100) for end in "abc"}
    assert len(names) == 3
    assert {len(name) for name in names} == {100}


def test_former_name_that_no_broker_could_hold_is_left_out(settings):
    assert backend_with(settings, DJANGO_Q).former_names("x" * 101) == []


def test_longest_names_are_those_of_the_columns(settings):
    models = pytest.importorskip("django_q.models")
    rows = pytest.importorskip("background_task.models")
    of_django_q = [(models.OrmQ, "key"), (models.Schedule, "name")]
    for path, columns in {
        DJANGO_Q: of_django_q,
        BACKGROUND_TASKS: [(rows.Task, "queue")],
    }.items():
        backend = backend_with(settings, path)
        for model, column in columns:
            limit = model._meta.get_field(column).max_length
            assert backend.longest_name == limit
