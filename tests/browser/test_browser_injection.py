"""Whatever learners and authors write is text on our pages: never an element, a script, or a line of the console."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.support.browser_steps import approve, live
from tests.support.browsers import Visits
from tests.support.learners import enrol, lab_file, open_lab
from tests.support.line import Line

pytestmark = pytest.mark.asyncio(loop_scope="session")

LAB = "hostile"


def evil(place: str) -> str:
    """Markup that would show itself, with the place that it was written into."""
    return f"{place}\"'><x-evil></x-evil><script>alert(1)</script><img src=x onerror=alert(2)>&lt;{{{{7*7}}}}</title>"


STEPS = lab_file(
    {
        "files": ["report/**"],
        "complete": {"type": "approval"},
        "title": evil("step-title"),
        "description": evil("description"),
        "hints": [evil("hint"), "[a link](javascript:alert(3)) ![x](x)"],
    },
    {"files": ["src/**"], "needs": ["s1"], "complete": {"type": "exists", "paths": ["src/a.js"]}},
    title=evil("lab-title"),
)
FILE = "src/file-name\"'><img src=x onerror=alert(4)><x-evil>.js"
BRANCH = "branch-name\"'><img/src=x/onerror=alert(5)><x-evil>"
LOGIN = 'login"><x-evil><img src=x onerror=alert(6)>'

#: What must not be on a page: elements that only our texts could have made, handlers, scripts that are not ours.
FOREIGN = """() => [
    ...document.querySelectorAll('x-evil, img, iframe, object, embed, base, meta[http-equiv], main style, main script'),
    ...[...document.scripts].filter((each) => !/^\\/static\\/\\w+\\.js$/.test(each.getAttribute('src'))),
    ...[...document.querySelectorAll('*')].filter((each) =>
        [...each.attributes].some(({name, value}) => /^on|^style$/i.test(name) || /^\\s*javascript:/i.test(value))),
].map((each) => each.outerHTML.slice(0, 200))"""


async def harmless(page: Page, *places: str) -> None:
    """The page shows what was written at these places as it was written, and has no element of it."""
    text = await page.evaluate("() => document.body.textContent")
    for place in places:
        assert (FILE if place == "file-name" else evil(place)) in text, place
    assert await page.evaluate(FOREIGN) == []


async def test_hostile_words_stay_words(line: Line, people: Visits, tmp_path: Path) -> None:
    """Titles, hints, files, branches, logins, words and reasons, as they are shown at once and as they arrive live."""
    await open_lab(line, LAB, {".forgea/steps.json": STEPS, "README.md": "A lab."})
    learner = await enrol(line, LAB, tmp_path)
    login = learner.fork.partition("/")[0]
    staff, own = await people.signed_in(line, "octo-staff"), await people.signed_in(line, login)
    for page, address in ((staff, f"/?lab={LAB}"), (own, f"/sessions/{learner.session_id}")):
        await page.goto(line.pages + address)
        await live(page)

    for content in "123":
        await learner.push({FILE: content})
    await learner.push({"report/r.md": "x", FILE: None})
    await learner.push({FILE: "4"})
    await learner.clone.git("checkout", "--quiet", "-b", BRANCH)
    await learner.push({"notes.md": "x"})
    await expect(own.get_by_text(BRANCH).first).to_be_visible()
    await own.get_by_label("What are you stuck with?").fill(evil("help"))
    await own.get_by_role("button", name="I need help").click()
    await harmless(own, "lab-title", "step-title", "hint", "help", "file-name")
    await expect(staff.get_by_text("help\"'>").first).to_be_visible()
    await harmless(staff, "lab-title", "help")

    await line.pool.execute("UPDATE github_account SET login = $2 WHERE login = $1", login, LOGIN)
    await staff.goto(f"{line.pages}/?q=%22%3E%3Cx-evil%3E%3Cimg%20src%3Dx%20onerror%3Dalert(7)%3E")
    await expect(staff.get_by_label("Login or repository")).to_have_value('"><x-evil><img src=x onerror=alert(7)>')
    await harmless(staff)
    await staff.goto(f"{line.pages}/sessions/{learner.session_id}")
    await harmless(staff, "lab-title", "step-title", "hint", "help", "file-name")
    await approve(staff, evil("reason"))
    await expect(staff.get_by_role("button", name="Undo")).to_be_visible()
    await harmless(staff, "lab-title", "step-title", "reason", "file-name")
    assert LOGIN in await staff.evaluate("() => document.body.textContent")


async def test_hostile_addresses_make_nothing(line: Line, people: Visits) -> None:
    """Nothing of an address becomes markup or a place to be sent to, before and after signing in."""
    await line.settle()
    marks = "%22%3E%3Cx-evil%3E%3Cscript%3Ealert(8)%3C/script%3E"
    for page in (await people.somebody(), await people.signed_in(line, "octo-staff")):
        for path in (
            f"/join/{marks}", f"/installed?setup_action={marks}&state={marks}&installation_id={marks}",
            f"/{marks}", f"/auth/callback?error={marks}&error_description={marks}&state={marks}", f"/sessions/{marks}",
        ):  # fmt: skip
            await page.goto(line.pages + path)
            assert await page.evaluate(FOREIGN) == [], path
    page = await people.signed_in(line, "octo-staff")
    for path in (f"/?state={marks}&order={marks}&lab={marks}&page={marks}&idle={marks}", f"/signed-out?done={marks}"):
        await page.goto(line.pages + path)
        assert await page.evaluate(FOREIGN) == [], path


async def test_pages_take_no_script_of_others(line: Line, people: Visits) -> None:
    """Where markup got in by a mistake of ours all the same, the page's policy keeps it from running."""
    page = await people.somebody()
    await page.goto(f"{line.pages}/signed-out")
    await page.evaluate(
        """() => {
            window.ran = [];
            window.refused = [];
            addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective));
            const add = (tag, attributes, text) => {
                const element = document.createElement(tag);
                for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
                element.textContent = text;
                document.body.append(element);
            };
            add('script', {}, 'ran.push(1)');
            add('img', {src: 'data:,', onerror: 'ran.push(2)'}, '');
            add('style', {}, 'body { display: none }');
            add('script', {src: 'https://stepgate.example.com/x.js'}, '');
        }"""
    )
    await page.wait_for_function("() => refused.length >= 4")
    assert await page.evaluate("() => ran") == []
    assert set(await page.evaluate("() => refused")) >= {"script-src-elem", "img-src", "style-src-elem"}
    assert all("Content Security Policy" in each for each in people.complaints)
    people.complaints.clear()
