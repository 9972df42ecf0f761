"""Settings of a project that has a pool of connections, and uses it before any fork."""

from tests.settings import *  # noqa: F403

DATABASES["default"]["CONN_MAX_AGE"] = 0  # noqa: F405 - Django insists
DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {  # noqa: F405
    "min_size": 1,
    "max_size": 3,
    "timeout": 10,
}
INSTALLED_APPS += ["tests.faults.early.Early"]  # noqa: F405
