"""``taskbridge-bench report``: stored runs, on the terminal and in files."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from taskbridge_bench.merging import merge
from taskbridge_bench.report import print_report, to_html, to_json, to_markdown
from taskbridge_bench.results import Document, read
from taskbridge_bench.storage import Storage

from .consoles import messages, output


def report(options: argparse.Namespace) -> int:
    """Report the runs that are named, as one, and return the exit status.

    Raises:
        Refusal: one cannot be read, or they are not of one machine.
    """
    storage = Storage(options.storage)
    document = merge([storage.read(name) for name in options.files])
    files = {form: getattr(options, form) for form in ("html", "markdown", "json")}
    show(document, files)
    return 0


def show(document: Document, files: Mapping[str, Path | None]) -> None:
    """Print the report of a document, and write it to files.

    Args:
        document: what pytest-benchmark stored.
        files: of "html", "markdown" and "json": where to, or None.
    """
    results = read(document)
    print_report(results, output())
    make = {
        "html": lambda: to_html(results, document),
        "markdown": lambda: to_markdown(results),
        "json": lambda: json.dumps(to_json(results), indent=2) + "\n",
    }
    for form, file in files.items():
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(make[form](), encoding="utf-8")
            messages().print(f"Report: {file.absolute()}")
