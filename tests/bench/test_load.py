"""The load bench at a small size: what the matrix asks of K1 to K3 holds; and its judgement of a run can fail."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import orjson
import pytest

from bench import load
from bench.github import Fork, Written
from bench.processes import Place
from bench.sender import Delivery, Plan, Seen, prepared, queues
from bench.traffic import least_seconds, mixture, most_within, outcome_of, pushes_in
from bench.world import Learner
from bot.payloads import envelope
from bot.wanted import FILTERED_EVENTS, ResultFilter
from bot.webhook import EVENTS

SECRET = "a secret of sixteen letters"


def learners(count: int, commits: int) -> list[Learner]:
    """Learners with that many commits to push."""
    shas = [[f"{one + 1:04x}{commit:036x}" for commit in range(commits + 1)] for one in range(count)]
    return [Learner(Fork(900 + one, f"learner-{one}/lab", 100 + one, 500 + one, shas[one])) for one in range(count)]


@pytest.mark.skipif(os.environ.get("SOAK") != "1", reason="eight processes: in make soak")
@pytest.mark.timeout(300)
async def test_nothing_is_lost_doubled_or_over_the_budget(postgres_dsn: str, tmp_path: Path) -> None:
    """K1 to K3, the App as real processes: of pushes among duplicates and events that nobody needs each is judged and
    each head reported once; a class's one installation is never over GitHub's limits, nor quicker than its budget.
    """
    made = await load.measure(Place(postgres_dsn, 0, tmp_path), load.SMALL)

    figures = {figure.name: figure for figure in made}
    for name, pushes in (("steady", 10), ("burst", 10), ("storm", load.SMALL.class_of)):
        lost, twice = figures[f"{name}_lost"], figures[f"{name}_duplicates"]
        assert (lost.measured, lost.note, lost.reference) == (0, "", pushes)
        assert (twice.measured, twice.note) == (0, "")
        assert figures[f"{name}_ack_p99"].measured > 0
    refused, points = figures["storm_refused"], figures["storm_points"]
    assert (refused.measured, refused.reference) == (0, 2 * load.SMALL.class_of)
    assert points.measured == 5 * load.SMALL.class_of
    assert figures["storm_writes"].ok
    # What comes sooner than that was written too fast (but for the way to GitHub, once for the first and the last).
    assert figures["storm_drain"].measured > 0.9 * figures["storm_drain"].reference


def test_a_mixture_is_what_it_says() -> None:
    """Half of the deliveries are pushes, the learners' commits in their order; a fifth are redeliveries."""
    class_ = learners(3, 20)

    mixed = mixture(class_, 100, "seed")

    pushes = [each for each in mixed if each.event == "push"]
    guids = Counter(each.guid for each in pushes)
    assert (len(mixed), len(pushes), len(guids), pushes_in(100)) == (100, 70, 50, 50)
    for learner in class_:
        first = dict.fromkeys(each.after for each in pushes if each.target[0] == learner.fork.repo_id)
        assert list(first) == learner.fork.shas[1 : 1 + len(first)]


async def test_nobody_needs_what_is_called_so() -> None:
    """The App's receiver acknowledges these events, as they are sent, and stores none."""
    plan = Plan(0, SECRET, 1, 1, mixture(learners(3, 300), 500, "seed"), app_id=7)
    wants = ResultFilter(7, awaited=_everything_is_awaited).wants
    seen = set()
    for delivery in plan.deliveries:
        if delivery.event != "push":
            body = prepared(delivery, plan).partition(b"\r\n\r\n")[2]
            parts = envelope(body)
            seen.add((delivery.event, parts.action))
            assert parts.repo_id == delivery.target[0]
            assert delivery.event not in EVENTS
            assert delivery.event not in FILTERED_EVENTS or not await wants(delivery.event, parts)
            assert orjson.loads(body)["installation"]["id"] == delivery.target[3]

    assert len(seen) == 5


async def _everything_is_awaited(_repo_id: int) -> bool:
    return True


def test_one_repository_is_one_connection() -> None:
    """Pushes of a repository cannot overtake each other, and each delivery is sent once."""
    plan = Plan(0, SECRET, 4, 1, mixture(learners(9, 20), 100, "seed"), in_order=True)

    own = [list(queue) for queue in queues(plan)]

    of = {plan.deliveries[number].target[0]: place for place, queue in enumerate(own) for number in queue}
    assert sorted(number for queue in own for number in queue) == list(range(100))
    for place, numbers in enumerate(own):
        assert numbers == sorted(numbers)
        assert {of[plan.deliveries[number].target[0]] for number in numbers} <= {place}


async def test_what_is_lost_or_doubled_is_counted(fresh_database: str) -> None:
    """A push without a row, without a line in the ledger, without report, and a report too many: each is told."""
    one, other = (
        Delivery(f"00000000-0000-0000-0000-00000000000{n}", (n, "o/r", 1, 1, "User"), f"{n}" * 40) for n in (1, 2)
    )
    written = {one.after: Written(check_runs=2, statuses=1, at=13.0), other.after: Written(check_runs=1, at=15.0)}

    found = await outcome_of(fresh_database, [one, other, one], 2.0, Seen(10.0, 1.0, {}, []), written)

    assert found.pushes == 2
    assert found.lost == {
        "deliveries that were not stored": 2,
        "heads without a line in the ledger": 2,
        "newest heads without check run or status": 1,
    }
    assert found.duplicates == {"check runs": 1}
    assert (found.oldest, found.drained) == (3.0, 4.0)


def test_the_budgets_shortest_time() -> None:
    """So many writes take the distance between each two, or the minutes that their points need."""
    assert least_seconds({"a": [0.0] * 6, "b": [0.0] * 5}, 0.2) == pytest.approx(2.0)
    assert least_seconds({"a": [0.0] * 181}, 0.01) == 60.0
    assert most_within([0.0, 30.0, 59.9, 60.0, 100.0], 60.0) == 3
