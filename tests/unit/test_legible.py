"""Logs and errors that nobody can forge, and that give nothing away."""

import logging

import pytest
from django.core import checks

from taskbridge import events
from taskbridge.compat import task_backends
from taskbridge.exceptions import BackendUnavailable, InvalidMessage
from taskbridge.legible import legible, without_passwords
from tests.settings import on

logger = logging.getLogger("taskbridge")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://me:s3cret@host:6379/0", "redis://me:***@host:6379/0"),
        ("redis://:s3cret@host", "redis://:***@host"),
        ("amqp://me:s3@cret@host//", "amqp://me:***@host//"),
        ("redis://host/0?password=s3cret&db=1", "redis://host/0?password=***&db=1"),
        ("redis://h?ssl_password=s3cret", "redis://h?ssl_password=***"),
        ("at redis://me:s3cret@a and b:c@d", "at redis://me:***@a and b:c@d"),
        ("host=h PASSWORD=s3cret user=u", "host=h PASSWORD=*** user=u"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:s3/c#r?t@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://:s3/t@a;redis://:s3/t@b", "redis://:***@a;redis://:***@b"),
        ("http://host:8000/by/@me?of=a@b", "http://host:8000/by/@me?of=a@b"),
    ],
)
def test_passwords_are_starred_out(text, expected):
    assert without_passwords(text) == expected


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\x1b", "\0", "\x85", "\u2028", "\u202e", "\ud800"]
)
def test_value_cannot_begin_a_line_or_steer_a_terminal(caplog, character):
    forged = f"1{character}ERROR forged"
    logger.error("Task id=%s path=%s: %r", forged, forged, ValueError(forged))
    events.refused(InvalidMessage(f"Message {forged} is odd."))
    for record in caplog.records:
        assert character not in record.getMessage()
        assert record.getMessage().isprintable()
        assert "ERROR forged" in record.getMessage()


def test_values_that_are_numbers_stay_so(caplog):
    logger.warning("%s tasks in %.1f s, %d of them.", 3, 1.25, True)
    assert caplog.records[0].getMessage() == "3 tasks in 1.2 s, 1 of them."


def test_value_of_any_length_is_cut(caplog):
    logger.error("The broker refuses %s: %s", ["x" * 100_000], "y" * 100_000)
    assert len(caplog.records[0].getMessage()) < 5_000
    assert "(100,000 characters)" in caplog.text


def test_traceback_keeps_its_lines_and_nothing_else(caplog):
    exc = ValueError("\x1b[2J\r redis://me:s3cret@host")
    logger.error("It failed.", exc_info=exc)
    assert "\x1b" not in caplog.text
    assert "\\x1b[2J\\r redis://me:***@host" in caplog.text
    assert "\nValueError: " in caplog.text


def test_value_is_read_only_where_the_line_is_written():
    class Silent:
        def __str__(self):
            raise AssertionError

    logger.debug("%s", Silent())
    assert legible("x") == "x"


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("celery", "redis://me:s3cret@127.0.0.1:1/0"),
        ("django_q", "redis://me:s3cret@127.0.0.1:1/0"),
        ("django_q", "redis://127.0.0.1:1/0?password=s3cret"),
    ],
)
def test_error_of_a_broker_gives_no_password_away(settings, kind, url):
    settings.TASKS = {"default": on(kind, BROKER_URL=url, DELIVERY="native")}
    with pytest.raises(BackendUnavailable) as caught:
        task_backends["default"].queue_depths()
    assert "127.0.0.1:1" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_check_gives_no_password_away(settings):
    urls = ["redis://me:s3cret@host/0", "redis://host/0?password=s3cret"]
    settings.TASKS = {"default": on("celery", BROKER_URL=urls)}
    text = " ".join(f"{m.msg} {m.hint}" for m in checks.run_checks())
    assert "must be a redis:// or amqp:// URL" in text
    assert "s3cret" not in text
