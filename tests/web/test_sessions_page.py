"""The page of a session: what it tells, whom it tells it, and that hostile names stay text."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from rules.model import (
    Account,
    AccountKind,
    Changed,
    ChangeKind,
    Gain,
    Loss,
    Outcome,
    Session,
    SessionStatus,
    Step,
    Violation,
    ViolationCode,
)
from storage.audit import AuditEvent, RecordedEvent
from storage.session_history import History
from storage.views import AttemptView, Notice, SessionView, StepView
from tests.support.browsing import signed_in
from web import routes, session_actions, sessions
from web.session_lines import NOTICE_WORDS
from web.session_page import page_of
from web.site import Site

SESSION_ID = UUID("3f2b1c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d")
AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SHA = "5f1d2c3b4a59687706152433425160af5f1d2c3b"
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)> & {{ 7*7 }} \u202e javascript:alert(3)'


def step(ident: str, title: str, *, optional: bool = False) -> Step:
    """A step of which only words matter here."""
    return Step(id=ident, title=title, files=("**",), needs=(), complete=Changed(), optional=optional)


def attempt(number: int, verdict: Outcome, *violations: Violation) -> AttemptView:
    """A row of the ledger."""
    return AttemptView(
        attempt_id=number,
        created_at=AT + timedelta(minutes=number),
        trigger="push",
        ref="refs/heads/main",
        before_sha=None,
        after_sha=f"{number:040x}",
        forced=False,
        sender_id=11,
        version_number=2,
        accepted_before=None,
        verdict=verdict,
        violations=violations,
        violations_total=len(violations),
        gains=(),
        losses=(),
        reason=None,
        detail=None,
        check_run_id=None,
    )


EARLY = Violation(
    ViolationCode.OUT_OF_ORDER, "block", "src/cli.js", ChangeKind.ADDED, owners=("command",), missing=("fix",)
)
CHEAT = Violation(ViolationCode.PROTECTED_PATH, "block", "tests/a b.js", ChangeKind.MODIFIED)
NEAR = Violation(ViolationCode.UNMAPPED_PATH, "warn", "Src/cli.js", ChangeKind.ADDED, suggestion="src/cli.js")


def session_view(**changes: object) -> SessionView:
    """A session with one step done, one reopened, one locked, and some pushes."""
    view = SessionView(
        session=Session(
            session_id=SESSION_ID,
            lab_id=1,
            lab_version_id=2,
            learner_account_id=11,
            status=SessionStatus.IN_PROGRESS,
            epoch=1,
            accepted_sha=None,
            head_sha=None,
            started_at=AT,
        ),
        lab_slug="word-counter",
        lab_title="The word counter",
        version_number=2,
        learner=Account(11, "learner-one", AccountKind.USER),
        repo_full_name="learner-one/word-counter-lab",
        last_activity_at=AT + timedelta(minutes=9),
        completed_at=None,
        steps=(
            StepView(step("report", "Describe"), "completed", (), completed_at=AT, commit_sha=SHA),
            StepView(step("fix", "Fix"), "reopened", (), reopened_at=AT),
            StepView(step("command", "Command"), None, ("fix",)),
            StepView(step("frequent", "More", optional=True), None, ("fix",)),
        ),
        attempts=(
            attempt(4, Outcome.PREVIEW, CHEAT),
            attempt(3, Outcome.BLOCKED, EARLY, CHEAT),
            replace(attempt(2, Outcome.ACCEPTED, NEAR), gains=(Gain("report", SHA),), losses=(Loss("fix", "STAFF"),)),
            replace(attempt(1, Outcome.CANNOT_VERIFY), reason="TOO_LARGE"),
        ),
        notices=(Notice("TAG", date(2026, 3, 4), 3, AT, "refs/tags/v1"),),
    )
    return replace(view, **changes)  # type: ignore[arg-type]


KNOWN: dict[UUID, SessionView] = {}
HISTORY: list[History] = []
STAFF = 900


@pytest.fixture(autouse=True)
def _known_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    async def find(_pool: object, session_id: UUID, *, before: int | None = None) -> SessionView | None:
        return KNOWN.get(session_id)

    async def told(_pool: object, _session: Session, **_between: object) -> History:
        return HISTORY[-1]

    KNOWN.clear()
    HISTORY[:] = [History()]
    monkeypatch.setattr(sessions, "session_view", find)
    monkeypatch.setattr(sessions, "history", told)


async def client_of(
    aiohttp_client: AiohttpClient, view: SessionView | None, who: int | None = STAFF
) -> TestClient[web.Request, web.Application]:
    """A browser of somebody (None: not signed in), before an application that knows this one session."""
    if view is not None:
        KNOWN[SESSION_ID] = view
    app = web.Application()
    no_pool: Any = None
    site = Site(
        no_pool,
        web_url="https://github.example.com",
        public_url="http://127.0.0.1:8000",
        staff=frozenset({STAFF}),
    )
    routes.add_routes(app, site)
    client = await aiohttp_client(app)
    if who is not None:
        signed_in(client, who, f"account-{who}", staff=who == STAFF)
    return client


class Page(HTMLParser):
    """What a browser would see: elements, attributes, and the text outside of tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember an element."""
        self.elements.append((tag, dict(attrs)))
        self.words.append(" " if tag in ("td", "th", "dd", "dt") else "")

    def handle_data(self, data: str) -> None:
        """Remember text."""
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of this kind."""
        return [attributes for name, attributes in self.elements if name == tag]


