"""The audit's page: who sees it, what an address asks for, its pages and bars, hostile names, and its exports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from storage import audit
from storage.audit import AuditEvent
from storage.auditview import RejectionDay
from storage.database import Pool, open_pool
from storage.sealing import seal
from tests.support.bindings import ADA, LIN, a_repo, bind, install
from tests.support.browsing import signed_in
from tests.support.postgres import new_database
from web import routes
from web.audit_page import DAYS, PAGE_EVENTS, code_lines
from web.audit_query import AuditQuery, address, asked
from web.site import SignIn, Site

Client = TestClient[web.Request, web.Application]
HOSTILE = 'octo/"><script>alert(1)</script>{{7*7}}'
DELIVERY = uuid4()
#: Events that are only there so that there are several pages.
MANY = 2 * PAGE_EVENTS


def rejected(code: str, repo_id: int, name: str, **fields: Any) -> AuditEvent:
    """A rejection of a repository of LIN's."""
    return AuditEvent("rejected", code=code, repo_id=repo_id, repo_full_name=name, owner_id=LIN.account_id, **fields)


@pytest.fixture(scope="module")
def audit_dsn(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """A database that the tests of this module share; they only read."""
    with new_database(postgres_dsn, template_database) as dsn:
        yield dsn


async def fill(pool: Pool) -> None:
    """A bound session, rejections of today (one of them three times), decisions, and many events of one repository."""
    bound = await bind(pool)
    await install(pool, 72, LIN, a_repo(600, LIN, "Second-Try"))
    for _ in range(3):
        event = rejected("NO_SESSION", 600, "learner-two/second-try", delivery_id=DELIVERY, detail={"lab_id": 1})
        await pool.fetchval("SELECT count_rejection($1)", event.to_json())
    for event in (
        rejected("AMBIGUOUS", 601, HOSTILE),
        rejected("OWNER_CHANGED", 501, bound.repo.full_name, session_id=bound.session.session_id),
    ):
        await pool.fetchval("SELECT count_rejection($1)", event.to_json())
    await audit.record(
        pool,
        AuditEvent(
            "staff_defer",
            actor_id=ADA.account_id,
            repo_id=501,
            session_id=bound.session.session_id,
            detail={"reason": "<b>ill</b>"},
        ),
        *(AuditEvent("reinstalled", code="REINSTALLED", repo_id=900, repo_full_name="octo/many") for _ in range(MANY)),
    )
    await seal(pool)
    await audit.record(pool, AuditEvent("an_unknown_kind", code="A_NEW_CODE"))


@pytest.fixture
async def filled(audit_dsn: str) -> AsyncIterator[Pool]:
    """A pool on the filled database."""
    opened = await open_pool(audit_dsn)
    if not await opened.fetchval("SELECT count(*) FROM lab"):
        await fill(opened)
    yield opened
    await opened.close()


@pytest.fixture
async def client(filled: Pool, aiohttp_client: AiohttpClient) -> Client:
    """A browser of a member of staff."""
    client = await nobody_on(filled, aiohttp_client)
    signed_in(client, 900, "octo-staff", staff=True)
    return client


async def nobody_on(pool: Pool, aiohttp_client: AiohttpClient) -> Client:
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
        self.links: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Remember text, and that of links with where they lead."""
        self.words.append(data)
        tag, given = self.elements[-1] if self.elements else ("", {})
        if tag == "a":
            self.links[" ".join(data.split())] = str(given["href"])

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind that have these."""
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.words).split())

    @property
    def events(self) -> list[int]:
        """The ids of the events that are shown."""
        return [int(str(found["data-event"])) for found in self.all("tr") if "data-event" in found]

    @property
    def codes(self) -> list[str | None]:
        """The codes of the events that are shown."""
        return [found["data-code"] for found in self.all("tr") if "data-event" in found]


