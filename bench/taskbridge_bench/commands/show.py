"""``taskbridge-bench list``: what is compared, and what is left out on this machine."""

import argparse

from rich.console import Console
from rich.markup import escape

from taskbridge.testing.services import ServiceFailure, ServiceUnavailable
from taskbridge_bench.availability import left_out
from taskbridge_bench.catalogue import SCENARIOS
from taskbridge_bench.contenders import CONTENDERS
from taskbridge_bench.report import print_contenders
from taskbridge_bench.servers import DATABASES, open_servers

from .choices import own_urls
from .consoles import output


def show_all(options: argparse.Namespace) -> int:
    """Print it, and return the exit status; servers are started to see if they work."""
    console = output()
    console.rule("Contenders")
    print_contenders(console)
    console.rule("Scenarios")
    for name, scenario in SCENARIOS.items():
        console.print(f"[bold]{name}[/bold]  {escape(scenario.question)}")
    _show_left_out(options, console)
    return 0


def _show_left_out(options: argparse.Namespace, console: Console) -> None:
    console.rule("Left out here")
    database = options.database or DATABASES[options.database_url is not None]
    wanted = {server for contender in CONTENDERS for server in contender.servers}
    try:
        with open_servers(database, wanted, own_urls(options)) as servers:
            missing = left_out(CONTENDERS, servers)
    except (ServiceUnavailable, ServiceFailure) as exc:
        missing = {"all": str(exc)}
    for name, reason in missing.items():
        console.print(f"[bold]{name}[/bold]  {escape(reason)}")
    if not missing:
        console.print("none")
