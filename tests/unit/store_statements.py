"""Calls of every statement of `DatabaseStore`, for tests of their plans.

They want READY records that are due within a day, and many more that have finished.
"""

from taskbridge.store import Json
from tests.unit.store_records import new_record

DAY_S = 86_400


def due_ids(store, limit):
    due = store.look(horizon_s=DAY_S, limit=limit)
    assert len(due) == limit
    return [each.id for each in due]


def claim(store, count, attempt=0):
    store.claim(
        due_ids(store, count),
        attempt=attempt,
        worker_ids=[],
        token="token",
        lease_s=5,
        again=True,
    )


def finish(name):
    def call(store):
        key = due_ids(store, 1)[0]
        getattr(store, name)(
            key,
            token="token",
            errors=[],
            **({"after_s": 1} if name == "retry" else {}),
        )

    return call


def end_cancelled(store):
    key = due_ids(store, 1)[0]
    store.claim([key], attempt=0, worker_ids=[], token="t", lease_s=5)
    store.cancel([key], by="ann")
    assert store.end_cancelled(key, token="t", errors=None) == "ann"


def pages(store, status, *, errors=False):
    after = None
    for _ in range(2):
        page = store.page(status, age_s=-1, after=after, limit=25, errors=errors)
        assert len(page) == 25
        after = page[-1]


def take(store, count):
    store.take(due_ids(store, count), token="t", again_s=5, pushed_to="here")


def pause(store, then):
    """Call something while the queue of the records is paused."""
    store.pause("mail", by="")
    then(store)
    store.resume("mail")


def park(many):
    return lambda store: store.park(due_ids(store, many), "mail")


def park_refused(many):
    return lambda s: s.park_refused(due_ids(s, many), "mail", attempt=0)


def prune(successful_days, failed_days):
    def call(store):
        days = (successful_days, failed_days)
        successful_s, failed_s = (None if d is None else d * DAY_S for d in days)
        store.prune(successful_s=successful_s, failed_s=failed_s, limit=1000)

    return call


def calls(many):
    """Return a call for each, of so many records where they are many."""
    return {
        "insert": lambda s: s.insert([new_record() for _ in range(1000)], None),
        "look": lambda s: s.look(horizon_s=0.5, limit=500),
        "look-far": lambda s: s.look(horizon_s=DAY_S, limit=500),
        "take-one": lambda s: take(s, 1),
        "take-many": lambda s: take(s, many),
        "put_back": lambda s: s.put_back(due_ids(s, many), token="token", after_s=1),
        "postpone": lambda s: s.postpone(due_ids(s, many), after_s=1),
        "waiting": lambda s: s.waiting(horizon_s=DAY_S),
        "claim-one": lambda s: claim(s, 1),
        "claim-many": lambda s: claim(s, many),
        "claim-again": lambda s: claim(s, many, attempt=9),
        "extend": lambda s: s.extend(due_ids(s, many), token="token", lease_s=5),
        "succeed": lambda s: s.succeed(
            {key: Json.of(key) for key in due_ids(s, many)}, token="token"
        ),
        "retry": finish("retry"),
        "fail": finish("fail"),
        "expire": lambda s: s.expire(s.get(due_ids(s, 1))[0], errors=[], rerun=True),
        "give_back": lambda s: s.give_back(due_ids(s, many), token="token"),
        "given_back": lambda s: s.given_back(due_ids(s, many)),
        "reclaim": lambda s: s.reclaim("token"),
        "claim-paused": lambda s: pause(s, lambda s: claim(s, many)),
        "park": lambda s: pause(s, park(many)),
        "park-refused": lambda s: pause(s, park_refused(many)),
        "unpark-left-over": lambda s: s.unpark_left_over(),
        "redirect-none": lambda s: s.redirect("here"),
        "redirect-all": lambda s: s.redirect("there"),
        "get": lambda s: s.get(due_ids(s, many)),
        "prune-default": prune(7, 30),
        "prune-nothing": prune(50, 50),
        "prune-failed": prune(None, 30),
        "prune-no-failed": prune(None, 45),
        "prune-successful": prune(7, None),
        "prune-everything": prune(0, 0),
        "prune-further": lambda s: [prune(0, 0)(s) for _ in range(2)],
        "sizes": lambda s: s.sizes(due_ids(s, many)),
        "queues": lambda s: s.queues(up_to=100),
        "running": lambda s: s.running(limit=100),
        "unfinished": lambda s: s.unfinished(),
        "counts": lambda s: s.counts(up_to=100),
        "touch": lambda s: s.touch(due_ids(s, 1)[0]),
        "standing": lambda s: s.standing(due_ids(s, many)),
        "cancel": lambda s: s.cancel(due_ids(s, many), by="ann", kill=True),
        "end_cancelled": end_cancelled,
        "rerun": lambda s: s.rerun(due_ids(s, many)),
        "hurry": lambda s: s.hurry(due_ids(s, many)),
        "forget": lambda s: s.forget(due_ids(s, many)),
        "page-open": lambda s: pages(s, None),
        "page-failed": lambda s: pages(s, "FAILED"),
        "page-successful": lambda s: pages(s, "SUCCESSFUL", errors=True),
    }
