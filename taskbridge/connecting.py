"""Connections of TaskBridge's own, beside those that Django keeps for tasks."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

HAS_CONNECT_TIMEOUT = {"postgresql", "mysql"}


def new_connection(
    like: BaseDatabaseWrapper, *, connect_timeout_s: int, **options: Any
) -> BaseDatabaseWrapper:
    """Return a connection with the settings of another, which no pool hands out.

    It is not open yet, and may be used by several threads, one at a time.

    Args:
        like: the connection whose settings it has.
        connect_timeout_s: how long connecting may take, if DATABASES does not say.
        options: more for its driver, where DATABASES says nothing else.
    """
    given = dict(like.settings_dict["OPTIONS"])
    given.pop("pool", None)
    if like.vendor in HAS_CONNECT_TIMEOUT:
        options["connect_timeout"] = connect_timeout_s
    settings = {**like.settings_dict, "OPTIONS": {**options, **given}}
    own = type(like)(settings, like.alias)
    own.inc_thread_sharing()
    return own
