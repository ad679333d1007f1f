"""When a session is stuck, from real pushes: several blocked heads in a row, and what ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.direct import begin
from tests.support.learners import Learner, open_course, open_lab, template_files
from tests.support.line import running_line

# A file of a step that needs the fix first.
EARLY = "console.log(1);\n"


@pytest.fixture(name="learner")
async def _learner(fresh_database: str) -> AsyncIterator[Learner]:
    async with running_line(fresh_database) as line:
        await open_course(line)
        await open_lab(line, "lab", template_files())
        yield await begin(line, "lab")


async def status(learner: Learner) -> str:
    """The session's status now."""
    return str((await learner.session())["status"])


async def test_three_blocked_heads_in_a_row_and_an_accepted_push(learner: Learner) -> None:
    """The third distinct blocked head makes a session stuck, one that comes again does not count twice; its page tells
    it; the next accepted push ends it, and the row of blocked heads begins anew."""
    first = await learner.push({"bin/count.js": EARLY})
    second = await learner.push({"bin/count.js": EARLY + "// two\n"})
    await learner.send("--force", f"{first}:refs/heads/main")
    await learner.send("--force", f"{second}:refs/heads/main")
    assert learner.told(second)[0] == "failure"
    assert await status(learner) == "IN_PROGRESS"

    await learner.push({"bin/count.js": EARLY + "// three\n"})

    assert await status(learner) == "STUCK"
    async with learner.line.browser(staff=True) as staff:
        page = await (await staff.get(f"/sessions/{learner.session_id}")).text()
    assert "stuck" in page.lower()

    await learner.push({"bin/count.js": None, "report/bug.md": "Expected: 2\nActual: 3\n"})
    assert await status(learner) == "IN_PROGRESS"
    await learner.push({"bin/count.js": EARLY})
    assert await status(learner) == "IN_PROGRESS"
