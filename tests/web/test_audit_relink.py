"""From a rejection in the audit to the right session, end to end: a transfer, an uninvited fork, a second fork."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from sandbox import Repository
from storage import labs
from tests.support.clicking import Clicker
from tests.support.githost import WorkingCopy
from tests.support.learners import COURSE, Learner, enrol, lab_file, open_course, open_lab
from tests.support.line import Line, running_line

STAFF = 4_000_900
LAB, CLOSED_LAB = "two-parts", "by-invitation"
STEPS = lab_file(
    {"files": ["report/**"], "complete": {"type": "exists", "paths": ["report/r.md"]}},
    {"files": ["src/**"], "needs": ["s1"], "complete": {"type": "exists", "paths": ["src/a.js"]}},
)
FIRST, SECOND = {"report/r.md": "x"}, {"src/a.js": "1"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    """A running App with a lab for everybody, and one by invitation."""
    async with running_line(module_database, staff=[STAFF]) as line:
        await open_course(line)
        for lab in (LAB, CLOSED_LAB):
            await open_lab(line, lab, {".forgea/steps.json": STEPS, "README.md": "A lab."})
        found = await labs.by_slug(line.pool, CLOSED_LAB)
        assert found is not None
        await line.pool.execute("UPDATE lab SET enrolment = 'invited' WHERE lab_id = $1", found.lab_id)
        yield line


@pytest_asyncio.fixture(loop_scope="module", name="learner")
async def _learner(line: Line, tmp_path: Path) -> Learner:
    """A learner who has done the first part."""
    learner = await enrol(line, LAB, tmp_path)
    await learner.push(dict(FIRST))
    return learner


@dataclass
class Staff:
    """A member of staff at the audit's pages."""

    line: Line
    clicker: Clicker

    async def rejection(self, repo_id: int, code: str) -> int:
        """Open the newest rejection of a repository by way of the list; its event's id."""
        await self.clicker.open(f"{self.line.pages}/audit?repository={repo_id}&code={code}")
        found = re.search(r'data-event="(\d+)"', self.clicker.html)
        assert found, self.clicker.text
        await self.clicker.open(f"{self.line.pages}/audit/{found[1]}")
        assert self.clicker.status == 200
        return int(found[1])

    async def choose(self, session_id: object) -> None:
        """Follow the button beside an offered session; the page says what would happen."""
        wanted = f"{self.clicker.address.path}/relink?session={session_id}"
        assert wanted in self.clicker.links.values()
        await self.clicker.open(self.line.pages + wanted)
        assert self.clicker.status == 200, self.clicker.text

    async def connect(self, **changes: str) -> str:
        """Fill in the reason and decide; the word of the answer."""
        await self.clicker.press("Connect", {"reason": "seen in class", **changes})
        assert self.clicker.status == 200
        await self.line.settle()
        return str(self.clicker.address.query.get("done", ""))

    @property
    def offered(self) -> list[str]:
        """The sessions that the page offers."""
        return re.findall(r'data-claim="([^"]+)"', self.clicker.html)


@pytest_asyncio.fixture(loop_scope="module", name="staff")
async def _staff(line: Line) -> AsyncIterator[Staff]:
    async with line.browser(STAFF, "octo-staff", staff=True) as browser:
        yield Staff(line, Clicker(browser))


async def mapping(line: Line, session_id: object) -> dict[str, Any]:
    """The session's active mapping."""
    (row,) = await line.fetch("SELECT * FROM repo_mapping WHERE session_id = $1 AND state = 'active'", session_id)
    return row


async def fork_and_push(
    line: Line, lab: str, login: str, folder: Path, files: Mapping[str, str | bytes | None]
) -> tuple[Repository, str]:
    """Somebody forks a lab (once more), installs the App there and pushes; the fork and its head."""
    fork = await line.sandbox.fork(f"{COURSE}/{lab}", login, name=f"{lab}-2")
    known = [each.id for each in line.sandbox.installations if each.account.login == login]
    if known:
        await line.sandbox.select(known[0], add=[fork.full_name])
    else:
        await line.sandbox.install(login, [fork.full_name])
    await line.settle()
    clone = await WorkingCopy.clone(line.sandbox, fork.full_name, login, folder / fork.full_name.replace("/", "-"))
    head = await clone.commit(dict(files))
    await clone.push()
    await line.settle()
    return fork, head


def conclusion(line: Line, full_name: str, sha: str) -> str:
    """The conclusion of the newest check-run on a head."""
    return str(max(line.sandbox.check_runs(full_name, sha), key=lambda run: int(run["id"]))["conclusion"])


