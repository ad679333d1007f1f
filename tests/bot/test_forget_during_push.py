"""A learner who is erased while a push of theirs is judged: nothing comes back, until they push again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bot.gather import gather
from storage import forgetting
from storage.forgetting import Person
from tests.support.direct import begin
from tests.support.learners import open_course, open_lab, template_files
from tests.support.line import Line, running_line


async def left_of(line: Line, account_id: int) -> int:
    """Rows of sessions, mappings, judgements and reports that are somebody's: all that are not the course's."""
    return int(
        await line.pool.fetchval(
            "SELECT (SELECT count(*) FROM lab_session) + (SELECT count(*) FROM push_attempt)"
            " + (SELECT count(*) FROM repo_mapping WHERE owner_account_id = $1)"
            " + (SELECT count(*) FROM outbox WHERE session_id <> '00000000-0000-0000-0000-000000000000')",
            account_id,
        )
    )


async def test_a_push_in_the_middle_brings_nothing_back(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Erased between gathering and saving: the worker starts over, finds a fork of a lab with open enrolment, and must
    not enrol its owner. The next push does, from the first step on; a delivery of before that is sent again does not.
    """
    async with running_line(fresh_database) as line:
        await open_course(line)
        await open_lab(line, "lab", template_files())
        learner = await begin(line, "lab")
        (row,) = await line.fetch("SELECT learner_account_id FROM lab_session")
        account_id = int(row["learner_account_id"])
        gathered, go_on = asyncio.Event(), asyncio.Event()

        async def slow(*given: Any, **more: Any) -> Any:
            found = await gather(*given, **more)
            gathered.set()
            await go_on.wait()
            return found

        monkeypatch.setattr("bot.pipeline.gather", slow)
        await learner.clone.commit({"report/bug.md": "# Bug\n\nIt counts words wrong.\n"})
        await learner.clone.push()
        await asyncio.wait_for(gathered.wait(), 20)
        (person,) = await forgetting.find(line.pool, str(account_id))

        done = await forgetting.forget(line.pool, person)

        assert (person.kind, done.sessions) == (Person(1, "x").kind, 1)
        monkeypatch.setattr("bot.pipeline.gather", gather)
        go_on.set()
        await line.settle()
        async with asyncio.timeout(10):  # until the worker has given up what it had in hand
            while await line.fetch("SELECT FROM lane WHERE leased_until IS NOT NULL"):
                await asyncio.sleep(0.01)
        assert await left_of(line, account_id) == 0
        await line.sandbox.set_visibility(learner.fork, private=True)  # GitHub goes on telling of the fork
        await line.settle()
        assert await left_of(line, account_id) == 0
        old = [each for each in line.sandbox.deliveries if each.event == "push"][-1]
        await line.sandbox.redeliver(old.guid)
        await line.settle()
        assert await left_of(line, account_id) == 0

        await learner.clone.commit({"report/bug.md": "# Bug\n\nIt counts words wrong, still.\n"})
        await learner.clone.push()
        await line.settle()
        (session,) = await line.fetch("SELECT * FROM lab_session WHERE learner_account_id = $1", account_id)
        assert session["session_id"] != learner.session_id
        assert session["status"] == "IN_PROGRESS"
