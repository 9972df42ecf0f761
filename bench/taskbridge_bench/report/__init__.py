"""Reports of a run's results: on a terminal, as a page, as Markdown, for machines."""

from .as_json import to_json
from .markdown import to_markdown
from .page import to_html
from .terminal import print_contenders, print_report

__all__ = ["print_contenders", "print_report", "to_html", "to_json", "to_markdown"]
