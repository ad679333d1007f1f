"""The class at a glance in a real browser: live, by keyboard, without JavaScript, and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.support.browser_steps import approve, check_conclusion, heading, live
from tests.support.browsers import Visits
from tests.support.learners import Learner, enrol, lab_file, open_lab
from tests.support.line import Line

pytestmark = pytest.mark.asyncio(loop_scope="session")

LAB = "with-approval"
STEPS = lab_file(
    {"files": ["report/**"], "complete": {"type": "approval"}, "hints": ["be short"]},
    {"files": ["src/**"], "needs": ["s1"], "complete": {"type": "exists", "paths": ["src/a.js"]}},
    title="Closures",
)
WAITS, BLOCKED = {"report/r.md": "x"}, {"src/a.js": "1"}
#: The issue's figure, in seconds, and what a busy machine may add to one of several pushes.
LIVE, SLACK = 1.0, 9.0


@pytest_asyncio.fixture(scope="module", loop_scope="session", name="lab", autouse=True)
async def _lab(line: Line) -> None:
    """A lab whose first step waits for staff."""
    await open_lab(line, LAB, {".forgea/steps.json": STEPS, "README.md": "A lab."})


@pytest_asyncio.fixture(scope="module", loop_scope="session", name="learner")
async def _learner(line: Line, tmp_path_factory: pytest.TempPathFactory, lab: None) -> Learner:
    """A learner whose newest push is blocked, in a class of three."""
    folder = tmp_path_factory.mktemp("class")
    learner, _, waiting = [await enrol(line, LAB, folder) for _ in range(3)]
    await learner.push(BLOCKED)
    await waiting.push(WAITS)
    return learner


def login_of(learner: Learner) -> str:
    """Whose fork it is."""
    return learner.fork.partition("/")[0]


async def column(page: Page, name: str) -> list[str]:
    """The texts of a column, top down."""
    texts = await page.locator(f'td[data-label="{name}"]').all_inner_texts()
    return [" ".join(text.split()) for text in texts]


async def test_a_push_is_seen_within_a_second(
    line: Line, people: Visits, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """From the commit of a push's verdict to the changed row of an open page: under a second, and nobody reloads.

    The browser's clock and the database's are this machine's; `created_at` is when the saving transaction began, so
    that the time of the commit is counted in. The best of three pushes has to keep to the figure, each to the slack.
    """
    learner = await enrol(line, LAB, tmp_path)
    page = await people.signed_in(line, "octo-staff")
    await page.goto(f"{line.pages}/?q={login_of(learner)}")
    await live(page)
    await page.evaluate(
        """() => {
            window.changes = [];
            const cell = () => document.querySelector('td[data-label="Last verdict"]').textContent.trim();
            let seen = cell();
            new MutationObserver(() => {
                if (cell() !== seen) changes.push([Date.now(), seen = cell()]);
            }).observe(document.body, {childList: true, subtree: true, characterData: true});
        }"""
    )
    took = []
    pushes: tuple[dict[str, str | bytes | None], ...] = ({"src/a.js": "1"}, {"src/a.js": None}, {"src/a.js": "2"})
    for number, files in enumerate(pushes, 1):
        await learner.clone.commit(files)
        await learner.clone.push()
        await page.wait_for_function(f"() => changes.length === {number}", timeout=SLACK * 1000)
        shown = (await page.evaluate("() => changes.at(-1)[0]")) / 1000
        saved: datetime = (await learner.attempt())["created_at"]
        took.append(shown - saved.timestamp())
        await line.settle()
        await page.wait_for_timeout(1_100)  # the page asks for itself once a second at most: let that pass

    record_property("seconds", [round(seconds, 3) for seconds in took])
    assert all(0 < seconds < SLACK for seconds in took), took
    assert min(took) < LIVE, took


async def test_what_a_reader_does_survives_an_update(
    line: Line, people: Visits, learner: Learner, tmp_path: Path
) -> None:
    """A live update keeps focus, a half-typed search and the scroll position."""
    page = await people.signed_in(line, "octo-staff", viewport={"width": 800, "height": 300})
    await page.goto(line.pages)
    await live(page)
    search = page.get_by_label("Login or repository")
    await search.fill("half a wo")
    link = page.get_by_role("link", name=login_of(learner), exact=True)
    await link.focus()
    await link.scroll_into_view_if_needed()
    scrolled = await page.evaluate("scrollY")

    newcomer = await enrol(line, LAB, tmp_path)
    await expect(page.get_by_role("link", name=login_of(newcomer), exact=True)).to_have_count(1)

    await expect(link).to_be_focused()
    await expect(search).to_have_value("half a wo")
    assert scrolled > 0
    assert abs(await page.evaluate("scrollY") - scrolled) < 120, "rows above may have come, nothing else"


async def test_everything_can_be_done_by_keyboard(line: Line, people: Visits, learner: Learner) -> None:
    """The first Tab leads past the header; the filter, a heading that sorts and a session answer to Enter; one sees
    where one is."""
    page = await people.signed_in(line, "octo-staff")
    await page.goto(line.pages)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_label("Lab", exact=True)).to_be_focused()
    for _ in range(3):
        await page.keyboard.press("Tab")
    await expect(page.get_by_label("Login or repository")).to_be_focused()
    await page.keyboard.type(login_of(learner))
    await page.keyboard.press("Enter")
    await expect(page.locator("tbody tr")).to_have_count(1)

    seen = []
    for _ in range(60):
        await page.keyboard.press("Tab")
        seen.append(
            await page.evaluate(
                """() => {
                    const style = getComputedStyle(document.activeElement);
                    return [document.activeElement.textContent.trim(), style.outlineStyle, style.outlineWidth];
                }"""
            )
        )
        if seen[-1][0] == login_of(learner):
            break
    names = [name for name, _, _ in seen]
    assert "Learner" in names, "headings sort"
    assert names[-1] == login_of(learner)
    assert [each for each in seen if each[1] == "none" or each[2] == "0px"] == [], "focus is always visible"
    await page.keyboard.press("Enter")
    await heading(page, "Closures")


async def test_it_works_without_javascript(line: Line, people: Visits, tmp_path: Path) -> None:
    """Filter, sorting, approval and undo are links and forms."""
    await enrol(line, LAB, tmp_path)
    learner = await enrol(line, LAB, tmp_path)
    head = await learner.push({**WAITS, **BLOCKED})
    page = await people.signed_in(line, "octo-staff", java_script_enabled=False)
    await page.goto(line.pages)
    await page.get_by_label("State").select_option("approval")
    await page.get_by_role("button", name="Show").click()
    states = await column(page, "State")
    assert states
    assert all(state.startswith("waits for you") or "approval" in state for state in states), states
    await page.get_by_role("link", name="Clear").click()
    await page.get_by_role("columnheader", name="Learner").get_by_role("link").click()
    names = [name.strip() for name in await page.locator("tbody th").all_inner_texts()]
    assert names == sorted(names)
    assert len(names) >= 2

    await page.get_by_role("link", name=login_of(learner), exact=True).click()
    await approve(page, "seen in class")
    await expect(page.get_by_role("status").first).to_be_visible()
    await line.settle()
    assert check_conclusion(line, learner.fork, head) == "success"
    await page.reload()
    await page.get_by_role("button", name="Undo").click()
    await line.settle()
    assert check_conclusion(line, learner.fork, head) == "failure"
