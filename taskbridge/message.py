"""What travels: signed messages, and the envelope that a queue library carries.

A queue library sees one string argument, the body: a JSON list of signed messages. Each
message is JSON with Django's signature behind it, so SECRET_KEY_FALLBACKS work, and
only what was signed here can name code to run.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Any

from django.core.signals import setting_changed
from django.core.signing import BadSignature, Signer
from django.dispatch import receiver

from .exceptions import InvalidMessage
from .plain import encode
from .signing import KeyOnceSigner

SALT = "taskbridge.message"
VERSION = 1
VERSION_BY_REFERENCE = 2
"""Of a message that leaves its arguments in the record."""

LONGEST_CARRIED = 100_000
"""Characters of arguments that a message carries if a record holds them as well.

A queue library may escape them several times: a quote takes up to 16 bytes on its way
to MariaDB through background-tasks, and no broker takes messages of any size.
"""
LONGEST_BODY = 500_000
"""Characters of an envelope with more than one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One task that was enqueued: everything a worker needs to run it."""

    id: str
    task: str
    """Import path of the Task."""
    args: list[Any] | None
    """None: the record holds them, and `kwargs`."""
    kwargs: dict[str, Any] | None
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
    """Whether it has a record, which a worker has to claim before it runs the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a backend hands to its queue library, as one native message."""

    body: str
    queue_name: str
    priority: int
    """-100 to 100, higher runs first."""
    run_after: datetime | None
    """In UTC; None: as soon as possible. Durable delivery keeps the time itself."""
    is_recorded: bool = False
    """Whether it is looked for if it is lost: nobody has to wait for the broker."""


@cache
def _signer() -> Signer:
    return KeyOnceSigner(salt=SALT)


@receiver(setting_changed)
def _forget_signer(*, setting: str, **kwargs: object) -> None:
    if setting in {"SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        _signer.cache_clear()


ALONE = " "
"""Stands before the signature of a message that is not to be joined with others.

It is part of what is signed, and JSON that a release without it reads all the same.
"""


def sign(message: Message, *, alone: bool = False) -> str:
    """Serialize and sign a message.

    Args:
        message: what travels.
        alone: whether nobody is to join it with others; see `merging`.

    Raises:
        TypeError, ValueError: its arguments are not JSON; see `encode`.
    """
    fields = {name: getattr(message, name) for name in Message.__slots__}
    version = VERSION_BY_REFERENCE if message.args is None else VERSION
    payload = encode({"v": version, **fields})
    return _signer().sign(payload + ALONE if alone else payload)


def verify(signed: str) -> Message:
    """Return the message if its signature is ours.

    Raises:
        InvalidMessage: it was altered or signed with another key, or has a version that
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
        if version in {VERSION, VERSION_BY_REFERENCE}:
            return Message(**fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise InvalidMessage("A message is signed, but its form is unknown.") from exc
    raise InvalidMessage(
        f"A message has version {version!r}; this release reads versions {VERSION} and "
        f"{VERSION_BY_REFERENCE}."
    )


def pack(signed: Sequence[str]) -> str:
    """Return the body that carries these signed messages."""
    return encode(signed)


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


def is_signed_here(body: object) -> bool:
    """Whether a body holds messages, all with our signature."""
    try:
        return bool([verify(signed) for signed in unpack(body)])
    except InvalidMessage:
        return False


def seal(
    messages: Sequence[Message], chunk: int = 1, *, alone: bool = False
) -> list[Envelope]:
    """Put messages that can travel together, up to `chunk` of them, in one envelope.

    Args:
        messages: in the order in which they are to run.
        chunk: at least 1.
        alone: whether nobody is to join these with others.

    Raises:
        TypeError, ValueError: see `sign`.
    """
    return [
        Envelope(
            body=pack(group), queue_name=queue_name, priority=priority, run_after=None
        )
        for (queue_name, priority), together in groupby(
            messages, lambda m: (m.queue_name, m.priority)
        )
        for group in _groups((sign(m, alone=alone) for m in together), chunk)
    ]


def _groups(signed: Iterable[str], chunk: int) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for each in signed:
        if group and (len(group) == chunk or size + len(each) > LONGEST_BODY):
            yield group
            group, size = [], 0
        group.append(each)
        size += len(each)
    if group:
        yield group
