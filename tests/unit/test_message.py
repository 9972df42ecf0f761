"""Signed messages and the body that carries them."""

import json

import pytest
from django.core.signing import Signer
from hypothesis import given
from hypothesis import strategies as st

from taskbridge.exceptions import InvalidMessage
from taskbridge.message import SALT, Message, pack, sign, unpack, verify

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def message(**fields):
    return Message(
        **{
            "id": "1",
            "task": "app.tasks.work",
            "args": [],
            "kwargs": {},
            "backend": "default",
            "queue_name": "default",
            "priority": 0,
            "run_after": None,
            "enqueued_at": "2026-01-01T00:00:00+00:00",
            "worker_ids": [],
            "durable": True,
            **fields,
        }
    )


@given(args=st.lists(json_values), kwargs=st.dictionaries(st.text(), json_values))
def test_message_comes_back_as_it_was(args, kwargs):
    sent = message(args=args, kwargs=kwargs)
    assert [verify(signed) for signed in unpack(pack([sign(sent)]))] == [sent]


@given(data=st.data())
def test_altered_message_is_refused(data):
    signed = sign(message())
    place = data.draw(st.integers(0, len(signed) - 1))
    char = data.draw(st.characters(codec="ascii").filter(lambda c: c != signed[place]))
    with pytest.raises(InvalidMessage, match="altered, or signed with another"):
        verify(signed[:place] + char + signed[place + 1 :])


def test_old_secret_key_is_honoured_as_a_fallback(settings):
    settings.SECRET_KEY = "old"
    signed = sign(message())
    settings.SECRET_KEY = "new"
    with pytest.raises(InvalidMessage):
        verify(signed)
    settings.SECRET_KEY_FALLBACKS = ["old"]
    assert verify(signed) == message()


@pytest.mark.parametrize(
    "payload",
    ["no JSON", "[]", "5", "{}", '{"v":1}', '{"v":1,"unknown":2}', "[" * 100_000],
)
def test_signed_message_of_no_form_of_ours_is_refused(payload):
    with pytest.raises(InvalidMessage, match="signed, but its form is unknown"):
        verify(Signer(salt=SALT).sign(payload))


def test_message_of_another_version_is_refused():
    with pytest.raises(
        InvalidMessage, match="version 3; this release reads versions 1"
    ):
        verify(Signer(salt=SALT).sign('{"v":3}'))


def test_message_that_is_no_unicode_is_refused():
    with pytest.raises(InvalidMessage, match="altered"):
        verify("\ud800:signature")


def test_float_without_json_word_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        sign(message(args=[float("inf")]))


@pytest.mark.parametrize(
    "body", [None, 5, b"[]", "", "{}", "[1]", '["a", null]', "[" * 100_000, "nonsense"]
)
def test_body_that_is_no_list_of_strings_is_refused(body):
    with pytest.raises(InvalidMessage, match="not a JSON list"):
        unpack(body)


def test_body_is_one_json_list_of_strings():
    assert json.loads(pack(["a", "b"])) == ["a", "b"]


def test_signature_is_that_of_djangos_signer(settings):
    """Ours only derives the key once."""
    signed = sign(message(args=["\u00e4\u2603"]))
    payload = Signer(salt=SALT).unsign(signed)
    assert Signer(salt=SALT).sign(payload) == signed
    other = Signer(salt=SALT, key=b"another key").sign(payload)
    settings.SECRET_KEY_FALLBACKS = ["another key"]
    assert verify(other) == verify(signed)