async def page_at(client: Client, path: str, status: int = 200) -> Page:
    """A page."""
    answer = await client.get(path, allow_redirects=False)
    assert answer.status == status, await answer.text()
    return Page(await answer.text())


PATHS = ("/audit", "/audit.csv", "/audit.jsonl", "/audit/1", "/audit/1/relink?session=x")


@pytest.mark.parametrize("path", PATHS)
async def test_only_staff_see_the_audit(path: str, filled: Pool, aiohttp_client: AiohttpClient) -> None:
    """Nobody is sent to sign in; a learner is told that this is for staff, and has no link to it."""
    client = await nobody_on(filled, aiohttp_client)
    answer = await client.get(path, allow_redirects=False)
    assert (answer.status, answer.headers["Location"].split("=")[0]) == (303, "/login?next")
    signed_in(client, ADA.account_id, "learner-one")
    page = await page_at(client, path, 403)
    assert "For staff" in page.text
    assert "Audit" not in page.links


async def test_relinking_from_elsewhere_is_refused(client: Client) -> None:
    """A form on another site's page changes nothing, whoever sends it; one of a learner neither."""
    answer = await client.post("/audit/2/relink", data={}, headers={"Origin": "https://evil.example.com"})
    assert answer.status == 403
    signed_in(client, ADA.account_id, "learner-one")
    assert (await client.post("/audit/2/relink", data={})).status == 403


async def test_the_newest_events_come_first(client: Client) -> None:
    """A page has PAGE_EVENTS lines; `Older` leads through all of them, once each, and `Newest` back."""
    page = await page_at(client, "/audit")
    seen = page.events
    assert (len(seen), page.all("a", rel="next") != []) == (PAGE_EVENTS, True)
    while page.all("a", rel="next"):
        page = await page_at(client, page.links["Older"])
        assert page.links["Newest"] == "/audit"
        seen += page.events
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) >= MANY + 5
    page = await page_at(client, "/audit?before=1")
    assert (page.events, "There is nothing older." in page.text) == ([], True)


@pytest.mark.parametrize(
    ("path", "codes"),
    [
        ("/audit?code=ambiguous", ["AMBIGUOUS"]),
        ("/audit?kind=rejected", ["OWNER_CHANGED", "AMBIGUOUS", "NO_SESSION"]),
        ("/audit?repository=600", ["NO_SESSION"]),
        ("/audit?repository=LEARNER-two/second-try", ["NO_SESSION"]),
        ("/audit?repository=https%3A%2F%2Fgithub.example.com%2Flearner-two%2FSecond-Try.git", ["NO_SESSION"]),
        ("/audit?repository=nobody/nothing", []),
        ("/audit?code=OWNER_CHANGED&kind=staff_defer", []),
        ("/audit?since=2001-01-01&until=2001-01-02", []),
    ],
)
async def test_filters(path: str, codes: list[str], client: Client) -> None:
    """Each filter leaves what fits it, and the form shows what was asked; an empty list says why and leads on."""
    page = await page_at(client, path)
    assert page.codes == codes
    assert "Left out" not in page.text
    if not codes:
        assert "No repository of this name is known." in page.text or "Nothing fits this filter." in page.text
    asked_for = asked({key: value for key, _, value in (part.partition("=") for part in path[7:].split("&"))}).query
    chosen = {str(field["value"]) for field in page.all("option") if "selected" in field and "value" in field}
    assert (asked_for.kind in chosen) or not asked_for.kind


async def test_days_are_whole(client: Client) -> None:
    """From today to today is all of today; until yesterday is nothing of it."""
    today = datetime.now(UTC).date()
    page = await page_at(client, f"/audit?kind=rejected&since={today}&until={today}")
    assert len(page.events) == 3
    assert page.all("input", name="since", value=str(today))
    assert (await page_at(client, f"/audit?kind=rejected&until={today - timedelta(days=1)}")).events == []


