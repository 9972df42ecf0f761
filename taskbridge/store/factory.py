"""Where records are kept, which is known once Django's apps are ready."""

from . import Store


def open_store(alias: str) -> Store:
    """Return the store of an alias in TASKS."""
    from .database import DatabaseStore  # noqa: PLC0415 - models need the app registry

    return DatabaseStore(alias)
