"""``taskbridge-bench``: run the comparison, and report what it found."""

import sys
from collections.abc import Sequence

from taskbridge.testing.services import ServiceFailure, ServiceUnavailable

from .commands.compare import compare_runs
from .commands.report import report
from .commands.run import run
from .commands.show import show_all
from .interrupts import Interrupts
from .options import parse
from .refusal import Refusal

CANNOT_START = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0; 1 if a contender failed; 2 if it cannot start; 128 and the number of the
        signal that ended it: 130 after Ctrl-C, 129 after SIGHUP, 143 after SIGTERM.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments)
    with Interrupts() as interrupts:
        try:
            match options.command:
                case "list":
                    return show_all(options)
                case "compare":
                    return compare_runs(options)
                case "report":
                    return report(options)
            return run(options, interrupts)
        except KeyboardInterrupt:
            _say("Interrupted; no process, port or directory was left behind.")
        except (Refusal, ServiceUnavailable, ServiceFailure) as exc:
            _say(str(exc))
            return CANNOT_START
    return 128 + interrupts.signal


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - a command talks to its user
