"""What staff and learners do on a session's page, end to end: a click, a new verdict on GitHub, and the way back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.learners import Learner, enrol, lab_file, open_course, open_lab
from tests.support.line import Line, running_line
from web.session_actions import DONE

STAFF = 4_000_900
LAB = "with-approval"
STEPS = lab_file(
    {"files": ["report/**"], "complete": {"type": "approval"}, "hints": ["be short"]},
    {"files": ["src/**"], "needs": ["s1"], "complete": {"type": "exists", "paths": ["src/a.js"]}},
)
BEFORE_ITS_TURN = {"src/a.js": "1"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    async with running_line(module_database, staff=[STAFF]) as line:
        await open_course(line)
        await open_lab(line, LAB, {".forgea/steps.json": STEPS, "README.md": "A lab."})
        yield line


@pytest_asyncio.fixture(loop_scope="module", name="learner")
async def _learner(line: Line, tmp_path: Path) -> Learner:
    return await enrol(line, LAB, tmp_path)


class Page:
    """A session's page in somebody's browser."""

    def __init__(self, learner: Learner, browser: aiohttp.ClientSession) -> None:
        self._learner = learner
        self._browser = browser
        self.address = f"/sessions/{learner.session_id}"

    async def text(self) -> str:
        """The page as it is now."""
        async with self._browser.get(self.address) as answer:
            assert answer.status == 200
            return await answer.text()

    async def press(self, action: str, fields: Mapping[str, str] | None = None) -> str:
        """Send a form with these fields besides the hidden one of the page; the word of the answer's message."""
        seen = re.search(r'name="epoch" value="(\d+)"', await self.text())
        given = {"epoch": seen[1]} if seen else {}
        given |= {"reason": "seen in class", **(fields or {})}
        return await self.send(action, given)

    async def send(self, action: str, fields: Mapping[str, str]) -> str:
        """Send a form with exactly these fields."""
        async with self._browser.post(f"{self.address}/{action}", data=fields, allow_redirects=False) as answer:
            assert answer.status == 303, await answer.text()
            page, _, word = answer.headers["Location"].partition("?done=")
        assert page == self.address
        assert word in DONE
        await self._learner.line.settle()
        return word

    async def undo(self) -> str:
        """Press the newest Undo."""
        found = re.findall(r'name="event" value="(\d+)"', await self.text())
        return await self.press("staff/undo", {"event": max(found, key=int)})


@pytest_asyncio.fixture(loop_scope="module", name="staff")
async def _staff(learner: Learner) -> AsyncIterator[Page]:
    async with learner.line.browser(STAFF, "octo-staff", staff=True) as browser:
        yield Page(learner, browser)


@pytest_asyncio.fixture(loop_scope="module", name="own")
async def _own(learner: Learner) -> AsyncIterator[Page]:
    (row,) = await learner.line.fetch(
        "SELECT learner_account_id FROM lab_session WHERE session_id = $1", learner.session_id
    )
    async with learner.line.browser(row["learner_account_id"], "me") as browser:
        yield Page(learner, browser)


def conclusion(learner: Learner, sha: str) -> Any:
    """The conclusion of the newest check-run on a head."""
    runs = learner.line.sandbox.check_runs(learner.fork, sha)
    return max(runs, key=lambda run: int(run["id"]))["conclusion"]


async def test_approval_turns_the_same_head_green(learner: Learner, staff: Page) -> None:
    """What waits behind an approval is red; when staff approves, the same commit is green without another push."""
    head = await learner.push({"report/r.md": "x", **BEFORE_ITS_TURN})
    assert conclusion(learner, head) == "failure"
    assert "waiting for" in await staff.text()

    assert await staff.press("staff/step", {"kind": "approve", "step": "s1"}) == "judging"

    assert conclusion(learner, head) == "success"
    assert await learner.done() == {"s1", "s2"}
    assert (await learner.session())["status"] == "VERIFIED_PASS"
    assert "Approved 1. Part 1" in await staff.text()


async def test_undoing_an_approval_is_as_if_it_had_not_been(learner: Learner, staff: Page) -> None:
    """The steps that it brought are open again, the session goes on, the same commit is red; then anew."""
    head = await learner.push({"report/r.md": "x", **BEFORE_ITS_TURN})
    await staff.press("staff/step", {"kind": "approve", "step": "s1"})

    assert await staff.undo() == "undone"

    assert await learner.done() == set()
    assert (await learner.session())["status"] == "IN_PROGRESS"
    assert conclusion(learner, head) == "failure"
    assert await staff.press("staff/step", {"kind": "approve", "step": "s1"}) == "judging"
    assert conclusion(learner, head) == "success"


