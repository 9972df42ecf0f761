"""What queues are called in a broker: apart from everybody else's.

A broker may be shared by several projects, by staging and production, and by workers of
the queue library itself. So each name there begins with a prefix that only one project
has, and nobody takes messages of others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.utils.crypto import salted_hmac

from .compat import InvalidTaskBackend

SALT = "taskbridge.queue_names"
LONGEST_PREFIX = 40
_PREFIX = re.compile(rf"[A-Za-z0-9._-]{{1,{LONGEST_PREFIX}}}")


def check_prefix(backend: object, options: Mapping[str, Any]) -> None:
    """Refuse a PREFIX that some broker would not take, or not keep apart.

    Raises:
        InvalidTaskBackend: naming the backend and the value.
    """
    if "PREFIX" not in options:
        return
    prefix = options["PREFIX"]
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise InvalidTaskBackend(
            f"{backend}: OPTIONS['PREFIX'] must be 1 to {LONGEST_PREFIX} letters, "
            f"digits, '.', '_' or '-', got {prefix!r}. Leave it out to have one made "
            f"from SECRET_KEY and the name of the database."
        )


def default_prefixes() -> list[str]:
    """Return the project's own prefix, and then those of SECRET_KEY_FALLBACKS.

    Whoever can read a message, and has its record, computes the same: that takes the
    SECRET_KEY and the database. Where the database is reached does not count, since
    hosts may use a socket, a pooler or a replica's address.
    """
    database = _database_name()
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return [_default_prefix(key, database) for key in keys]


@lru_cache(maxsize=64)
def _default_prefix(key: str, database: str) -> str:
    digest = salted_hmac(SALT, database, secret=key, algorithm="sha256").hexdigest()
    return f"tb-{digest[:10]}"


def _database_name() -> str:
    """Return the name of the database that keeps the records."""
    alias = DEFAULT_DB_ALIAS
    # Before that, tasks are being checked, and nothing is sent yet.
    if apps.models_ready and apps.is_installed("taskbridge"):
        alias = router.db_for_write(apps.get_model("taskbridge", "TaskRecord"))
    connection = connections[alias]
    name = str(connection.settings_dict["NAME"] or "")
    if connection.vendor == "sqlite" and not name.startswith("file:"):
        path = Path(name)
        return _resolved(path) if path.is_absolute() else str(path.resolve())
    if not name:  # PostgreSQL can name a service instead
        name = str(connection.settings_dict["OPTIONS"].get("service", ""))
    return name


@lru_cache(maxsize=64)
def _resolved(path: Path) -> str:
    # It asks the file system for each folder, and each enqueue needs it several times.
    return str(path.resolve())


@lru_cache(maxsize=1024)
def prefixed(prefix: str, queue_name: str, longest: int) -> str:
    """Return the name of a queue behind a prefix, in at most `longest` bytes.

    A hash takes the place of what is too long, or cannot be printed: RabbitMQ drops
    line ends from the names of queues, and then does not find them.
    """
    name = f"{prefix}:{queue_name}"
    whole = name.encode(errors="surrogatepass")
    if len(whole) <= longest and name.isprintable():
        return name
    digest = hashlib.sha256(whole).hexdigest()[:16]
    printed = "".join(filter(str.isprintable, name)).encode()
    head = printed[: longest - len(digest) - 1].decode(errors="ignore")
    return f"{head}~{digest}"