async def show(aiohttp_client: AiohttpClient, view: SessionView, who: int | None = STAFF) -> tuple[Page, str]:
    """The page of a session as somebody sees it, parsed, and its words with white space made single."""
    client = await client_of(aiohttp_client, view, who)
    answer = await client.get(f"/sessions/{SESSION_ID}")
    assert answer.status == 200
    assert answer.content_type == "text/html"
    page = Page(await answer.text())
    return page, " ".join("".join(page.words).split())


async def test_the_page_tells_steps_and_states(aiohttp_client: AiohttpClient) -> None:
    """Each step has its state in words, since when it is complete, and what it waits for."""
    page, words = await show(aiohttp_client, session_view())

    rows = {row["data-step"]: row["data-state"] for row in page.all("tr") if "data-step" in row}
    assert rows == {"report": "done", "fix": "open", "command": "locked", "frequent": "locked"}
    assert "1 of 3 complete, 0 of 1 optional" in words
    assert "1. Describe complete 2026-03-04 05:06:07" in words
    assert "2. Fix open (was complete before)" in words
    assert "3. Command after 2. Fix" in words
    assert "4. More (optional)" in words


async def test_the_page_tells_file_step_and_why(aiohttp_client: AiohttpClient) -> None:
    """A blocked push names each file, its step, and the reason; at the top as long as it is the newest."""
    page, words = await show(aiohttp_client, session_view())

    assert "What is in the way now" in words
    assert "src/cli.js 3. Command complete step 2 first" in words
    assert "tests/a b.js the lab itself only the lab changes this file" in words
    assert "Src/cli.js none no step uses this file; did you mean src/cli.js?" in words
    verdicts = [(row["data-verdict"], row["data-codes"]) for row in page.all("tr") if "data-attempt" in row]
    assert verdicts == [
        ("preview", "PROTECTED_PATH"),
        ("blocked", "OUT_OF_ORDER PROTECTED_PATH"),
        ("accepted", "UNMAPPED_PATH"),
        ("cannot_verify", ""),
    ]


async def test_gains_losses_and_reasons_are_told(aiohttp_client: AiohttpClient) -> None:
    """What a push completed and reopened, and why one could not be verified, stands in its row."""
    _, words = await show(aiohttp_client, session_view())

    assert "Completed: 1. Describe" in words
    assert "Reopened: 2. Fix" in words
    assert "accepted, with warnings" in words
    assert "could not be verified: the repository is too large to be judged" in words
    assert "2026-03-04 tags/v1 a tag was pushed; only branches are judged TAG 3" in words


async def test_an_accepted_push_clears_the_way(aiohttp_client: AiohttpClient) -> None:
    """Nothing is in the way when the newest judged push of the lab's branch was accepted."""
    view = session_view(attempts=(attempt(5, Outcome.ACCEPTED), attempt(3, Outcome.BLOCKED, EARLY)))

    _, words = await show(aiohttp_client, view)

    assert "What is in the way now" not in words


async def test_links_lead_to_github(aiohttp_client: AiohttpClient) -> None:
    """The repository and its commits are linked; no other address is."""
    page, _ = await show(aiohttp_client, session_view())

    repository = "https://github.example.com/learner-one/word-counter-lab"
    links = {link["href"] for link in page.all("a")}
    assert {repository, f"{repository}/commit/{SHA}", f"{repository}/commit/{3:040x}"} <= links
    assert all(str(link).startswith((repository, "#content", "/")) for link in links)


