"""Which contenders cannot be measured here, and why."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec

from .contenders import Contender
from .servers import Servers


def left_out(contenders: Sequence[Contender], servers: Servers) -> dict[str, str]:
    """Return the name of each contender that lacks something, with the reason."""
    return {
        contender.name: reason
        for contender in contenders
        if (reason := _lacks(contender, servers)) is not None
    }


def available(contenders: Iterable[Contender], servers: Servers) -> list[Contender]:
    """Return those that lack nothing."""
    return [each for each in contenders if _lacks(each, servers) is None]


def _lacks(contender: Contender, servers: Servers) -> str | None:
    for module in contender.imports:
        if find_spec(module) is None:
            return f"The module {module} is not installed."
    for server in contender.servers:
        if reason := servers.missing.get(server):
            return reason
    return None
