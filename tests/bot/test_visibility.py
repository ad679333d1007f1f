"""Whether a fork is private is followed: closing at once, opening only by GitHub's present word."""

from __future__ import annotations

from uuid import UUID

from storage.views import session_view
from tests.support.direct import begin
from tests.support.learners import Learner, open_course, open_lab, template_files
from tests.support.line import Line, running_line


async def is_private(line: Line, learner: Learner) -> bool:
    """As the session's page is told."""
    view = await session_view(line.pool, learner.session_id)
    assert view is not None
    return view.private


async def test_visibility_follows_the_fork(fresh_database: str) -> None:
    """A public fork is shown; once it is private it is not, from GitHub's event on; and again when it is public."""
    async with running_line(fresh_database) as line:
        await open_course(line)
        await open_lab(line, "lab", template_files())
        learner = await begin(line, "lab")
        assert not await is_private(line, learner)

        await line.sandbox.set_visibility(learner.fork, private=True)
        await line.settle()
        assert await is_private(line, learner)

        await line.sandbox.set_visibility(learner.fork, private=False)
        await line.settle()
        assert not await is_private(line, learner)

        # An event was lost (or the session is older than this column): the next push opens it again.
        await line.pool.execute("UPDATE repo_mapping SET private = true")
        line.services.mappings.drop(learner.repo_id)
        await learner.push({"NOTES.md": "one\n"})
        assert not await is_private(line, learner)

        # An old push of a public fork comes once more, now that it is private: GitHub is asked, and says so.
        old = [each for each in line.sandbox.deliveries if each.event == "push"][-1]
        await line.sandbox.set_visibility(learner.fork, private=True)
        await line.settle()
        await line.pool.execute("DELETE FROM delivery WHERE guid = $1", UUID(old.guid))
        await line.sandbox.redeliver(old.guid)
        await line.settle()
        assert await is_private(line, learner)
