"""People's ways through the App, click by click: signing in, joining a lab, waiting for staff, privacy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from cli.demo_story import REPORT
from tests.support.browser_steps import approve, check_conclusion, enter_github, fork, heading, install, live
from tests.support.browsers import Visits
from tests.support.githost import WorkingCopy
from tests.support.learners import COURSE, enrol, lab_file, open_lab, template_files
from tests.support.line import Line
from web import join, join_github

pytestmark = pytest.mark.asyncio(loop_scope="session")

LAB, WITH_APPROVAL = "word-counter", "with-approval"
STEPS = lab_file(
    {"files": ["report/**"], "complete": {"type": "approval"}, "hints": ["be short"]},
    {"files": ["src/**"], "needs": ["s1"], "complete": {"type": "exists", "paths": ["src/a.js"]}},
)


@pytest_asyncio.fixture(scope="module", loop_scope="session", name="labs", autouse=True)
async def _labs(line: Line) -> AsyncIterator[None]:
    """Two labs, and an App whose installation leads back to it. What no event tells is looked for each second."""
    patch = pytest.MonkeyPatch()
    patch.setattr(join_github, "KEEP_FORK", 0.2)
    patch.setattr(join, "ASK_AGAIN", 1)
    await line.restart()
    line.sandbox.setup_url = f"{line.pages}/installed"
    await open_lab(line, LAB, template_files())
    await open_lab(line, WITH_APPROVAL, {".forgea/steps.json": STEPS, "README.md": "A lab."})
    yield
    patch.undo()


async def test_staff_sign_in_and_out(line: Line, people: Visits) -> None:
    """Whoever asks for the class is sent over GitHub, comes back to it as staff, and is nobody after signing out."""
    page = await people.somebody()
    await page.goto(line.pages)
    await enter_github(page, "octo-staff")
    await heading(page, "Class")
    await expect(page.get_by_role("banner")).to_contain_text("octo-staff staff")

    await page.get_by_role("button", name="Sign out").click()
    await heading(page, "Signed out")
    await page.goto(f"{line.pages}/sessions/00000000-0000-4000-8000-000000000000")
    await expect(page.get_by_role("banner")).not_to_contain_text("octo-staff")


async def test_a_person_may_change_their_mind(line: Line, people: Visits) -> None:
    """ "Cancel" at GitHub leads to a page that says so, and to another try."""
    line.sandbox.add_account("learner-unsure")
    page = await people.somebody()
    await page.goto(f"{line.pages}/login?next=/join/{LAB}")
    await page.get_by_role("button", name="Sign in as learner-unsure").click()
    await page.get_by_role("button", name="Cancel").click()
    await heading(page, "Not signed in")

    await page.get_by_role("link", name="Sign in again").click()
    await page.get_by_role("button", name="Authorize").click()
    await heading(page, "My labs")


async def test_a_learner_joins_a_lab(line: Line, people: Visits, tmp_path: Path) -> None:
    """Fork, install, push, each by the button of the lab's page, which shows what is done, the push by itself."""
    login, repository = "learner-joins", f"learner-joins/{LAB}"
    line.sandbox.add_account(login)
    page = await people.somebody()
    moves = {word: page.locator(f"[data-move={word}]") for word in ("fork", "install", "push")}
    await page.goto(f"{line.pages}/join/{LAB}")
    await page.get_by_role("link", name="Sign in to see where you stand").click()
    await enter_github(page, login)
    await expect(moves["fork"]).to_have_attribute("data-state", "now")

    other_tab = await page.context.new_page()
    await other_tab.goto(f"{line.pages}/join/{LAB}")
    await fork(other_tab)
    await expect(moves["fork"]).to_have_attribute("data-state", "done")
    await expect(moves["install"]).to_have_attribute("data-state", "now")

    await install(page, login, repository)
    await heading(page, "The App is installed")
    await expect(page.get_by_role("link", name=f"Open your session in {repository}")).to_be_visible()

    await page.goto(f"{line.pages}/join/{LAB}")
    await expect(moves["push"]).to_have_attribute("data-state", "now")
    await live(page)
    clone = await WorkingCopy.clone(line.sandbox, repository, login, tmp_path / login)
    sha = await clone.commit({"report/bug.md": REPORT})
    await page.evaluate("window.notReloaded = true")
    await clone.push()
    await expect(moves["push"]).to_have_attribute("data-state", "done")
    await expect(moves["push"]).to_contain_text(f"{sha[:7]}: accepted")
    assert await page.evaluate("window.notReloaded")

    await page.get_by_role("link", name="Open your session", exact=True).click()
    await heading(page, "The word counter that counts spaces")
    await expect(page.locator("[data-step=report]")).to_have_attribute("data-state", "done")


