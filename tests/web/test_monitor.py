"""The class page: who sees what, what an address asks for, hostile names, and the rows to take away."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from rules.model import Outcome, SessionStatus
from storage import classroom
from storage.classroom import NEEDS, ClassPage, ClassRow, Group, Order, Query
from storage.database import Pool, open_pool
from tests.support.browsing import signed_in
from tests.support.classes import fill_class
from tests.support.postgres import new_database
from web import monitor, routes
from web.look import ago
from web.monitor_page import COLUMNS, GROUP_WORDS, csv_text, harmless_cell, line, summary
from web.monitor_query import address, asked
from web.site import SignIn, Site

Client = TestClient[web.Request, web.Application]
SESSIONS = 120
LABS = ("closures", "hooks")
AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)> & {{ 7*7 }} \u202e javascript:alert(3)'
ROW = ClassRow(
    session_id=uuid4(),
    lab_slug="closures",
    lab_title="React closures",
    login="learner-one",
    account_id=101,
    group=Group.PROGRESS,
    status=SessionStatus.IN_PROGRESS,
    deferred_by=None,
    help_at=None,
    help_words=None,
    steps_done=1,
    steps_total=3,
    step_title="Step two",
    waiting_for=(),
    pushed_at=AT,
    since=AT,
    verdict=Outcome.BLOCKED,
    codes=("OUT_OF_ORDER",),
    reason=None,
    blocked_in_row=1,
    expires_at=None,
    repo_full_name="learner-one/lab",
)


@pytest.fixture(scope="module")
def class_dsn(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """A database that the tests of this module share; they only read."""
    with new_database(postgres_dsn, template_database) as dsn:
        yield dsn


@pytest.fixture
async def filled(class_dsn: str) -> AsyncIterator[Pool]:
    """A pool on a class of SESSIONS sessions over two labs and two invitations that wait."""
    opened = await open_pool(class_dsn)
    if not await opened.fetchval("SELECT count(*) FROM lab"):
        await fill_class(opened, SESSIONS, invited=2, slugs=LABS)
    yield opened
    await opened.close()


@pytest.fixture
async def client(filled: Pool, aiohttp_client: AiohttpClient) -> Client:
    """A browser of nobody yet."""
    return await client_on(filled, aiohttp_client)


async def client_on(pool: Any, aiohttp_client: AiohttpClient) -> Client:
    """A browser before the pages on a pool."""
    app = web.Application()
    site = Site(
        pool,
        web_url="https://github.example.com",
        public_url="http://127.0.0.1:8000",
        sign_in=SignIn("id", "secret", "k" * 32, "https://api.github.example.com"),
        staff=frozenset({900}),
    )
    routes.add_routes(app, site)
    return await aiohttp_client(app)


class Page(HTMLParser):
    """Elements with their attributes, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Remember text."""
        self.words.append(data)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind that have these."""
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.words).split())

    @property
    def rows(self) -> list[str | None]:
        """The keys of the table's rows."""
        return [found["data-key"] for found in self.all("tr") if "data-key" in found]


async def page_at(client: Client, path: str = "/", status: int = 200) -> Page:
    """A page."""
    answer = await client.get(path, allow_redirects=False)
    assert answer.status == status, await answer.text()
    return Page(await answer.text())


