"""Which bodies of deliveries are stored, and how long: one for each way that a delivery can take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from bot.schedules import forget_bodies, forget_what_is_over
from tests.support.githost import WorkingCopy, seed
from tests.support.learners import Learner, enrol, open_course, open_lab, template_files
from tests.support.line import running_line


@pytest.fixture(name="learner")
async def _learner(fresh_database: str, tmp_path: Path) -> AsyncIterator[Learner]:
    async with running_line(fresh_database) as line:
        await open_course(line)
        await open_lab(line, "lab", template_files())
        yield await enrol(line, "lab", tmp_path)


async def outcomes(learner: Learner) -> dict[str, bool]:
    """Outcome of each finished push -> whether a body is there."""
    rows = await learner.line.fetch(
        "SELECT outcome, bool_or(payload IS NOT NULL) AS kept FROM delivery "
        "WHERE event = 'push' AND state <> 'waiting' GROUP BY outcome"
    )
    return {row["outcome"]: row["kept"] for row in rows}


def not_needed() -> float:
    """Deliveries so far that were acknowledged and not stored."""
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "stepgate_deliveries_total" and sample.labels["result"] == "not_needed"
    )


async def test_each_way_has_its_end(learner: Learner, tmp_path: Path) -> None:
    """Of a repository that is no lab's the body goes at once; of a judged push, of a tag and of a blocked one with
    RETENTION_DAYS; of one that was given up after 30 days. What Stepgate itself caused is counted and never stored."""
    line, counted = learner.line, not_needed()
    line.sandbox.add_account("octo-stranger")
    diary = await line.sandbox.add_repository("octo-stranger", "diary")
    await seed(diary, {"README.md": "mine\n"})
    await line.sandbox.install("octo-stranger", [diary.full_name])
    clone = await WorkingCopy.clone(line.sandbox, diary.full_name, "octo-stranger", tmp_path / "diary")
    await clone.commit({"day.md": "nothing of yours\n"})
    await clone.push()
    await learner.push({"notes/one.md": "1\n"})
    await learner.push({"bin/count.js": "too early\n"})
    await learner.send("HEAD:refs/tags/v1")
    await learner.push({"notes/two.md": "2\n"})
    await line.pool.execute(
        "UPDATE delivery SET state = 'dead', outcome = 'dead' WHERE inbox_id = "
        "(SELECT max(inbox_id) FROM delivery WHERE event = 'push')"
    )
    kept = await outcomes(learner)
    assert kept == {"NOT_A_LAB": False, "accepted": True, "blocked": True, "TAG": True, "dead": True}
    stored = await line.fetch("SELECT DISTINCT event FROM delivery")
    assert {"check_run", "check_suite", "status"} & {row["event"] for row in stored} == set()
    assert not_needed() > counted, "echoes of our own check runs"

    services = replace(line.services, keep_bodies=timedelta(days=8))
    await line.pool.execute("UPDATE delivery SET finished_at = finished_at - interval '9 days'")
    assert await forget_bodies(services) > 0
    await forget_what_is_over(services)
    assert [outcome for outcome, there in (await outcomes(learner)).items() if there] == ["dead"]
    await line.pool.execute("UPDATE delivery SET finished_at = finished_at - interval '30 days'")
    done = await forget_what_is_over(services)
    assert done["dead_bodies"] == 1
    assert not any((await outcomes(learner)).values())
    # The stranger's installation was read just now; a week later nothing is left of it but its id and state.
    assert done["strangers"] == 0
    await line.pool.execute("UPDATE installation SET checked_at = checked_at - interval '9 days'")
    assert (await forget_what_is_over(services))["strangers"] == 1
    assert await line.fetch("SELECT FROM installation_repository WHERE repo_id = $1", diary.id) == []
    assert await line.fetch("SELECT FROM delivery WHERE repo_id = $1", diary.id) == []
    await clone.commit({"day.md": "still nothing of yours\n"})
    await clone.push()
    await line.settle()
    assert (await outcomes(learner))["NOT_A_LAB"] is False