async def test_an_approval_turns_a_waiting_head_green(line: Line, people: Visits, tmp_path: Path) -> None:
    """Staff see who waits, approve with a reason, and the same commit is green at GitHub and on the learner's page."""
    learner = await enrol(line, WITH_APPROVAL, tmp_path)
    login = learner.fork.partition("/")[0]
    head = await learner.push({"report/r.md": "x", "src/a.js": "1"})
    assert check_conclusion(line, learner.fork, head) == "failure"
    own = await people.signed_in(line, login)
    await own.goto(f"{line.pages}/sessions/{learner.session_id}")
    await expect(own.locator("[data-step=s1]")).to_have_attribute("data-state", "waiting")
    await live(own)

    staff = await people.signed_in(line, "octo-staff")
    await staff.goto(f"{line.pages}/?q={login}")
    await staff.get_by_role("link", name=login, exact=True).click()
    await approve(staff, "seen in class")

    await expect(staff.get_by_role("status").first).to_be_visible()
    await expect(staff.locator("[data-step=s1]")).to_have_attribute("data-state", "done")
    await expect(own.locator("[data-step=s2]")).to_have_attribute("data-state", "done")
    await expect(own.get_by_text("seen in class")).to_be_visible()
    await line.settle()
    assert check_conclusion(line, learner.fork, head) == "success"


async def test_help_is_asked_for_and_seen(line: Line, people: Visits, tmp_path: Path) -> None:
    """A learner's words reach the open page of staff by themselves, and the call can be taken back."""
    learner = await enrol(line, WITH_APPROVAL, tmp_path)
    login = learner.fork.partition("/")[0]
    staff = await people.signed_in(line, "octo-staff")
    await staff.goto(f"{line.pages}/?q={login}")
    await live(staff)

    own = await people.signed_in(line, login)
    await own.goto(line.pages)
    await own.get_by_role("link", name="Open A lab").click()
    await own.get_by_label("What are you stuck with?").fill("Where does the report go?")
    await own.get_by_role("button", name="I need help").click()

    await expect(staff.get_by_text("Where does the report go?")).to_be_visible()
    await own.get_by_role("button", name="I do not need help any more").click()
    await expect(staff.get_by_text("Where does the report go?")).to_be_hidden()


async def test_learners_see_their_own_sessions_only(line: Line, people: Visits, tmp_path: Path) -> None:
    """Another's session shows what its public check-run shows, and is not there at all if the repository is private."""
    learner = await enrol(line, LAB, tmp_path)
    other = line.sandbox.add_account("learner-curious").login
    address = f"{line.pages}/sessions/{learner.session_id}"
    page = await people.signed_in(line, other)

    answer = await page.goto(address)
    assert answer is not None
    assert answer.status == 200
    await expect(page.get_by_role("button", name="Check again")).to_have_count(0)
    await expect(page.get_by_text("Last activity")).to_have_count(0)

    await line.sandbox.set_visibility(learner.fork, private=True)
    await line.settle()
    answer = await page.goto(address)
    assert answer is not None
    assert answer.status == 404
    await expect(page.get_by_role("main")).not_to_contain_text("word counter")
    await page.goto(line.pages)
    await heading(page, "My labs")
    assert (await page.request.get(f"{line.pages}/class.csv")).status == 403

    own = await people.signed_in(line, learner.fork.partition("/")[0])
    await own.goto(address)
    await heading(own, "The word counter that counts spaces")
    assert COURSE not in await page.content()