async def test_nobody_is_sent_to_sign_in(client: Client) -> None:
    """Without a visitor there is no page; a script that has the page open is told so, without a redirect."""
    answer = await client.get("/", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/login")
    assert (await client.get("/", headers={"X-Fragment": "1"}, allow_redirects=False)).status == 401
    answer = await client.get("/class.csv", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/login?next=/class.csv")


async def test_staff_see_the_class(client: Client) -> None:
    """A page has 50 rows, each with a link to its session; the sentence and the counts are of all."""
    signed_in(client, 900, "octo-staff", staff=True)
    page = await page_at(client)
    assert len(page.rows) == len(set(page.rows)) == 50
    assert len({link["href"] for link in page.all("a") if str(link["href"]).startswith("/sessions/")}) == 50
    assert f"{SESSIONS + 2} in all, {SESSIONS} started, 12 finished. 12 asked for help, 12 are stuck" in page.text
    assert page.all("caption")
    assert [cell.get("scope") for cell in page.all("th")] == ["col"] * len(COLUMNS) + ["row"] * 50
    assert len(page.all("h1")) == 1


async def test_pages_lead_on_and_back(client: Client) -> None:
    """Every row is on one of the pages that the links lead to; a page that is no more shows the first, and says so."""
    signed_in(client, 900, "octo-staff", staff=True)
    keys: list[str | None] = []
    path: str | None = "/?sort=learner"
    while path:
        page = await page_at(client, path)
        keys += page.rows
        path = next((link["href"] for link in page.all("a", rel="next")), None)
    assert len(keys) == len(set(keys)) == SESSIONS + 2
    assert page.all("a", rel="prev")
    page = await page_at(client, "/?page=99")
    assert "Left out, because it was not understood: page." in page.text
    assert len(page.rows) == 50


async def test_every_link_of_the_page_is_a_page(client: Client) -> None:
    """Headings, counts and pages lead to pages that understand their own address."""
    signed_in(client, 900, "octo-staff", staff=True)
    links = {str(link["href"]) for link in (await page_at(client, "/?lab=hooks&q=learner")).all("a")}
    own = {link for link in links if link.startswith("/?")}
    assert len(own) >= len(COLUMNS)
    for link in own:
        page = await page_at(client, link)
        assert "Left out" not in page.text
        assert "lab=hooks" in link


async def test_headings_say_how_the_table_is_sorted(client: Client) -> None:
    """The heading of the order carries aria-sort, and turns it round; the others begin as suits them."""
    signed_in(client, 900, "octo-staff", staff=True)
    page = await page_at(client, "/?sort=learner")
    assert [cell["aria-sort"] for cell in page.all("th") if "aria-sort" in cell] == ["ascending"]
    hrefs = [link["href"] for link in page.all("a")]
    assert "/?sort=-learner" in hrefs
    assert "/?sort=-pushed" in hrefs
    assert "/?sort=lab" in hrefs
    page = await page_at(client, "/?sort=-learner")
    assert [cell["aria-sort"] for cell in page.all("th") if "aria-sort" in cell] == ["descending"]


async def test_filters_of_the_form(client: Client) -> None:
    """What the form sends is what is shown, and stands in the form again; an empty result says so."""
    signed_in(client, 900, "octo-staff", staff=True)
    page = await page_at(client, "/?lab=hooks&state=stuck&idle=&q=learner-1&sort=")
    assert page.rows == []
    assert "Nobody fits this filter." in page.text
    page = await page_at(client, "/?lab=closures&state=stuck&idle=&q=learner-1&sort=-pushed")
    assert len(page.rows) == 3  # 12, 102, 112
    assert {option["value"] for option in page.all("option") if "selected" in option} == {"closures", "stuck"}
    assert page.all("input", name="q", value="learner-1")
    assert page.all("input", type="hidden", name="sort", value="-pushed")
    fields = [field for field in [*page.all("input"), *page.all("select")] if field.get("type") != "hidden"]
    assert all(page.all("label", **{"for": str(field["id"])}) for field in fields)
    assert "Where the class stands" in page.text


async def test_a_learner_sees_their_own_and_nothing_else(client: Client) -> None:
    """A learner's page has their session and no other name; the class, as page, export or stream, is staff's."""
    signed_in(client, 100_007, "learner-7")
    page = await page_at(client)
    assert re.findall(r"learner-\d+", page.text.replace("learner-7", "")) == []
    assert len([link for link in page.all("a") if str(link["href"]).startswith("/sessions/")]) == 1
    for path in ("/class.csv", "/events"):
        assert (await client.get(path)).status == 403
    signed_in(client, 555, "learner-new")
    assert "You have not started a lab yet." in (await page_at(client)).text


async def test_the_export_has_all_rows_of_the_filter(client: Client) -> None:
    """The file has every page's rows, under a name, as UTF-8 that spreadsheets recognise."""
    signed_in(client, 900, "octo-staff", staff=True)
    answer = await client.get("/class.csv?lab=closures&sort=learner&page=2")
    text = (await answer.read()).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert (answer.content_type, answer.headers["Content-Disposition"]) == (
        "text/csv",
        'attachment; filename="class.csv"',
    )
    assert len(rows) == SESSIONS / 2 + 2
    assert {row["lab"] for row in rows} == {"closures"}
    assert {row["state"] for row in rows} >= {"stuck", "not started"}
    assert (await client.get("/class.csv?state=finished&lab=closures")).status == 200


async def test_an_export_is_never_a_part(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than an export holds are refused with what to do, rather than cut."""
    monkeypatch.setattr(monitor, "EXPORT_ROWS", 10)
    signed_in(client, 900, "octo-staff", staff=True)
    answer = await client.get("/class.csv")
    assert answer.status == 413
    assert "filter first" in await answer.text()


async def test_hostile_names_stay_text(aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, titles and words of strangers, in rows or in the address, are text on the page and make no element."""
    row = replace(
        ROW, login=HOSTILE, lab_title=HOSTILE, repo_full_name=HOSTILE, step_title=HOSTILE, help_words=HOSTILE,
        group=Group.HELP, codes=(HOSTILE,), waiting_for=(HOSTILE,),
    )  # fmt: skip

    async def page(*_: object, **__: object) -> ClassPage:
        return ClassPage((row, replace(row, session_id=None)), 2)

    async def nothing(*_: object) -> Any:
        return dict.fromkeys(Group, 0)

    async def names(_: object) -> Any:
        return {"closures": HOSTILE}

    monkeypatch.setattr(classroom, "class_page", page)
    monkeypatch.setattr(classroom, "class_counts", nothing)
    monkeypatch.setattr(classroom, "lab_names", names)
    client = await client_on(None, aiohttp_client)
    signed_in(client, 900, "octo-staff", staff=True)
    for found in (
        await page_at(client),
        await page_at(client, "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&lab=%3Cb%3E"),
    ):
        assert found.text.count("alert(1)") >= 4
        assert all(str(script.get("src", "")).startswith("/static/") for script in found.all("script"))
        assert not found.all("img")
        assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
        assert "49" not in found.text
    signed_in(client, 101, HOSTILE[:30])
    assert not (await page_at(client)).all("img")


@pytest.mark.parametrize(
    ("text", "query", "refused"),
    [
        ("", Query(), ()),
        ("lab=closures", Query(lab="closures"), ()),
        ("lab=none", Query(), ("lab",)),
        ("state=needs-me", Query(groups=NEEDS), ()),
        ("state=stuck", Query(groups=(Group.STUCK,)), ()),
        ("state=x", Query(), ("state",)),
        ("sort=-blocked", Query(order=Order.BLOCKED, descending=True), ()),
        ("sort=--blocked", Query(), ("sort",)),
        ("idle=48", Query(idle_hours=48), ()),
        ("idle=-1&page=0", Query(), ("idle",)),
        ("idle=1e9", Query(), ("idle",)),
        ("idle=99999999999999999999", Query(), ("idle",)),
        ("page=\u0663", Query(), ("page",)),
        ("page=3", Query(page=3), ()),
        ("q=%20Ada%20", Query(search="Ada"), ()),
        ("q=" + "x" * 5000, Query(search="x" * 100), ()),
        ("q=%00", Query(search="\0"), ()),
        ("other=1", Query(), ()),
    ],
)
def test_what_an_address_asks_for(text: str, query: Query, refused: tuple[str, ...]) -> None:
    """Each part of an address is understood or named as left out; none is an error."""
    from yarl import URL

    found = asked(URL(f"/?{text}").query, LABS)
    assert (found.query, found.refused) == (query, refused)
    assert asked(URL(address(found.query)).query, LABS).query == found.query


async def test_any_search_is_answered(client: Client) -> None:
    """Characters that the database cannot store, or that mean something elsewhere, find nothing and break nothing."""
    signed_in(client, 900, "octo-staff", staff=True)
    for text in ("%00", "%ed%a0%80", "%25", "_", "'", "%5c", "%F0%9F%90%BB"):
        assert (await page_at(client, f"/?q={text}")).rows == []


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\uff1d1"])
def test_no_cell_is_a_formula(text: str) -> None:
    """A text that a spreadsheet would compute is marked as text; other texts and numbers stay as they are."""
    assert harmless_cell(text) == f"'{text}"
    (row,) = csv.DictReader(io.StringIO(csv_text([replace(ROW, step_title=text)]), newline=""))
    assert row["step"] == f"'{text}"
    assert [harmless_cell(value) for value in ("a=1", "", -1, None)] == ["a=1", "", -1, None]


def test_rows_in_words() -> None:
    """What is in the way is told in words: what blocked, what is waited for, who paused, what could not be verified."""

    def told(**changes: Any) -> tuple[str, str, str]:
        found = line(replace(ROW, **changes), "https://github.example.com")
        return found.state, found.more, found.why

    assert told() == ("in progress", "", "a file of a later step")
    assert told(codes=("OUT_OF_ORDER", "PROTECTED_PATH"))[2] == "a file of a later step, a file of the lab itself"
    assert told(group=Group.APPROVAL, waiting_for=("approval by staff",))[:2] == ("waits for you", "approval by staff")
    assert told(group=Group.PAUSED, deferred_by="installation")[1] == "the App cannot see the repository"
    assert told(group=Group.HELP, help_words="lost")[:2] == ("asked for help", "lost")
    assert told(verdict=Outcome.CANNOT_VERIFY, reason="TOO_LARGE")[2] == "the repository is too large to be judged"
    assert told(verdict=Outcome.CANNOT_VERIFY, reason="NEW")[2] == "the reason is in the log"
    assert line(ROW, "https://github.example.com").repository_url == "https://github.example.com/learner-one/lab"
    assert set(GROUP_WORDS) == set(Group)


def test_the_class_in_a_sentence() -> None:
    """The sentence that is read out when the page changes names those who wait, or that nobody does."""
    counts = dict.fromkeys(Group, 0) | {Group.PROGRESS: 2, Group.NOT_STARTED: 1, Group.FINISHED: 1}
    assert summary(counts) == "4 in all, 3 started, 1 finished. Nobody waits for you."
    counts |= {Group.HELP: 1, Group.APPROVAL: 1}
    assert summary(counts) == "6 in all, 5 started, 1 finished. 1 asked for help, 1 is waiting for you."


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3600, "1 h ago"),
        (172_799, "47 h ago"),
        (172_800, "2 days ago"),
    ],
)
def test_how_long_ago(seconds: int, words: str) -> None:
    """A time is told in one unit, rounded down."""
    assert ago(AT - timedelta(seconds=seconds), AT) == words


async def test_what_pages_load_is_there(client: Client) -> None:
    """Every file that the page names is ours, of its type, and asked for anew by the browser after a release."""
    signed_in(client, 900, "octo-staff", staff=True)
    page = await page_at(client)
    files = [link["href"] for link in page.all("link")] + [script["src"] for script in page.all("script")]
    assert len(files) == 5
    kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for name in files:
        answer = await client.get(str(name))
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "public, no-cache")
        assert answer.content_type == kinds[str(name).rpartition(".")[2]]
        again = await client.get(str(name), headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