async def test_a_transferred_repository_is_connected_again(
    line: Line, learner: Learner, staff: Staff, tmp_path: Path
) -> None:
    """A transfer is rejected until staff confirm it: the page says whose it is and was, the head is judged with all
    progress kept; undone, the session expects the former owner again."""
    old = learner.fork.partition("/")[0]
    new = f"{old}-moved"
    line.sandbox.add_account(new)
    moved = await line.sandbox.transfer(learner.fork, new)
    await line.sandbox.install(new, [moved.full_name])
    await line.settle()
    clone = await WorkingCopy.clone(line.sandbox, moved.full_name, new, tmp_path / "moved")
    head = await clone.commit(dict(SECOND))
    await clone.push()
    await line.settle()
    assert conclusion(line, moved.full_name, head) == "action_required"

    await staff.rejection(learner.repo_id, "OWNER_CHANGED")
    assert staff.offered[0] == str(learner.session_id)
    await staff.choose(learner.session_id)
    text = staff.clicker.text
    assert f"{moved.full_name} stays the repository of this session, as one that {new} owns." in text
    assert f"Whoever can push to {new}'s repository then works for {old}." in text
    assert "Its newest commit is judged at once" in text
    assert await staff.connect(reason="x") == "reason"
    assert "give a reason" in staff.clicker.text
    assert await staff.connect() == "judging"

    assert staff.clicker.address.path == f"/sessions/{learner.session_id}"
    assert (await mapping(line, learner.session_id))["source"] == "staff"
    assert conclusion(line, moved.full_name, head) == "success"
    assert await learner.done() == {"s1", "s2"}
    (event,) = await line.fetch(
        "SELECT actor_id, detail FROM audit_event WHERE kind = 'staff_relink' AND session_id = $1", learner.session_id
    )
    assert (event["actor_id"], event["detail"]["reason"]) == (STAFF, "seen in class")
    await staff.clicker.open(str(staff.clicker.address))
    (undo,) = [words for form in staff.clicker.forms for words in form.buttons if words.startswith("Undo: Connected")]
    await staff.clicker.press(undo)
    assert (await mapping(line, learner.session_id))["owner_account_id"] == line.sandbox.account(old).id


async def test_an_uninvited_repository_is_given_to_a_session(
    line: Line, learner: Learner, staff: Staff, tmp_path: Path
) -> None:
    """NO_SESSION: without a session that fits there is a way on and no button; with one it takes that."""
    login = f"{learner.fork.partition('/')[0]}-guest"
    line.sandbox.add_account(login)
    fork, head = await fork_and_push(line, CLOSED_LAB, login, tmp_path, FIRST)
    assert conclusion(line, fork.full_name, head) == "action_required"

    event = await staff.rejection(fork.id, "NO_SESSION")

    assert staff.offered == []
    assert f"python app.py labs invite {CLOSED_LAB} {login}" in staff.clicker.text
    assert "No session seems to fit" in staff.clicker.text
    await staff.clicker.open(f"{line.pages}/audit/{event}/relink?session={learner.session_id}")
    assert staff.clicker.status == 404, "only what is offered can be chosen"


async def test_a_second_fork_takes_the_place_of_the_first(
    line: Line, learner: Learner, staff: Staff, tmp_path: Path
) -> None:
    """MAPPING_CONFLICT: the page names the repository that the session leaves; afterwards the second fork is judged."""
    login = learner.fork.partition("/")[0]
    second, head = await fork_and_push(line, LAB, login, tmp_path, {**FIRST, **SECOND})
    event = await staff.rejection(second.id, "MAPPING_CONFLICT")
    await staff.choose(learner.session_id)
    assert f"{learner.fork} is taken from the session." in staff.clicker.text
    assert "two accounts" not in staff.clicker.text

    assert await staff.connect() == "judging"

    assert (await mapping(line, learner.session_id))["provider_repo_id"] == second.id
    assert conclusion(line, second.full_name, head) == "success"
    await staff.clicker.open(f"{line.pages}/audit/{event}")
    assert "Now it is connected with the session of" in staff.clicker.text


async def test_a_decision_on_an_old_page_is_refused(line: Line, learner: Learner, staff: Staff, tmp_path: Path) -> None:
    """What was decided meanwhile, another owner and another repository of that name are found: nothing is written."""
    login = learner.fork.partition("/")[0]
    second, _ = await fork_and_push(line, LAB, login, tmp_path, FIRST)
    before = await mapping(line, learner.session_id)
    await staff.rejection(second.id, "MAPPING_CONFLICT")
    await staff.choose(learner.session_id)
    assert await staff.connect(epoch="0") == "changed"
    assert await staff.connect(owner="1") == "other-repository"
    name = second.full_name
    await line.sandbox.delete_repository(name)
    assert await staff.connect() == "no-repository"
    assert "Nothing can be connected now." in staff.clicker.text
    assert await mapping(line, learner.session_id) == before


async def test_a_repository_of_another_session_is_not_taken(
    line: Line, learner: Learner, staff: Staff, tmp_path: Path
) -> None:
    """While the repository has a session, the page leads there instead of taking it; so does a form sent anyway."""
    other = await enrol(line, LAB, tmp_path / "other")
    login = learner.fork.partition("/")[0]
    second, _ = await fork_and_push(line, LAB, login, tmp_path, FIRST)
    event = await staff.rejection(second.id, "MAPPING_CONFLICT")
    await staff.choose(learner.session_id)
    form = staff.clicker.forms[-1]
    async with line.browser(STAFF, "octo-staff", staff=True) as browser:
        await relink(browser, other.session_id, second.full_name)
        await line.settle()
        await staff.clicker.open(f"{line.pages}/audit/{event}")
        await staff.choose(learner.session_id)
        assert "A repository has one session" in staff.clicker.text
        assert all("Connect" not in each.buttons for each in staff.clicker.forms)
        fields = dict(form.fields) | {"reason": "seen in class"}
        async with browser.post(str(form.action), data=fields, allow_redirects=False) as answer:
            assert answer.headers["Location"].endswith("done=taken")


async def relink(browser: aiohttp.ClientSession, session_id: object, full_name: str) -> None:
    """Connect a session with a repository from the session's own page."""
    fields = {"repository": full_name, "reason": "seen in class"}
    async with browser.post(f"/sessions/{session_id}/staff/relink", data=fields, allow_redirects=False) as answer:
        assert answer.headers["Location"].endswith("done=judging")