async def test_complete_and_reopen_take_turns(learner: Learner, staff: Page) -> None:
    """Of the two the newest counts; a reopened step of a finished session opens the session."""
    await learner.push(BEFORE_ITS_TURN)
    await staff.press("staff/step", {"kind": "complete", "step": "s1"})
    assert await learner.done() == {"s1", "s2"}
    assert (await learner.session())["status"] == "VERIFIED_PASS"

    assert await staff.press("staff/step", {"kind": "reopen", "step": "s1"}) == "judging"
    assert await learner.done() == set()
    assert (await learner.session())["status"] == "IN_PROGRESS"

    assert await staff.undo() == "undone"
    assert await learner.done() == {"s1", "s2"}


async def test_a_push_is_accepted_as_it_is(learner: Learner, staff: Page) -> None:
    """Staff accept the head that the page shows, and no other."""
    head = await learner.push(BEFORE_ITS_TURN)
    assert conclusion(learner, head) == "failure"
    assert await staff.press("staff/accept", {"head": "a" * 40}) == "changed"

    assert await staff.press("staff/accept", {"head": head}) == "judging"

    assert conclusion(learner, head) == "success"


async def test_unlocking_opens_a_step_before_its_turn(learner: Learner, staff: Page) -> None:
    """An unlocked step may be worked on and completed; a date that has passed is refused."""
    fields = {"kind": "unlock", "step": "s2"}
    assert await staff.press("staff/step", {**fields, "until": "2001-01-01T10:00"}) == "past"
    assert await staff.press("staff/step", {**fields, "until": "soon"}) == "time"
    assert await staff.press("staff/step", {**fields, "until": "2999-01-01T10:00"}) == "judging"

    await learner.push(BEFORE_ITS_TURN)

    assert await learner.done() == {"s2"}
    assert "Unlocked 2. Part 2 until 2999-01-01 10:00 UTC" in await staff.text()


async def test_pause_and_resume(learner: Learner, staff: Page) -> None:
    """A push to a paused session is answered when staff resumes it; undoing takes the session back and forth."""
    assert await staff.press("staff/defer") == "saved"
    head = await learner.push({"report/r.md": "x"})
    assert conclusion(learner, head) == "neutral"

    assert await staff.undo() == "undone"
    assert conclusion(learner, head) == "success"
    assert await staff.undo() == "undone"
    assert (await learner.session())["status"] == "DEFERRED"
    assert await staff.press("staff/resume") == "judging"
    assert (await learner.session())["status"] == "IN_PROGRESS"


async def test_a_deadline_is_moved_and_moved_back(learner: Learner, staff: Page) -> None:
    """A deadline is a time in UTC in the future, or none; undoing brings the one before back."""
    assert await staff.press("staff/extend", {"deadline": ""}) == "time"
    assert await staff.press("staff/extend", {"deadline": "2001-01-01T10:00"}) == "past"
    assert await staff.press("staff/extend", {"deadline": "2999-01-01T10:00"}) == "saved"
    assert (await learner.session())["expires_at"] == datetime(2999, 1, 1, 10, tzinfo=UTC)
    assert await staff.press("staff/extend", {"none": "1"}) == "saved"
    assert (await learner.session())["expires_at"] is None

    assert await staff.undo() == "undone"

    assert (await learner.session())["expires_at"] == datetime(2999, 1, 1, 10, tzinfo=UTC)


async def test_an_expired_session_is_extended_and_judged(learner: Learner, staff: Page) -> None:
    """Extending opens an expired session, and what was pushed after the deadline is judged."""
    await learner.line.pool.execute(
        "UPDATE lab_session SET status = 'EXPIRED', expires_at = $2 WHERE session_id = $1",
        learner.session_id,
        datetime.now(UTC) - timedelta(days=1),
    )
    head = await learner.push({"report/r.md": "x"})
    assert conclusion(learner, head) == "neutral"

    assert await staff.press("staff/extend", {"deadline": "2999-01-01T10:00"}) == "judging"
    assert conclusion(learner, head) == "success"

    assert await staff.undo() == "undone"
    assert (await learner.session())["status"] == "EXPIRED"


