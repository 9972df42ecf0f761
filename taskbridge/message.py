"""What travels: signed messages, and the envelope that a queue library carries.

A queue library sees one string argument, the body: a JSON list of signed messages. Each
message is JSON with Django's signature behind it, so SECRET_KEY_FALLBACKS work and
nothing that was not signed here ever names code to run.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.core.signals import setting_changed
from django.core.signing import BadSignature, Signer
from django.dispatch import receiver

from .exceptions import InvalidMessage
from .signing import KeyOnceSigner

SALT = "taskbridge.message"
VERSION = 1

# json.dumps() would make an encoder for every call with other than its defaults.
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One task that was enqueued: everything a worker needs to run it."""

    id: str
    task: str
    """Import path of the Task."""
    args: list[Any]
    kwargs: dict[str, Any]
    backend: str
    """Alias in TASKS."""
    queue_name: str
    priority: int
    """-100 to 100, higher runs first."""
    run_after: str | None
    """ISO 8601 with offset."""
    enqueued_at: str
    """ISO 8601 with offset."""
    worker_ids: list[str]
    """The workers that have started it, one for each attempt so far."""
    durable: bool
    """Whether a record says what became of it, which a worker has to claim first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a backend hands to its queue library, as one native message."""

    body: str
    queue_name: str
    priority: int
    """-100 to 100, higher runs first."""
    run_after: datetime | None
    """None: as soon as possible; durable delivery keeps the time by itself."""


@cache
def _signer() -> Signer:
    return KeyOnceSigner(salt=SALT)


@receiver(setting_changed)
def _forget_signer(*, setting: str, **kwargs: object) -> None:
    if setting in {"SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        _signer.cache_clear()


def sign(message: Message) -> str:
    """Serialize and sign a message.

    Raises:
        ValueError: it holds a float that JSON has no word for (NaN, Infinity).
    """
    fields = {name: getattr(message, name) for name in Message.__slots__}
    return _signer().sign(_encode({"v": VERSION, **fields}))


def verify(signed: str) -> Message:
    """Return the message if its signature is ours.

    Raises:
        InvalidMessage: it was altered, signed with another key, or is of a version that
            this release does not read.
    """
    try:
        payload = _signer().unsign(signed)
    except (BadSignature, UnicodeError) as exc:
        raise InvalidMessage(
            "A message was altered, or signed with another SECRET_KEY."
        ) from exc
    try:
        fields = json.loads(payload)
        version = fields.pop("v")
        if version == VERSION:
            return Message(**fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise InvalidMessage("A message is signed, but of no form of ours.") from exc
    raise InvalidMessage(
        f"A message is of version {version!r}, and this release reads {VERSION}."
    )


def pack(signed: Sequence[str]) -> str:
    """Return the body that carries these signed messages."""
    return _encode(signed)


def unpack(body: object) -> list[str]:
    """Return the signed messages in a body, not yet verified.

    Raises:
        InvalidMessage: it is not a JSON list of strings.
    """
    try:
        signed = json.loads(body) if isinstance(body, str) else None
    except (ValueError, RecursionError):
        signed = None
    if not isinstance(signed, list) or not all(isinstance(s, str) for s in signed):
        raise InvalidMessage("A body is not a JSON list of signed messages.")
    return signed
