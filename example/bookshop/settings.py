"""Settings of the example: the environment chooses the queue, and nothing else differs.

TASKBRIDGE_BACKEND  celery, django_q or background_tasks (the default: needs no broker)
BROKER_URL          redis://..., amqp://... (Celery), orm://default (Django-Q2)
DATABASE_URL        sqlite:///..., postgresql://..., mysql://...
"""

import os
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = "not a secret: this project is only an example"
DEBUG = False
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TASKBRIDGE_BACKEND = os.environ.get("TASKBRIDGE_BACKEND", "background_tasks")
BROKER_URL = os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/0")
QUEUES = ["default", "mail"]

BACKENDS: dict[str, dict[str, Any]] = {
    "celery": {
        "BACKEND": "taskbridge_celery.CeleryBackend",
        "QUEUES": QUEUES,
        "OPTIONS": {"BROKER_URL": BROKER_URL},
    },
    "django_q": {
        "BACKEND": "taskbridge_django_q.DjangoQBackend",
        "QUEUES": QUEUES,
        "OPTIONS": {"BROKER_URL": BROKER_URL},
    },
    "background_tasks": {
        "BACKEND": "taskbridge_background_tasks.BackgroundTasksBackend",
        "QUEUES": QUEUES,
        "OPTIONS": {},
    },
}
if TASKBRIDGE_BACKEND not in BACKENDS:
    raise ImproperlyConfigured(
        f"The environment says TASKBRIDGE_BACKEND={TASKBRIDGE_BACKEND!r}; "
        f"it must be one of {', '.join(BACKENDS)}."
    )
TASKS = {"default": BACKENDS[TASKBRIDGE_BACKEND]}

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    # A project needs only the app of the library it uses, and Celery has none. Both
    # are here, so that the environment alone can switch.
    "taskbridge_background_tasks",
    "django_q",
    "taskbridge",
    "orders",
]

DATABASES = {
    "default": dj_database_url.config(
        default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}", conn_max_age=60
    )
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A web server and several workers write to one file: readers do not block, and a
    # transaction that will write waits for its turn instead of failing half-way.
    DATABASES["default"]["OPTIONS"] = {
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        **DATABASES["default"].get("OPTIONS", {}),
    }

# Django-Q2 warns at import without these; TaskBridge's workers have their own.
Q_CLUSTER = {"name": "bookshop", "timeout": 60, "retry": 3600}

MEDIA_ROOT = BASE_DIR / "media"
STORAGES = {
    # A task that runs twice writes one file, not a second one by another name.
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"allow_overwrite": True},
    },
}
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = BASE_DIR / "sent_mail"

# Workers say on the terminal which tasks failed; on Django 6 nothing would, by default.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    # INFO, which Django 6 logs by default, is two lines for every task.
    "loggers": {"django.tasks": {"level": "WARNING"}},
}
