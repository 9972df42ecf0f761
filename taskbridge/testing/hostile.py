"""Bodies that a worker must refuse: garbage, altered, forged, or naming no Task."""

import json
from dataclasses import replace

from django.core.signing import Signer
from django.utils import timezone

from taskbridge.message import SALT, Message, pack, sign


def hostile_bodies(alias: str, ledger: str, *, durable: bool) -> list[str]:
    """Return one body of each kind; each would write to the ledger if it ran."""
    good = Message(
        id="hostile",
        task="taskbridge.testing.tasks.record",
        args=[ledger, "hostile"],
        kwargs={},
        backend=alias,
        queue_name="default",
        priority=0,
        run_after=None,
        enqueued_at=timezone.now().isoformat(),
        worker_ids=[],
        durable=durable,
    )
    signed = sign(good)
    payload, _, _ = signed.rpartition(":")
    return [
        "not JSON",
        json.dumps({"not": "a list"}),
        pack(["not signed"]),
        pack([signed.replace("hostile", "altered", 1)]),
        pack([Signer(key="another secret", salt=SALT).sign(payload)]),
        pack([Signer(salt="of something else").sign(payload)]),
        pack([Signer(salt=SALT).sign(payload.replace('"v":1', '"v":99'))]),
        pack([sign(replace(good, task="taskbridge.testing.tasks.not_a_task"))]),
        pack([sign(replace(good, task="os.system"))]),
        pack([sign(replace(good, task="no.such.module"))]),
        pack([sign(replace(good, backend="no such alias"))]),
    ]