@pytest.mark.parametrize(
    ("status", "deferred_by", "words"),
    [
        (SessionStatus.IN_PROGRESS, None, "in progress"),
        (SessionStatus.STUCK, None, "stuck: several blocked pushes in a row"),
        (SessionStatus.VERIFIED_PASS, None, "complete: every required step is done"),
        (SessionStatus.DEFERRED, "staff", "paused by staff"),
        (SessionStatus.DEFERRED, "installation", "paused: the App cannot see the repository"),
        (SessionStatus.EXPIRED, None, "over: the deadline has passed"),
    ],
)
async def test_every_status_has_words(
    status: SessionStatus, deferred_by: str | None, words: str, aiohttp_client: AiohttpClient
) -> None:
    """The session's status is told in words, and marked for programs."""
    session = replace(session_view().session, status=status, deferred_by=deferred_by)  # type: ignore[arg-type]

    page, text = await show(aiohttp_client, session_view(session=session))

    assert f"State {words}" in text
    assert [facts["data-session-status"] for facts in page.all("dl")] == [status.value]


async def test_a_new_session_without_repository(aiohttp_client: AiohttpClient) -> None:
    """Before the first push, and after a repository was taken away, the page says so."""
    _, words = await show(aiohttp_client, session_view(attempts=(), notices=(), repo_full_name=None))

    assert "Nothing was pushed yet." in words
    assert "Repository none is connected" in words
    assert "Not judged" not in words


async def test_hostile_names_stay_text(aiohttp_client: AiohttpClient) -> None:
    """Titles, logins, paths, branches and names from outside become text: no element, no attribute, no address."""
    path = Violation(
        ViolationCode.OUT_OF_ORDER, "block", HOSTILE, None, owners=("x",), missing=("x",), suggestion=HOSTILE
    )
    view = session_view(
        lab_title=HOSTILE,
        learner=Account(11, HOSTILE, AccountKind.USER),
        repo_full_name=f"learner-one/{HOSTILE}",
        steps=(StepView(step("x", HOSTILE), None, ()),),
        attempts=(replace(attempt(1, Outcome.BLOCKED, path), ref=f"refs/heads/{HOSTILE}"),),
        notices=(Notice(HOSTILE, date(2026, 3, 4), 1, AT, f"refs/tags/{HOSTILE}"),),
    )
    harmless, _ = await show(
        aiohttp_client, session_view(steps=view.steps, attempts=view.attempts, notices=view.notices)
    )

    page, words = await show(aiohttp_client, view)

    assert {tag for tag, _ in page.elements} == {tag for tag, _ in harmless.elements}
    assert {"img", "iframe"} & {tag for tag, _ in page.elements} == set()
    assert all(str(script["src"]).startswith("/static/") for script in page.all("script"))
    assert all(str(form["action"]).startswith("/") for form in page.all("form"))
    assert not any(name.startswith("on") or name == "style" for _, names in page.elements for name in names)
    assert all(
        str(link["href"]).startswith(("https://github.example.com/learner-one/", "#", "/")) for link in page.all("a")
    )
    assert words.count("<script>alert(1)</script>") >= 8
    assert "49" not in words.replace("2026-03-04", ""), "templates are not evaluated twice"


