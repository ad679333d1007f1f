"""Every kind of page for everybody: axe-core finds nothing in light or dark, and a phone need not scroll sideways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize

from cli.demo_story import REPORT
from tests.support.browser_steps import approve
from tests.support.browsers import PHONE, Visits, axe_script, too_wide, violations, visits
from tests.support.learners import Learner, enrol, lab_file, open_lab
from tests.support.line import Line

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),  # all pages are looked at before the first test
]

LAB = "with-approval"
LONG = "a-very-long-name-without-any-place-to-break-it-" * 3
STEPS = lab_file(
    {"files": ["report/**"], "complete": {"type": "approval"}, "hints": ["be short"]},
    {"files": ["src/**"], "needs": ["s1"], "complete": {"type": "exists", "paths": ["src/a.js"]}, "title": LONG},
    {"files": ["extra/**"], "optional": True, "complete": {"type": "exists", "paths": ["extra/b.js"]}},
    title="Closures and what they keep",
)
DESK = ViewportSize(width=1280, height=800)
OPEN = "() => { for (const each of document.querySelectorAll('details')) each.open = true; }"
NOBODY, OTHER = "", "learner-other"


@pytest.fixture(scope="module", name="axe")
def _axe() -> str:
    return axe_script(pytest.skip, pytest.fail)


@pytest_asyncio.fixture(scope="module", loop_scope="session", name="learner")
async def _learner(line: Line, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Learner]:
    """A learner with all that a page can show: a step that waits, blocked files, long names, hints, help."""
    line.sandbox.add_account(OTHER)
    await open_lab(line, LAB, {".forgea/steps.json": STEPS, "README.md": "A lab."})
    folder = tmp_path_factory.mktemp("access")
    learner = await enrol(line, LAB, folder)
    await learner.push({"report/r.md": REPORT, "extra/b.js": "1"})
    for number in range(3):
        await learner.push({f"src/{LONG}.js": str(number)})
    await learner.clone.git("checkout", "--quiet", "-b", "elsewhere")
    await learner.push({"notes.md": "x"})
    account = line.sandbox.account(learner.fork.partition("/")[0])
    async with line.browser(account.id, account.login) as own:
        await own.post(f"/sessions/{learner.session_id}/help", data={"words": "Where does the report go?"})
    await line.settle()
    await (await enrol(line, LAB, folder)).push({"report/r.md": "x"})
    yield learner


def pages(line: Line, learner: Learner) -> list[tuple[str, str]]:
    """Who looks at which address: each kind of page in each role that it knows."""
    login = learner.fork.partition("/")[0]
    (installation,) = [each.id for each in line.sandbox.installations if each.account.login == login]
    session, done = f"/sessions/{learner.session_id}", f"/installed?installation_id={installation}&setup_action=install"
    return [
        *(("octo-staff", address) for address in ("/", f"/?lab={LAB}", "/?state=wrong&q=nobody-here", session)),
        *((login, address) for address in ("/", session, f"/join/{LAB}", done)),
        *((OTHER, address) for address in ("/", session, done)),
        *((NOBODY, address) for address in (session, f"/join/{LAB}", "/join/none", "/installed", "/no/such/page")),
        (NOBODY, "/installed?setup_action=request"),
        (NOBODY, "/auth/callback?code=x&state=y"),
    ]


@dataclass
class Findings:
    """What is wrong with any page, by what was looked for."""

    light: list[str] = field(default_factory=list)
    dark: list[str] = field(default_factory=list)
    wide: list[str] = field(default_factory=list)


@pytest_asyncio.fixture(scope="module", loop_scope="session", name="findings")
async def _findings(browser: Browser, line: Line, learner: Learner, axe: str) -> Findings:
    """Each page opened once: looked at in light, in dark, and in the width of a phone, with all its details open.

    Dark pages have the same elements as light ones: only contrast can differ.
    """
    found, opened = Findings(), dict[str, Page]()
    async with visits(browser) as people:
        for login, address in pages(line, learner):
            if login not in opened:
                opened[login] = await (people.signed_in(line, login) if login else people.somebody())
            page = opened[login]
            await page.set_viewport_size(DESK)
            await page.emulate_media(color_scheme="light")
            await page.goto(line.pages + address)
            await page.evaluate(OPEN)
            found.light += [f"{login}: {each}" for each in await violations(page, axe)]
            await page.emulate_media(color_scheme="dark")
            found.dark += [f"{login}: {each}" for each in await violations(page, axe, "color-contrast")]
            await page.set_viewport_size(PHONE)
            found.wide += [f"{login} {address}: {each}" for each in await too_wide(page)]
    return found


async def test_axe_finds_nothing(findings: Findings) -> None:
    """No page of any role has a violation of WCAG 2.2 AA or of good practice."""
    assert findings.light == []


async def test_axe_finds_nothing_in_the_dark(findings: Findings) -> None:
    """Letters stand out from their ground for readers who prefer dark pages as well."""
    assert findings.dark == []


async def test_a_phone_need_not_scroll_sideways(findings: Findings) -> None:
    """At 390 pixels every page fits, long names and all; only tables scroll, each in its own place."""
    assert findings.wide == []


async def test_axe_would_find_something(people: Visits, axe: str) -> None:
    """The checks themselves work: a picture without words, grey on grey and a wide line are found."""
    page = await people.somebody()
    await page.set_content('<html lang="en"><title>t</title><main><h1>t</h1><img src="data:,">'
                           '<p style="color: #999; background: #aaa">grey words on grey</p></main>')  # fmt: skip
    found = " ".join(await violations(page, axe))
    assert "image-alt" in found
    assert "color-contrast" in found
    await page.set_viewport_size(PHONE)
    assert await too_wide(page) == []
    await page.set_content("<p style='width: 500px'>x</p>")
    assert await too_wide(page) != []


async def test_dark_is_dark(line: Line, people: Visits, learner: Learner) -> None:
    """Who prefers dark gets light letters on a dark ground, and the other way round."""
    light: dict[str, tuple[float, float]] = {}
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page = await people.signed_in(line, "octo-staff", color_scheme=scheme)
        await page.goto(line.pages)
        light[scheme] = tuple(
            await page.evaluate(
                """() => {
                    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
                    const light = (color) => {
                        canvas.fillStyle = color;
                        canvas.fillRect(0, 0, 1, 1);
                        const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
                        return (r + g + b) / 765;
                    };
                    const {backgroundColor} = getComputedStyle(document.documentElement);
                    const ground = /(, 0\\)|transparent)$/.test(backgroundColor)
                        ? getComputedStyle(document.body).backgroundColor : backgroundColor;
                    return [light(ground), light(getComputedStyle(document.querySelector('main p')).color)];
                }"""
            )
        )
    (day_ground, day_letters), (night_ground, night_letters) = light["light"], light["dark"]
    assert day_ground > 0.9
    assert day_letters < 0.5
    assert night_ground < 0.2
    assert night_letters > 0.5


async def test_an_answered_decision_is_still_accessible(
    line: Line, people: Visits, learner: Learner, axe: str, tmp_path: Path
) -> None:
    """After a click the page with its message and the way back has no violation either."""
    other = await enrol(line, LAB, tmp_path)
    await other.push({"report/r.md": "x"})
    page = await people.signed_in(line, "octo-staff")
    await page.goto(f"{line.pages}/sessions/{other.session_id}")
    await approve(page, "seen in class")
    await page.get_by_role("button", name="Undo").wait_for()
    assert await violations(page, axe) == []
