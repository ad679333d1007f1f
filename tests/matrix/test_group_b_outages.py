"""Group B: all of ours is down for hours. In the end what GitHub has is judged, whatever its log still knows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from storage.health import backlog
from tests.support.deliveries import World, world
from tests.support.outages import Outage, Pusher, recover

HOUR = timedelta(hours=1)


@pytest.fixture(name="here")
async def _here(fresh_database: str) -> AsyncIterator[World]:
    """A running App with a published lab, for each outage its own: the log is read from where that was read last."""
    async with world(fresh_database, rate_limit=1_000_000) as here:
        yield here


@pytest.mark.parametrize("hours", [1, 71, 73])
async def test_an_outage_leaves_nothing_behind(here: World, hours: int) -> None:
    """B8: all of ours is down for so long while learners push, come and go; after the start all sessions are as git has
    them, also what is older than GitHub's log."""
    line, github = here.line, here.line.sandbox
    steady, hasty, rewriting, leaving = [await Pusher.enrol(here) for _ in range(4)]
    for pusher in (steady, hasty, rewriting, leaving):
        await pusher.work(0)
    await line.settle()

    async with Outage(line, hours * HOUR) as outage:
        await steady.work(1)
        await hasty.push({"tests/count.js": "// nothing is tested any more\n"})
        await rewriting.work(2)
        await rewriting.move(rewriting.heads[0])
        await github.uninstall(next(e.id for e in github.installations if e.account.id == leaving.fork.owner.id))
        github.add_account("learner-late")
        fork = await github.fork("octo-course/lab", "learner-late")
        await github.install("learner-late", [fork.full_name])
        late = Pusher(here, fork)
        await late.work(0)
        outage.later(hours * HOUR / 2)
        await steady.work(2)
        await late.work(1)
    await recover(line)

    for pusher in (steady, hasty, rewriting, late):
        assert await pusher.differences() == []
    assert (await hasty.session())["head_sha"] == hasty.head
    assert (await leaving.session())["deferred_by"] == "installation"
    assert (await backlog(line.pool)).missing["waiting"] == 0
    if hours > 72:  # GitHub's log had nothing of these any more
        assert "reconcile" in {row["trigger"] for row in await hasty.attempts()}
