"""The options of the command."""

import pytest

from taskbridge_bench.options import parse


def test_options_without_a_command_are_those_of_run():
    assert parse(["--full"]).command == "run"
    assert parse(["--full"]).mode == "full"


def test_options_names_are_repeated_or_with_commas():
    options = parse(["--scenario", "enqueue,pickup", "--scenario", "pickup,drain-200"])

    assert options.scenario == ["enqueue", "pickup", "drain-200"]


def test_options_own_backend_is_a_contender():
    options = parse(
        ["--backend", "mine=a.B", "--worker", "-m work", "--contender", "mine"]
    )

    assert options.contender == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--contender", "nobody"], "--contender: there is no 'nobody', only celery,"),
        (["--scenario", "drain"], "--scenario: there is no 'drain'"),
        (["--quick", "--full"], "not allowed with"),
        (["--work", "own"], "name it with --task"),
        (["--task", "a:b", "--work", "cpu"], "leave --work out"),
        (["--task", "a"], "is not MODULE:FUNCTION"),
        (["--arguments", "[1]"], "name the function"),
        (["--task", "a:b", "--arguments", "{"], "is not JSON"),
        (["--task", "a:b", "--arguments", "1"], "not a JSON list or object"),
        (["--backend", "a=b.C"], "--backend and --worker belong together"),
        (["--database", "sqlite", "--database-url", "x"], "is for PostgreSQL"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as exited:
        parse(arguments)

    assert exited.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