async def test_a_session_and_its_code(client: Client, filled: Pool) -> None:
    """The link of a session's page shows its events of the code, and the session's own page leads there."""
    session_id = await filled.fetchval("SELECT session_id FROM lab_session")
    page = await page_at(client, f"/audit?code=OWNER_CHANGED&session={session_id}")
    assert page.codes == ["OWNER_CHANGED"]
    session = await page_at(client, f"/sessions/{session_id}")
    links = {link["href"] for link in session.all("a")}
    assert {f"/audit?code=OWNER_CHANGED&session={session_id}", f"/audit?session={session_id}"} <= links


async def test_what_is_not_understood_is_named(client: Client) -> None:
    """A filter that cannot be is left out by name; an export, which could not say so, is refused."""
    nonsense = "code=%3Cb%3E&kind=9&repository=a/b/c&session=x&since=tomorrow&until=0001-01-01&before=-1"
    page = await page_at(client, f"/audit?{nonsense}")
    assert "Left out, because it was not understood: code, kind, repository, session, since, until, before" in page.text
    assert len(page.events) == PAGE_EVENTS
    answer = await client.get(f"/audit.csv?{nonsense}")
    assert (answer.status, (await answer.text()).startswith("Not understood: code, kind")) == (400, True)


async def test_each_code_has_its_panel(client: Client) -> None:
    """A chosen code is explained: what it means, what the learner sees, what to do; unknown ones are names."""
    page = await page_at(client, "/audit?code=AMBIGUOUS")
    assert "Several sessions of the lab fit this repository equally well." in page.text
    assert 'A check-run that asks for action: "Several sessions fit this repository".' in page.text
    page = await page_at(client, "/audit?code=A_NEW_CODE")
    assert (page.codes, "What it means" in page.text) == (["A_NEW_CODE"], False)


async def test_what_is_not_judged_is_counted_by_day(client: Client) -> None:
    """Each code has its number of today and of all days, as figures and as bars; one repository's page has not."""
    page = await page_at(client, "/audit")
    assert "5 deliveries not judged today." in page.text
    (picture,) = [found for found in page.all("svg") if str(found["aria-label"]).startswith("3 on")]
    assert picture["aria-label"] == f"3 on {datetime.now(UTC).date()}"
    assert page.all("a", href="/audit?code=NO_SESSION")
    assert page.all("svg")
    assert not (await page_at(client, "/audit?repository=600")).all("svg")


async def test_the_chain_is_shown(client: Client) -> None:
    """How far the audit is sealed, the newest root and how much is not sealed yet."""
    text = (await page_at(client, "/audit")).text
    assert "Sealed up to" in text
    assert "Not sealed yet 1 event" in text


async def test_names_of_strangers_are_text(client: Client) -> None:
    """A hostile repository's name and a reason with tags are words on every page, and lead nowhere else."""
    page = await page_at(client, "/audit?kind=rejected")
    assert HOSTILE in page.text
    assert page.all("script", src="/static/live.js")
    assert [found for found in page.all("script") if "src" not in found] == []
    event = next(number for number, code in zip(page.events, page.codes, strict=True) if code == "AMBIGUOUS")
    page = await page_at(client, f"/audit/{event}")
    assert HOSTILE in page.text
    assert all(str(link["href"]).startswith(("/", "#", "https://github.example.com/")) for link in page.all("a"))
    page = await page_at(client, "/audit?kind=staff_defer")
    assert "Paused the session (<b>ill</b>) repository 501" in page.text
    assert "Staff paused a session." in page.text


