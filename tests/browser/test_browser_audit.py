"""The audit in a real browser: from a fresh rejection to the right session by keyboard, accessible in each step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, ViewportSize, expect

from tests.support.browser_steps import check_conclusion, heading, live
from tests.support.browsers import PHONE, Visits, axe_script, too_wide, violations
from tests.support.githost import WorkingCopy
from tests.support.learners import COURSE, Learner, enrol, lab_file, open_lab
from tests.support.line import Line

pytestmark = pytest.mark.asyncio(loop_scope="session")

LAB = "two-parts"
STEPS = lab_file(
    {"files": ["report/**"], "complete": {"type": "exists", "paths": ["report/r.md"]}},
    {"files": ["src/**"], "needs": ["s1"], "complete": {"type": "exists", "paths": ["src/a.js"]}},
    title="Closures and what they keep",
)
DESK = ViewportSize(width=1280, height=900)


@pytest.fixture(scope="module", name="axe")
def _axe() -> str:
    return axe_script(pytest.skip, pytest.fail)


@pytest_asyncio.fixture(loop_scope="session", name="learner")
async def _learner(line: Line, tmp_path: Path) -> Learner:
    """A learner with a session and a second fork, on which nothing was pushed yet."""
    await open_lab(line, LAB, {".forgea/steps.json": STEPS, "README.md": "A lab."})
    learner = await enrol(line, LAB, tmp_path)
    await learner.push({"report/r.md": "x"})
    return learner


async def look(page: Page, axe: str, name: str, folder: Path) -> None:
    """Nothing is wrong with the page in light, in dark and in the width of a phone; photographed in each."""
    assert await violations(page, axe) == []
    await page.screenshot(path=folder / f"{name}.png", full_page=True)
    await page.emulate_media(color_scheme="dark")
    assert await violations(page, axe, "color-contrast") == []
    await page.screenshot(path=folder / f"{name}-dark.png", full_page=True)
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size(PHONE)
    assert await too_wide(page) == []
    await page.screenshot(path=folder / f"{name}-phone.png", full_page=True)
    await page.set_viewport_size(DESK)


async def tab_to(page: Page, text: str) -> None:
    """Press Tab until the focus is on what reads so, seen all the way."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        focused, outline = await page.evaluate(
            """() => {
                const {activeElement: it} = document;
                return [it.textContent.replace(/\\s+/g, ' ').trim(), getComputedStyle(it).outlineStyle];
            }"""
        )
        assert outline != "none", f"focus is not seen on {focused!r}"
        if focused == text:
            return
    raise AssertionError(f"Tab does not lead to {text!r}")


async def test_a_rejection_is_settled_by_keyboard(
    line: Line, people: Visits, learner: Learner, axe: str, tmp_path: Path
) -> None:
    """A rejection appears on the open page; Tab and Enter lead to its event, to the session, through the decision."""
    folder = Path(os.environ.get("AUDIT_SCREENSHOTS") or tmp_path)
    login = learner.fork.partition("/")[0]
    page = await people.signed_in(line, "octo-staff", viewport=DESK)
    await page.goto(line.pages)
    await page.get_by_role("link", name="Audit", exact=True).click()
    await heading(page, "Audit")
    await live(page)
    assert await page.get_by_role("link", name="MAPPING_CONFLICT").count() == 0

    second = await line.sandbox.fork(f"{COURSE}/{LAB}", login, name=f"{LAB}-2")
    (installation,) = [each.id for each in line.sandbox.installations if each.account.login == login]
    await line.sandbox.select(installation, add=[second.full_name])
    clone = await WorkingCopy.clone(line.sandbox, second.full_name, login, tmp_path / "second")
    head = await clone.commit({"report/r.md": "x", "src/a.js": "1"})
    await clone.push()
    await line.settle()
    rejected = page.locator("tr[data-code=MAPPING_CONFLICT]")
    await expect(rejected).to_have_count(1)
    await look(page, axe, "audit", folder)

    await tab_to(page, f"Connect {second.full_name} with a session")
    await page.keyboard.press("Enter")
    await heading(page, "The session has another repository")
    await look(page, axe, "event", folder)
    await tab_to(page, f"Connect with the session of {login} in Closures and what they keep")
    await page.keyboard.press("Enter")
    await heading(page, f"Connect {second.full_name} with the session of {login}")
    await look(page, axe, "relink", folder)
    await page.get_by_label("Reason").focus()
    await page.keyboard.type("The second fork is the right one.")
    await page.keyboard.press("Enter")

    await heading(page, "Closures and what they keep")
    await expect(page.get_by_role("status").first).to_contain_text("Saved.")
    await line.settle()
    assert check_conclusion(line, second.full_name, head) == "success"
