"""docs/adapters.md shows the adapter of the contract, and what it may import."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/adapters.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "tests/adapters/taskbridge_rq.py").read_text(encoding="utf-8")


def published():
    """What each public module has for adapters, by the page's table."""
    rows = re.findall(r"^\| `(taskbridge[\w.]*)` \| (.+) \|$", PAGE, re.MULTILINE)
    return {module: re.findall(r"`(\w+)`", names) for module, names in rows}


def imported(source):
    """Each import from TaskBridge, as a module and a name (None: the module itself)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                continue  # its own
            found = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in found:
            if module.split(".")[0].startswith("taskbridge"):
                yield module, name


def test_page_shows_the_example_verbatim():
    assert PAGE.count(f"\n```python\n{EXAMPLE}```\n") == 1


def test_example_has_fewer_than_120_lines():
    assert len(EXAMPLE.splitlines()) < 120


def test_example_imports_only_what_is_published():
    names = published()
    found = list(imported(EXAMPLE))
    assert ("taskbridge.execution", "run") in found
    assert [each for each in found if each[1] not in names.get(each[0], [])] == []


@pytest.mark.parametrize(
    "path",
    sorted(ROOT.glob("backends/*/*.py")),
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_our_own_adapters_import_only_what_is_published(path):
    names = {**published(), path.parent.name: []}
    found = imported(path.read_text(encoding="utf-8"))
    assert [each for each in found if each[1] not in names.get(each[0], [])] == []


@pytest.mark.parametrize("module", published())
def test_module_has_the_names_that_are_published(module):
    names = published()[module]
    assert names
    assert [name for name in names if not hasattr(import_module(module), name)] == []