async def test_the_page_is_accessible(aiohttp_client: AiohttpClient) -> None:
    """Language, title, landmarks, one main heading, captions and header cells are there, and ids are unique."""
    page, _ = await show(aiohttp_client, session_view())

    tags = [tag for tag, _ in page.elements]
    assert page.all("html")[0]["lang"] == "en"
    assert all(tags.count(tag) == 1 for tag in ("title", "header", "main", "footer", "h1"))
    assert tags.count("caption") == tags.count("table") > 3
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    assert all(time["datetime"] for time in page.all("time"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {label["for"] for label in page.all("label")} <= set(ids)
    fields = [tag for kind in ("input", "select", "textarea") for tag in page.all(kind) if tag.get("type") != "hidden"]
    assert len(fields) > 10
    assert {field["id"] for field in fields} <= {label["for"] for label in page.all("label")}
    described = {tag["aria-describedby"] for _, tag in page.elements if "aria-describedby" in tag}
    assert described <= set(ids)
    labels = {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert labels <= set(ids)


@pytest.mark.parametrize(
    "path", ["00000000-0000-4000-8000-000000000000", "nonsense", "%3Cscript%3E", "..%2F..%2Fetc", "0"]
)
async def test_what_is_no_session_is_not_found(path: str, aiohttp_client: AiohttpClient) -> None:
    """An id that no session has, and anything that is no id, is the same plain page with status 404."""
    client = await client_of(aiohttp_client, session_view())

    answer = await client.get(f"/sessions/{path}")

    assert answer.status == 404
    assert "There is no session at this address" in await answer.text()


async def test_only_our_own_files_are_loaded(aiohttp_client: AiohttpClient) -> None:
    """The page needs files of ours alone: no font, no picture and no script from elsewhere, and nothing inline."""
    client = await client_of(aiohttp_client, session_view())
    page = Page(await (await client.get(f"/sessions/{SESSION_ID}")).text())

    assert [link["href"] for link in page.all("link")] == ["/static/icon.svg", "/static/style.css"]
    assert page.all("script")
    assert not page.all("style")
    for script in page.all("script"):
        assert (await client.get(str(script["src"]))).status == 200
    answer = await client.get("/static/style.css")
    assert (answer.status, answer.content_type) == (200, "text/css")
    assert not re.search(r"url\(|@import", await answer.text())


# ------------------------------------------------------------------------------------------------- who sees what


WITH_SECRETS = {
    "private": False,
    "help_at": AT,
    "help_words": "the private words",
    "blocked_in_row": 1,
}
DECIDED = RecordedEvent(
    7,
    AT,
    1,
    AT,
    AuditEvent("staff_defer", actor_id=STAFF, detail={"reason": "the flu", "from": "STUCK", "to": "DEFERRED"}),
)


def hinted_view(**changes: object) -> SessionView:
    """A stuck session whose open step has two hints, of which one is due."""
    fix = replace(step("fix", "Fix"), hints=("look at the spaces", "use a pattern"))
    steps = (StepView(step("report", "Describe"), "completed", ()), StepView(fix, None, ()))
    session = replace(session_view().session, status=SessionStatus.STUCK)
    blocked = replace(attempt(3, Outcome.BLOCKED, EARLY), delivery_id=SESSION_ID, before_sha="a" * 40)
    older = replace(attempt(2, Outcome.ACCEPTED, NEAR), gains=(Gain("report", SHA),))
    values: dict[str, object] = {"attempts": (blocked, older), "newest": blocked} | WITH_SECRETS | changes
    return session_view(session=session, steps=steps, **values)


async def test_the_public_sees_what_the_check_run_shows(aiohttp_client: AiohttpClient) -> None:
    """Steps, the newest verdict with its files and the due hints; no history, no person, no decision, no form."""
    HISTORY[:] = [History(events=(DECIDED,), logins={STAFF: "octo-staff"})]

    page, words = await show(aiohttp_client, hinted_view(), who=None)

    assert [row["data-attempt"] for row in page.all("tr") if "data-attempt" in row] == ["3"]
    assert "src/cli.js command complete step 2 first" in words
    assert "look at the spaces" in words
    assert [facts["data-session-status"] for facts in page.all("dl")] == ["IN_PROGRESS"]
    for secret in ("the private words", "the flu", "octo-staff", "use a pattern", "stuck", "OUT_OF_ORDER", "Last act"):
        assert secret not in words
    assert "Learner" not in words
    assert page.all("form") == []


async def test_the_learner_sees_decisions_and_what_to_do(aiohttp_client: AiohttpClient) -> None:
    """The learner's own page has the whole history, staff's reasons without names, and forms of their own only."""
    HISTORY[:] = [History(events=(DECIDED,), logins={STAFF: "octo-staff"}, undoable=frozenset({7}))]

    page, words = await show(aiohttp_client, hinted_view(), who=11)

    assert "Paused the session (staff) the flu" in words
    assert "You asked for help" in words
    assert "octo-staff" not in words
    assert "use a pattern" not in words
    actions = {str(form["action"]).removeprefix(f"/sessions/{SESSION_ID}/") for form in page.all("form")}
    assert actions == {"check", "help/end", "/logout"}


async def test_staff_see_everything(aiohttp_client: AiohttpClient) -> None:
    """Staff see who decided, raw codes, deliveries, differences, hints to come, and an undo where there is one."""
    HISTORY[:] = [History(events=(DECIDED,), logins={STAFF: "octo-staff"}, undoable=frozenset({7}))]

    page, words = await show(aiohttp_client, hinted_view())

    assert "Paused the session (octo-staff) the flu" in words
    assert "learner-one asked for help" in words
    assert "the private words" in words
    assert "use a pattern the learner does not see this one yet" in words
    assert "OUT_OF_ORDER" in words
    assert f"Delivery {SESSION_ID}" in words
    assert "Blocked in a row 1" in words
    assert any(str(link["href"]).endswith(f"/compare/{'a' * 40}...{3:040x}") for link in page.all("a"))
    assert {"value": "7", "name": "event", "type": "hidden"} in page.all("input")
    actions = {str(form["action"]).removeprefix(f"/sessions/{SESSION_ID}/") for form in page.all("form")}
    assert actions >= {f"staff/{name}" for name in session_actions._STAFFS}


async def test_another_learner_is_the_public(aiohttp_client: AiohttpClient) -> None:
    """Who has signed in and is neither staff nor this learner sees no more than who has not."""
    page, words = await show(aiohttp_client, hinted_view(), who=12)

    assert "the private words" not in words
    assert [form["action"] for form in page.all("form")] == ["/logout"]


@pytest.mark.parametrize("hidden", [{"private": True}, {"bound": False}])
async def test_what_is_private_is_not_there(hidden: dict[str, bool], aiohttp_client: AiohttpClient) -> None:
    """A session of a private repository, or of none, is a 404 page to the public, and there for its learner."""
    for who, status in ((None, 404), (12, 404), (11, 200), (STAFF, 200)):
        client = await client_of(aiohttp_client, hinted_view(**hidden), who)
        assert (await client.get(f"/sessions/{SESSION_ID}")).status == status


async def test_messages_come_from_a_table(aiohttp_client: AiohttpClient) -> None:
    """`?done=` names one of our messages; anything else says nothing."""
    client = await client_of(aiohttp_client, session_view())

    known = await (await client.get(f"/sessions/{SESSION_ID}?done=undone")).text()
    other = await (await client.get(f"/sessions/{SESSION_ID}?done=You+won")).text()

    assert "Undone." in known
    assert "You won" not in other


async def test_a_waiting_step_says_what_it_waits_for(aiohttp_client: AiohttpClient) -> None:
    """A step that lacks only an approval is waiting, and staff's form proposes it."""
    newest = replace(attempt(3, Outcome.ACCEPTED), waiting={"fix": ("approval by staff",)})
    page, words = await show(aiohttp_client, hinted_view(attempts=(newest,), newest=newest))

    assert {"data-step": "fix", "data-state": "waiting"} in page.all("tr")
    assert "2. Fix waiting for approval by staff" in words
    assert [option["value"] for option in page.all("option") if "selected" in option] == ["fix"]


async def test_what_cannot_be_done_is_explained(aiohttp_client: AiohttpClient) -> None:
    """A form that the session's state does not allow is disabled, with the reason instead of its explanation."""
    session = replace(session_view().session, status=SessionStatus.VERIFIED_PASS)

    page, words = await show(aiohttp_client, session_view(session=session))

    assert "Only a session that is in progress or stuck can be paused." in words
    disabled = {button["aria-describedby"] for button in page.all("button") if "disabled" in button}
    assert disabled == {"defer-words", "resume-words", "judge-words"}
    assert {option["value"] for option in page.all("option") if "disabled" in option} == {
        "approve",
        "complete",
        "unlock",
    }


@pytest.mark.parametrize("before", ["", "x", "-1", "1e3", "\u0661", "9" * 30])
async def test_a_page_number_that_is_none_is_ignored(before: str, aiohttp_client: AiohttpClient) -> None:
    """Whatever stands behind `?before=`, the page answers."""
    client = await client_of(aiohttp_client, session_view())

    assert (await client.get(f"/sessions/{SESSION_ID}", params={"before": before})).status == 200


def test_every_ignored_code_has_words() -> None:
    """Notices are told in words of their own, never a bare code, for what a bound repository can meet."""
    assert {"TAG", "BRANCH_DELETED", "SESSION_COMPLETED", "SESSION_DEFERRED", "SESSION_EXPIRED"} <= set(NOTICE_WORDS)


def test_the_page_says_when_violations_are_cut() -> None:
    """More violations than are kept are counted."""
    many = replace(attempt(1, Outcome.BLOCKED, EARLY), violations_total=1001)

    page = page_of(session_view(attempts=(many,)), "https://github.example.com")

    assert page.blocked is not None
    assert page.blocked.more_violations == 1000
