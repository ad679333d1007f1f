"""A day's deliveries: pushes, some of them twice, among events that nobody needs; and what became of them."""

from __future__ import annotations

import math
import random
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

import asyncpg

from bench.github import Written
from bench.payloads import UNNEEDED
from bench.sender import Delivery, Seen
from bench.world import Learner

# Of a hundred deliveries so many come a second time, and so many are about something that nobody needs.
TWICE, NOT_NEEDED = 20, 30
# A redelivery is of one of so many pushes before it.
RECENT = 100
# Points of GitHub's for each endpoint and minute, and of a write (REST docs, rate limits, secondary limits).
POINTS_A_MINUTE, WRITE_POINTS = 900, 5


def pushes_in(count: int) -> int:
    """How many of so many deliveries are pushes that come for the first time."""
    return count - count * TWICE // 100 - count * NOT_NEEDED // 100


def mixture(learners: Sequence[Learner], count: int, seed: str) -> list[Delivery]:
    """So many deliveries, shuffled: the learners push in turn, each one commit after the other."""
    dice = random.Random(seed)
    kinds = ["push"] * (pushes_in(count) - 1) + ["twice"] * (count * TWICE // 100)
    kinds += ["not needed"] * (count - 1 - len(kinds))
    dice.shuffle(kinds)
    turns = list(learners)
    dice.shuffle(turns)
    pushes: list[Delivery] = []
    mixed: list[Delivery] = []
    for kind in ["push", *kinds]:
        if kind == "push":
            learner = turns[len(pushes) % len(turns)]
            before, after = learner.next_commit()
            mixed.append(Delivery(_guid(dice), astuple(learner.fork.target), after, before))
            pushes.append(mixed[-1])
        elif kind == "twice":
            mixed.append(dice.choice(pushes[-RECENT:]))
        else:
            event, action = dice.choice(UNNEEDED)
            about = dice.choice(pushes[-RECENT:])
            mixed.append(Delivery(_guid(dice), about.target, about.after, event=event, action=action))
    return mixed


def _guid(dice: random.Random) -> str:
    return str(uuid.UUID(int=dice.getrandbits(128)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mixture. `lost`, `duplicates`: in words why, empty: none.

    `overtaken`: heads without a report of their own, because a later push of their repository came before it was
    their turn. `oldest`: the longest time (s) from when a push was due to its check run and status. `drained`: seconds
    from the last answer to the last report.
    """

    pushes: int
    lost: Counter[str]
    duplicates: Counter[str]
    overtaken: int
    oldest: float
    drained: float


async def outcome_of(
    dsn: str, deliveries: Sequence[Delivery], rate: float, seen: Seen, written: Mapping[str, Written]
) -> Outcome:
    """Compare what was sent with the App's ledger, and with what was written at GitHub's side."""
    due: dict[str, float] = {}
    newest: dict[int, str] = {}
    guids: dict[str, str] = {}
    for number, delivery in enumerate(deliveries):
        if delivery.event == "push" and delivery.guid not in guids:
            guids[delivery.guid] = delivery.after
            due[delivery.after] = seen.begun + number / rate
            newest[delivery.target[0]] = delivery.after
    reports = {sha: written.get(sha, Written()) for sha in due}
    whole = {sha: each for sha, each in reports.items() if each.check_runs and each.statuses}
    lost = await _not_in_ledger(dsn, guids)
    lost["newest heads without check run or status"] = sum(sha not in whole for sha in newest.values())
    twice = Counter({
        "check runs": sum(max(0, each.check_runs - 1) for each in reports.values()),
        "statuses": sum(max(0, each.statuses - 1) for each in reports.values()),
    })  # fmt: skip
    last = max((each.at for each in reports.values()), default=0.0)
    return Outcome(
        pushes=len(due),
        lost=+lost,
        duplicates=+twice,
        overtaken=len(due) - len(whole),
        oldest=max((each.at - due[sha] for sha, each in whole.items()), default=math.inf),
        drained=max(0.0, last - seen.begun - seen.seconds),
    )


_LEDGER = """
SELECT count(*) FILTER (WHERE delivery.guid IS NULL) AS "deliveries that were not stored",
    count(*) FILTER (WHERE delivery.state = 'waiting') AS "deliveries that still wait",
    count(*) FILTER (WHERE delivery.state = 'dead') AS "dead letters",
    count(*) FILTER (WHERE NOT EXISTS (SELECT FROM push_attempt WHERE push_attempt.after_sha = sent.head))
        AS "heads without a line in the ledger"
FROM unnest($1::uuid[], $2::text[]) AS sent(guid, head)
LEFT JOIN delivery ON delivery.guid = sent.guid AND delivery.event = 'push'
"""


async def _not_in_ledger(dsn: str, heads: Mapping[str, str]) -> Counter[str]:
    connection = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow(_LEDGER, list(heads), list(heads.values()))
    finally:
        await connection.close()
    assert row is not None  # counts: one row
    return Counter(dict(row))


def most_within(at: Iterable[float], seconds: float) -> int:
    """The largest number of times that lie within so many seconds of each other."""
    ordered = sorted(at)
    most = first = 0
    for number, time in enumerate(ordered):
        while ordered[first] <= time - seconds:
            first += 1
        most = max(most, number - first + 1)
    return most


def least_seconds(writes: Mapping[str, Sequence[float]], distance: float) -> float:
    """The shortest time in which an installation may write so much: by the distance, and by the points of a minute.

    `writes`: of each endpoint. The first write is free, and so are the first minute's points.
    """
    by_distance = distance * (sum(map(len, writes.values())) - 1)
    minutes = max(math.ceil(len(at) * WRITE_POINTS / POINTS_A_MINUTE) - 1 for at in writes.values())
    return max(by_distance, 60.0 * minutes)
