"""What docs for those who work on the code say of files is so."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("bench/README.md", "example/README.md"),
    *(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").glob("*.md"))),
]


def layers():
    """The floors that import-linter holds, as sets of names, the highest first."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    [found] = [each["layers"] for each in contracts if each["type"] == "layers"]
    return [set(re.split(r" [|:] ", layer)) for layer in found]


def anchors(page):
    """What links to the headings of a page say behind "#", as GitHub makes it."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}


def rows(document, heading):
    """The rows of the first table below a heading, as lists of cells."""
    text = (ROOT / document).read_text(encoding="utf-8")
    section = text.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    table = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)
    return [re.split(r" ?\| ", line) for line in table][1:]


def commands():
    """What stands between backquotes in CONTRIBUTING.md and runs tests."""
    return re.findall(r"`([^`]*\bpytest [^`]+)`", CONTRIBUTING)


def paths(command):
    """The test files of a command, its braces opened as a shell does."""
    for word in re.findall(r"\b(?:tests/|bench/micro)\S*", command):
        before, brace, rest = word.partition("{")
        names, _, after = rest.partition("}")
        for name in names.split(",") if brace else [""]:
            yield before + name + after


def test_the_table_of_floors_is_what_import_linter_holds():
    named = [
        set(re.findall(r"`(\w+)/?`", cells[-2]))
        for cells in rows("docs/architecture.md", "## Floors")
    ]
    assert named == layers()


@pytest.mark.parametrize("command", commands())
def test_a_command_of_contributing_finds_its_tests(command):
    found = {path: sorted(ROOT.glob(path)) for path in paths(command)}
    assert found
    assert [path for path, files in found.items() if not files] == []
    if chosen := re.search(r"-k \"?(Test\w+)", command):
        [files] = found.values()
        assert f"class {chosen[1]}(" in files[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_a_make_target_that_is_named_is_there(name):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = (ROOT / name).read_text(encoding="utf-8")
    named = re.findall(r"(?:^ *|`)make ([\w-]+)", text, re.MULTILINE)
    assert named
    assert set(named) <= set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))


def test_the_whole_matrix_is_each_part_of_it():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [parts] = re.findall(r"^test-all: ([\w -]+?) *##", makefile, re.MULTILINE)
    assert parts.split() == ["lint", "test", "test-newest", "test-databases"]


@pytest.mark.parametrize("name", PAGES)
def test_a_link_leads_to_a_page_and_a_heading(name):
    page = ROOT / name
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