async def test_another_repository_is_connected_and_the_old_one_again(learner: Learner, staff: Page) -> None:
    """A session moves to a repository that the App is installed on, is judged there, and moves back."""
    line = learner.line
    await learner.push({"report/r.md": "x"})
    account = learner.fork.partition("/")[0]
    line.sandbox.add_account(f"{account}-second")
    other = await line.sandbox.fork(f"octo-course/{LAB}", f"{account}-second")
    for unseen in ("nobody/nothing", "no slash", other.full_name):
        assert await staff.press("staff/relink", {"repository": unseen}) == "no-repository"
    await line.sandbox.install(f"{account}-second", [other.full_name])
    await line.settle()
    assert await staff.press("staff/relink", {"repository": other.full_name}) == "taken"
    (theirs,) = await line.fetch("SELECT session_id FROM repo_mapping WHERE repo_full_name = $1", other.full_name)
    await line.pool.execute("UPDATE repo_mapping SET state = 'revoked', revoked_at = now(), revoked_reason = 'test' "
                            "WHERE session_id = $1", theirs["session_id"])  # fmt: skip
    assert await staff.press("staff/relink", {"repository": f"octo-course/{LAB}"}) == "template"

    assert await staff.press("staff/relink", {"repository": other.full_name.upper()}) == "judging"

    (bound,) = await line.fetch(
        "SELECT repo_full_name, source FROM repo_mapping WHERE session_id = $1 AND state = 'active'",
        learner.session_id,
    )
    assert bound == {"repo_full_name": other.full_name, "source": "staff"}
    (newest,) = await line.fetch(
        "SELECT trigger, verdict FROM push_attempt WHERE session_id = $1 ORDER BY attempt_id DESC LIMIT 1",
        learner.session_id,
    )
    assert newest == {"trigger": "staff", "verdict": "accepted"}
    assert f"Connected {other.full_name} instead of {learner.fork}" in await staff.text()

    assert await staff.undo() == "undone"
    (bound,) = await line.fetch(
        "SELECT repo_full_name FROM repo_mapping WHERE session_id = $1 AND state = 'active'", learner.session_id
    )
    assert bound == {"repo_full_name": learner.fork}
    assert await staff.press("staff/unbind") == "saved"
    assert await staff.press("staff/unbind") == "unbound"
    assert await staff.undo() == "undone"


async def test_a_decision_on_an_old_page_is_refused(learner: Learner, staff: Page) -> None:
    """Who decides on a page that another decision has overtaken looks again; nothing is written."""
    await staff.press("staff/defer")

    assert await staff.send("staff/resume", {"epoch": "0", "reason": "seen in class"}) == "changed"

    assert (await learner.session())["status"] == "DEFERRED"


@pytest.mark.parametrize(
    ("action", "fields", "word"),
    [
        ("staff/defer", {"reason": "x"}, "reason"),
        ("staff/defer", {"reason": "x" * 501}, "reason"),
        ("staff/resume", {}, "status"),
        ("staff/reopen", {}, "status"),
        ("staff/step", {"kind": "approve", "step": "s9"}, "step"),
        ("staff/step", {"kind": "accept_head", "step": "a" * 40}, "step"),
        ("staff/undo", {"event": "1"}, "gone"),
        ("staff/undo", {"event": "x"}, "gone"),
        ("help", {"words": "x" * 501}, "words"),
        ("help/end", {}, "gone"),
    ],
)
async def test_what_cannot_be_is_refused(
    action: str, fields: dict[str, str], word: str, learner: Learner, staff: Page
) -> None:
    """Each wrong form is answered by its message, and changes nothing."""
    before = await learner.session()

    assert await staff.press(action, fields) == word

    assert await learner.session() == before


async def test_the_learner_checks_again_and_asks_for_help(learner: Learner, own: Page, staff: Page) -> None:
    """The learner's clicks: the head is judged again; a call for help is seen by staff, and can be taken back."""
    await learner.push({"report/r.md": "x"})
    assert await own.press("check") == "checking"
    await own.press("help", {"words": "<b>where?</b>"})
    assert (await learner.session())["status"] == "STUCK"
    text = await staff.text()
    assert "asked for help" in text
    assert "&lt;b&gt;where?&lt;/b&gt;" in text
    assert "Asked for the newest commit to be checked again" in text

    assert await own.press("help/end") == "help-ended"

    assert (await learner.session())["status"] == "IN_PROGRESS"


async def test_checking_again_finds_what_no_delivery_told(learner: Learner, own: Page) -> None:
    """A push whose delivery was lost is answered after one click."""
    line = learner.line
    hook, line.sandbox.webhook_url = line.sandbox.webhook_url, None
    head = await learner.push({"report/r.md": "lost"})
    line.sandbox.webhook_url = hook
    assert not line.sandbox.check_runs(learner.fork, head)

    assert await own.press("check") == "checking"

    assert conclusion(learner, head) == "success"


async def test_learners_cannot_decide(learner: Learner, own: Page, line: Line, tmp_path: Path) -> None:
    """A learner's form to staff's address is refused, and so is any form about somebody else's session."""
    other = await enrol(line, LAB, tmp_path / "other")
    before = [await learner.session(), await other.session()]
    for address in (
        f"{own.address}/staff/defer",
        f"/sessions/{other.session_id}/help",
        f"/sessions/{other.session_id}/check",
    ):
        async with own._browser.post(address, data={"reason": "because", "words": "x"}) as answer:
            assert answer.status in (403, 404)
    assert [await learner.session(), await other.session()] == before
