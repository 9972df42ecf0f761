"""A project whose web processes run its tasks, unless TESTS_WORKERS is set."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import on, using

ROOT_URLCONF = "tests.web.urls"
ALLOWED_HOSTS = ["*"]
MIDDLEWARE: list[str] = []

TASKS = {
    "default": using(
        {**on("background_tasks"), "QUEUES": []},
        LEASE=2,
        IN_PROCESS=None if "TESTS_WORKERS" in os.environ else 2,
    )
}
