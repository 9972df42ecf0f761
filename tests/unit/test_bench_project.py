"""The settings of a user's own project, under those of the benchmark."""

import sys
from pathlib import Path
from typing import Any

import pytest

from taskbridge_bench.project import under_project

OURS = {
    "DEBUG": False,
    "LOGGING": {"version": 1},
    "INSTALLED_APPS": ["taskbridge_bench.native.apps.BackgroundTasks", "django_q"],
    "DATABASES": {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "ours",
            "HOST": "here",
            "OPTIONS": {},
        }
    },
    "TASKS": {"default": "ours"},
}


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "their_settings.py").write_text(
        """
DEBUG = True
SITE = "theirs"
INSTALLED_APPS = ["background_task", "django_q.apps.DjangoQConfig", "shop"]
CELERY_RESULT_BACKEND = Q_CLUSTER = TASKS = "theirs"
DATABASE_ROUTERS = ["theirs"]
DATABASES = {
    "default": {
        "ENGINE": "wrapped.postgresql",
        "NAME": "precious",
        "HOST": "there",
        "OPTIONS": {"application_name": "shop", "service": "there"},
    },
    "archive": {"ENGINE": "django.db.backends.mysql", "NAME": "precious"},
}
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = under_project("their_settings", OURS)
    del sys.modules["their_settings"]
    return found


def test_project_keeps_its_settings_but_those_of_queues(theirs: dict[str, Any]):
    assert theirs["SITE"] == "theirs"
    assert theirs["DEBUG"] is False
    assert theirs["TASKS"] == {"default": "ours"}
    assert not {"CELERY_RESULT_BACKEND", "Q_CLUSTER"} & theirs.keys()


def test_project_has_each_app_once(theirs: dict[str, Any]):
    assert theirs["INSTALLED_APPS"] == ["shop", *OURS["INSTALLED_APPS"]]


def test_project_has_no_database_but_ours(theirs: dict[str, Any]):
    ours = {
        "ENGINE": "wrapped.postgresql",
        "NAME": "ours",
        "HOST": "here",
        "OPTIONS": {"application_name": "shop"},
    }
    assert theirs["DATABASES"] == {"default": ours, "archive": ours}
    assert theirs["DATABASE_ROUTERS"] == []
