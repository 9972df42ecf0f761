"""Where a command prints."""

from rich.console import Console

REPORT_WIDTH = 120


def output() -> Console:
    """Return standard output, wide enough for tables where nobody says how wide."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, REPORT_WIDTH)
    return console


def messages() -> Console:
    """Return standard error, for what is not the result."""
    return Console(stderr=True, soft_wrap=True, highlight=False)
