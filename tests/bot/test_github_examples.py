"""Every example delivery that GitHub publishes, posted to the running App; and the ordinary pushes that they lack."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from uuid import uuid4

from bot.webhook import EVENTS
from tests.support.deliveries import WORK, World, examples, world
from tests.support.githost import WorkingCopy

# What becomes of the examples: their installations and repositories are unknown here and to GitHub (the sandbox).
RIGHT_OUTCOME = {
    "push": ("done", "INSTALLATION_UNKNOWN"),
    "installation": ("done", "installation_deleted"),
    "installation_repositories": ("done", "installation_deleted"),
    "repository": ("done", "repository_not_bound"),
    "fork": ("done", "fork_not_covered"),
}


def test_the_examples_are_there() -> None:
    """All recorded events are posted, each handled one among them (an empty folder would prove nothing)."""
    counts = Counter(event for event, _ in examples())

    assert len(counts) == 16
    assert counts.total() == 84
    assert {event: counts[event] for event in EVENTS} == {
        "push": 7,
        "installation": 7,
        "installation_repositories": 3,
        "installation_target": 0,
        "repository": 13,
        "fork": 3,
    }


async def test_every_example_has_the_right_effect_or_none(fresh_database: str) -> None:
    """Never a 5xx, nothing lost, nothing stored of what nobody handles, and nothing done for foreign repositories."""
    async with world(fresh_database) as here:
        await here.learner("learner-one")
        before = await here.state()
        calls = len(here.line.sandbox.exchanges)
        sent = {(uuid4(), event): body for event, body in examples()}

        answers = [await here.post(event, body, guid) for (guid, event), body in sent.items()]
        await here.line.settle()

        assert set(answers) == {202}
        stored = {(row["guid"], row["event"]): row for row in await here.rows()}
        assert {key for key in sent if key in stored} == {key for key in sent if key[1] in EVENTS}
        for key in sent.keys() & stored.keys():
            row = stored[key]
            assert (row["state"], row["outcome"], row["last_error"]) == (*RIGHT_OUTCOME[key[1]], None)
        after = await here.state()
        assert changed(before, after) == {"audit_event", "rejection_count"}
        assert {exchange.method for exchange in list(here.line.sandbox.exchanges)[calls:]} == {"GET"}  # no report
        rejections = await here.line.fetch(
            "SELECT a.kind, a.code, a.repo_id, c.count FROM audit_event a JOIN rejection_count c USING (event_id)"
        )
        count = rejections[0].pop("count")  # pushes of one ref that wait together are answered together
        assert rejections == [{"kind": "rejected", "code": "INSTALLATION_UNKNOWN", "repo_id": 186853002}]
        assert 1 <= count <= 7


def changed(before: dict[str, list[str]], after: dict[str, list[str]]) -> set[str]:
    """Tables whose rows are not what they were."""
    return {table for table, rows in after.items() if rows != before[table]}


async def pushed(here: World, clone: WorkingCopy, *arguments: str) -> tuple[str, bytes]:
    """Push with git; the outcome of its push delivery, and its body."""
    await clone.push(*arguments)
    await here.line.settle()
    delivery = [delivery for delivery in here.line.sandbox.deliveries if delivery.event == "push"][-1]
    (row,) = [row for row in await here.rows("push") if str(row["guid"]) == delivery.guid]
    assert row["state"] == "done"
    return str(row["outcome"]), delivery.payload


async def test_the_pushes_that_the_examples_lack(fresh_database: str, tmp_path: Path) -> None:
    """Fast-forward, forced push, branch, tag and their ends: judged for the bound fork, refused for a foreign one."""
    async with world(fresh_database) as here:
        fork = await here.learner("learner-one")
        clone = await WorkingCopy.clone(here.line.sandbox, fork.full_name, "learner-one", tmp_path / "clone")
        done: dict[str, tuple[str, bytes]] = {}
        await clone.commit(dict(WORK[0]))
        done["fast-forward"] = await pushed(here, clone)
        await clone.git("commit", "--quiet", "--amend", "-m", "again")
        done["forced"] = await pushed(here, clone, "--force", "HEAD")
        done["new branch"] = await pushed(here, clone, "HEAD:refs/heads/topic")
        done["branch deleted"] = await pushed(here, clone, ":refs/heads/topic")
        done["tag"] = await pushed(here, clone, "HEAD:refs/tags/v1")

        assert {name: outcome for name, (outcome, _) in done.items()} == {
            "fast-forward": "accepted",
            "forced": "accepted",
            "new branch": "preview",
            "branch deleted": "BRANCH_DELETED",
            "tag": "TAG",
        }
        forced = json.loads(done["forced"][1])
        assert forced["forced"]
        assert forced["before"] == json.loads(done["fast-forward"][1])["after"]

        before = await here.state()
        for _, body in done.values():
            foreign = json.loads(body)
            foreign["repository"]["id"] += 1_000_000  # not covered by this installation
            assert await here.post("push", json.dumps(foreign).encode()) == 202
        await here.line.settle()
        assert [row["outcome"] for row in await here.rows("push")][-5:] == ["REPO_NOT_SELECTED"] * 5
        assert changed(before, await here.state()) == {"audit_event", "rejection_count"}
