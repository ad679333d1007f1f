"""Which installation reads a lab's template: the one that covers it now, or for a public one any at all."""

from __future__ import annotations

from tests.support.direct import begin
from tests.support.learners import COURSE, Learner, open_course, open_lab, template_files
from tests.support.line import Line, running_line

LAB = "word-counter"


async def reader(line: Line) -> int | None:
    """The installation that reads the lab's template."""
    (row,) = await line.fetch("SELECT base_installation_id FROM lab WHERE slug = $1", LAB)
    found: int | None = row["base_installation_id"]
    return found


async def is_judged(learner: Learner, word: str) -> bool:
    """Whether a push with a protected file changed is blocked: for that the template is read."""
    head = await learner.push({".forgea/steps.json": word}, word)
    return learner.told(head) == ("failure", "failure")


async def test_the_course_takes_the_app_off_and_comes_back(fresh_database: str) -> None:
    """Learners' pushes are judged throughout, by whoever may read the template; a private one needs its own reader."""
    async with running_line(fresh_database) as line:
        await open_course(line)
        await open_lab(line, LAB, template_files())
        course = next(each.id for each in line.sandbox.installations if each.account.login == COURSE)
        assert await reader(line) == course

        await line.sandbox.uninstall(course)
        await line.settle()
        assert await reader(line) is None
        learner = await begin(line, LAB)
        assert await is_judged(learner, "by the learner's own installation")

        await line.sandbox.suspend((again := await line.sandbox.install(COURSE, "all")).id)
        await line.settle()
        assert await reader(line) is None
        await line.sandbox.unsuspend(again.id)
        await line.settle()
        assert await reader(line) == again.id
        assert await is_judged(learner, "by the course's new installation")

        await line.sandbox.select_only(again.id, [f"{COURSE}/{LAB}"])
        await line.settle()
        assert await reader(line) == again.id, "it covers the template as before"