async def test_an_event_tells_all_that_it_holds(client: Client, filled: Pool) -> None:
    """An event's page has its fields, its delivery, its command filled in; one that is none is not found."""
    (number,) = (await page_at(client, "/audit?code=NO_SESSION")).events
    page = await page_at(client, f"/audit/{number}")
    assert "It happened 3 times that day" in page.text
    assert "learner-two (102)" in page.text
    assert "python app.py labs invite closures learner-two" in page.text
    assert "It is not kept any more. GitHub's own log of deliveries has it for some days" in page.text
    await filled.execute(
        "INSERT INTO delivery (guid, event, lane_id, payload, state, outcome, finished_at) "
        "VALUES ($1, 'push', 'repo:600', 'x', 'done', 'NO_SESSION', now())", DELIVERY
    )  # fmt: skip
    page = await page_at(client, f"/audit/{number}")
    assert "done: NO_SESSION" in page.text
    assert "kept" in page.text
    for path in ("/audit/0", "/audit/999999999999999999", "/audit/x"):
        assert "Nothing here" in (await page_at(client, path, 404)).text


async def test_a_spreadsheet_gets_what_the_page_shows(client: Client) -> None:
    """The CSV has a heading and a record for each event that fits, oldest first, and marks its encoding."""
    answer = await client.get("/audit.csv?kind=rejected")
    text = (await answer.read()).decode("utf-8")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="audit.csv"'
    assert answer.content_type == "text/csv"
    assert text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text[1:])))
    assert [row["code"] for row in rows] == ["NO_SESSION", "AMBIGUOUS", "OWNER_CHANGED"]
    assert (rows[0]["count"], rows[1]["repo_full_name"]) == ("3", HOSTILE)


async def test_a_script_gets_every_event(client: Client) -> None:
    """JSON Lines are all events without a filter; of a name that nobody has, none; HEAD sends no body."""
    lines = (await (await client.get("/audit.jsonl")).text()).splitlines()
    events = [json.loads(line)["event_id"] for line in lines]
    assert events == sorted(set(events))
    assert len(events) >= MANY + 6
    assert await (await client.get("/audit.jsonl?repository=nobody/nothing")).text() == ""
    answer = await client.head("/audit.csv")
    assert (answer.status, await answer.read()) == (200, b"")


# ----------------------------------------------------------------------------------------------------- pure functions


def test_a_query_and_its_address_are_one() -> None:
    """What an address asks for has that address, whatever part of it is given."""
    query = AuditQuery("NO_SESSION", "rejected", "octo/lab", UUID(int=7), date(2026, 3, 4), date(2026, 3, 5), before=17)
    assert address(query) == (
        "/audit?code=NO_SESSION&kind=rejected&repository=octo/lab&session=00000000-0000-0000-0000-000000000007"
        "&since=2026-03-04&until=2026-03-05&before=17"
    )
    for each in (query, AuditQuery(), replace(query, repository="600", before=None)):
        values = dict(part.split("=") for part in address(each).partition("?")[2].split("&") if part)
        assert asked(values).query == each
        assert asked(values).refused == ()


@pytest.mark.parametrize("text", ["", "0", "9" * 19, "-1", "a/b/c", "a/", "/b", "a b/c", "http://[", "\u0661", "a/é"])
def test_no_repository(text: str) -> None:
    """What is neither a number, nor owner/name, nor an address of a repository is refused; nothing is no filter."""
    found = asked({"repository": text})
    assert (found.query.repository, found.refused) == ("", ("repository",) if text else ())


def test_bars_have_one_scale() -> None:
    """The tallest bar is the largest day of all codes, a small number is still seen, a day without has none."""
    today = date(2026, 3, 14)
    found = [
        RejectionDay("TAG", today, 1, 1),
        RejectionDay("NO_SESSION", today - timedelta(days=DAYS - 1), 1000, 3),
        RejectionDay("NO_SESSION", today, 500, 3),
    ]
    first, second = code_lines(AuditQuery(code="TAG"), found, today)
    assert (first.code, first.total, first.today, first.chosen) == ("NO_SESSION", 1500, 500, False)
    assert [bar.height for bar in first.bars] == [28, *[0] * (DAYS - 2), 14]
    assert first.bars[-1].y == 14
    assert first.told == "1000 on 2026-03-01, 500 on 2026-03-14"
    assert (second.bars[-1].height, second.chosen, second.link) == (2, True, "/audit")
