"""Arguments that several subcommands have, and how their values are read."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta

from taskbridge.compat import DEFAULT_TASK_BACKEND_ALIAS

LONGEST_S = timedelta.max.total_seconds()


def add_backend(parser: ArgumentParser) -> None:
    """Let a subcommand say which backend of TASKS it is about."""
    parser.add_argument(
        "--backend",
        default=DEFAULT_TASK_BACKEND_ALIAS,
        metavar="ALIAS",
        help="alias in TASKS (default: %(default)s)",
    )


def add_json(parser: ArgumentParser) -> None:
    """Let a subcommand print JSON."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def positive_int(text: str) -> int:
    """Read a number of at least 1."""
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def age(text: str) -> float:
    """Read an age such as 90s, 12h or 7d, and return its seconds."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    if text[-1:] not in units:
        raise ArgumentTypeError(f"must end in s, m, h or d, got {text!r}")
    age_s = seconds(text[:-1]) * units[text[-1]]
    if age_s > LONGEST_S:
        raise ArgumentTypeError(f"is too long, got {text!r}")
    return age_s


def seconds(text: str) -> float:
    """Read a number of seconds."""
    value = float(text)
    if not value >= 0:  # nor is NaN
        raise ArgumentTypeError(f"must be at least 0 seconds, got {value}")
    return value
