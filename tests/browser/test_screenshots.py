"""The README's pictures: a fixed story, photographed. `make screenshots` keeps them in docs/images."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from playwright.async_api import Page, ViewportSize

from cli.demo_story import FIXED, REPORT
from tests.support.browser_steps import live
from tests.support.browsers import Visits
from tests.support.githost import WorkingCopy
from tests.support.learners import COURSE, open_lab, template_files
from tests.support.line import Line

pytestmark = pytest.mark.asyncio(loop_scope="session")

LAB = "word-counter"
LARGEST = 200_000  # bytes
PUSHES = {
    "learner-one": [{"report/bug.md": REPORT}, {"src/wordcount.js": FIXED, "CHANGELOG.md": "## 1.0\n"}],
    "learner-two": [{"src/cli.js": "// too early\n"}, {"src/cli.js": "// still\n"}, {"src/cli.js": "// and again\n"}],
    "learner-three": [{"report/bug.md": REPORT}, {"src/wordcount.js": FIXED}],
    "learner-four": [],
}
#: What makes up a session's past: the column of a time in each table.
PAST = {
    "lab_session": "started_at",
    "push_attempt": "created_at",
    "session_standing": "pushed_at",
    "step_progress": "completed_at",
}
#: How long ago each began, in hours.
SINCE = {"learner-one": 1, "learner-two": 5, "learner-three": 50, "learner-four": 30}


async def play(line: Line, folder: Path) -> None:
    """A class of four: at work, stuck and asking for help, far, not started."""
    await open_lab(line, LAB, template_files())
    for login, pushes in PUSHES.items():
        account = line.sandbox.add_account(login)
        fork = await line.sandbox.fork(f"{COURSE}/{LAB}", login)
        await line.sandbox.install(login, [fork.full_name])
        await line.settle()
        clone = await WorkingCopy.clone(line.sandbox, fork.full_name, login, folder / login)
        for files in pushes:
            await clone.commit(dict(files))
            await clone.push()
            await line.settle()
        (session,) = await line.fetch("SELECT session_id FROM lab_session WHERE learner_account_id = $1", account.id)
        if login == "learner-two":
            async with line.browser(account.id, login) as own:
                words = "It says that my command comes too early. What is missing?"
                await own.post(f"/sessions/{session['session_id']}/help", data={"words": words})
            await line.settle()
        await let_time_pass(line, session["session_id"], timedelta(hours=SINCE[login]))


async def let_time_pass(line: Line, session_id: UUID, time: timedelta) -> None:
    """Let a session's past be further away. The ledger allows no such thing, so its guard rests for the moment."""
    async with line.pool.acquire() as link, link.transaction():
        await link.execute("ALTER TABLE push_attempt DISABLE TRIGGER USER")
        for table, column in PAST.items():
            await link.execute(
                f"UPDATE {table} SET {column} = {column} - $2::interval WHERE session_id = $1", session_id, time
            )
        await link.execute("ALTER TABLE push_attempt ENABLE TRIGGER USER")


async def shoot(page: Page, name: str, folder: Path) -> None:
    """Photograph the window. The sandbox's address gives way to that of the GitHub that it plays."""
    path = folder / f"{name}.png"
    await page.evaluate(
        """() => {
            for (const code of document.querySelectorAll('pre code')) {
                code.textContent = code.textContent.replace(/http:..127.0.0.1:\\d+/, 'https://github.com');
            }
            document.activeElement.blur();
            scrollTo(0, 0);
        }"""
    )
    await page.screenshot(path=path, animations="disabled", caret="hide")
    assert 10_000 < path.stat().st_size < LARGEST, f"{name}: {path.stat().st_size} bytes"


async def test_the_pictures_can_be_taken(line: Line, people: Visits, tmp_path: Path) -> None:
    """Class, session and lab as staff and a learner see them, 1280 pixels wide, each under 200 KB."""
    await play(line, tmp_path / "clones")
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    window = ViewportSize(width=1280, height=800)
    staff = await people.signed_in(line, "octo-staff", viewport=window, color_scheme="light")
    await staff.goto(f"{line.pages}/?lab={LAB}")
    await live(staff)
    await shoot(staff, "class", folder)

    one = await people.signed_in(line, "learner-one", viewport=window, color_scheme="light")
    await one.goto(line.pages)
    await one.get_by_role("link", name="Open The word counter").click()
    await live(one)
    await shoot(one, "session", folder)

    four = await people.signed_in(line, "learner-four", viewport=window, color_scheme="light")
    await four.goto(f"{line.pages}/join/{LAB}")
    await live(four)
    await shoot(four, "join", folder)
