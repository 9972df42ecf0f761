"""How long the processes of a worker keep the project's connections."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core import checks
from django.db.utils import ConnectionHandler

from taskbridge.options import check_options
from taskbridge.recycling import Limits
from taskbridge.worker import connections as kept
from taskbridge.worker import roles
from taskbridge.worker.connections import KEEP_FOR_S, keep_connections

SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}


@pytest.fixture
def handler(monkeypatch):
    """The connections of a project, to be given its settings of a database."""

    def connections(**settings):
        handler = ConnectionHandler({"default": {**SQLITE, **settings}})
        monkeypatch.setattr(kept, "connections", handler)
        return handler

    return connections


def age_of(handler):
    found = handler["default"].settings_dict
    return found["CONN_MAX_AGE"], found["CONN_HEALTH_CHECKS"]


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        ({}, {}, (KEEP_FOR_S, True)),
        ({}, {"CONN_MAX_AGE": 0}, (0, False)),
        ({}, {"CONN_MAX_AGE": 5}, (5, True)),
        ({}, {"CONN_MAX_AGE": timedelta(minutes=2)}, (120, True)),
        ({}, {"CONN_MAX_AGE": None}, (None, True)),
        ({"CONN_MAX_AGE": 30}, {}, (30, False)),
        ({"CONN_MAX_AGE": None}, {}, (None, False)),
        ({"CONN_MAX_AGE": None}, {"CONN_MAX_AGE": 0}, (0, True)),
        ({"OPTIONS": {"pool": True}}, {}, (0, False)),
        ({"OPTIONS": {"pool": True}}, {"CONN_MAX_AGE": 5}, (0, False)),
    ],
)
def test_age_of_connections_is_as_settings_say(handler, settings, options, expected):
    project = handler(**settings)
    keep_connections(options)
    assert age_of(project) == expected


def test_connection_that_was_made_before_is_kept_too(handler):
    project = handler()
    made = project["default"]
    keep_connections({})
    assert made.settings_dict["CONN_MAX_AGE"] == KEEP_FOR_S


def test_only_the_worker_of_the_backend_keeps_them(handler, monkeypatch):
    """The library's own runs the project's code as the project has it set."""
    project = handler()
    calls = []
    backend = SimpleNamespace(
        options={}, run_worker=calls.append, run_native_worker=lambda: None
    )
    roles.run_native_worker(backend)
    assert age_of(project) == (0, False)
    monkeypatch.setattr(roles, "tell", lambda pulse: None)
    options = SimpleNamespace(limits=Limits())
    roles.run_worker(backend, options, "pulse")
    assert age_of(project) == (KEEP_FOR_S, True)
    assert calls == [options]


@pytest.mark.parametrize("value", [-1, "600"])
def test_other_ages_are_refused(value):
    [error] = check_options("Backend", {"CONN_MAX_AGE": value}, {})
    assert isinstance(error, checks.Error)
    assert "OPTIONS['CONN_MAX_AGE'] must be seconds or None, at least 0" in error.msg
