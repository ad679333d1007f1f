"""The audit's page as it tells what storage read: plain words, links and marks. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from urllib.parse import quote
from uuid import UUID

import orjson

from rules.binding import blocks_report
from rules.model import BindingCode
from storage.audit import RecordedEvent
from storage.auditview import Choices, Claim, RejectionDay
from web.audit_advice import RELINKABLE, title_of
from web.audit_query import AuditQuery, address
from web.session_page import DEFERRED_WORDS, STATUS_WORDS
from web.session_timeline import event_line

#: Events of a page, and days of the overview.
PAGE_EVENTS = 50
DAYS = 14
#: Height of the tallest bar of a chart, and the width of each with the gap after it (units of the drawing).
BAR_HEIGHT, BAR_WIDTH = 28, 8

REFUSALS = frozenset({"rejected", "ignored"})


@dataclass(frozen=True, slots=True)
class EventRow:
    """A line of the table. `code`, `mark`: only where there is a code; `session`: its id; `relink`: connecting the
    repository with a session may settle it. `who` "": the App by itself, or the learner's push."""

    event_id: int
    at: datetime
    last_at: datetime
    count: int
    code: str
    mark: str
    words: str
    who: str
    repository: str
    repository_link: str
    session: str
    relink: bool


def event_row(recorded: RecordedEvent, logins: Mapping[int, str]) -> EventRow:
    """An event in words."""
    event = recorded.event
    told = event_line(recorded, {}, logins, for_staff=True, undoable=False)
    repository = event.repo_full_name or (f"repository {event.repo_id}" if event.repo_id else "")
    return EventRow(
        event_id=recorded.event_id,
        at=recorded.at,
        last_at=recorded.last_at,
        count=recorded.count,
        code=event.code or "",
        mark=_mark(event.kind, event.code),
        words=words_of(recorded, logins),
        who=told.who,
        repository=repository,
        repository_link=address(AuditQuery(repository=str(event.repo_id))) if event.repo_id else "",
        session=str(event.session_id) if event.session_id else "",
        relink=is_relinkable(recorded),
    )


def words_of(recorded: RecordedEvent, logins: Mapping[int, str]) -> str:
    """What happened, in a few words; of staff's decisions with the reason."""
    event = recorded.event
    if event.kind in REFUSALS and event.code:
        words, reason = title_of(event.code), ""
    else:
        told = event_line(recorded, {}, logins, for_staff=True, undoable=False)
        words, reason = f"{told.words}: {title_of(event.code)}" if event.code else told.words, told.reason
    words = words[:1].upper() + words[1:]
    return f"{words} ({reason})" if reason else words


def _mark(kind: str, code: str | None) -> str:
    """The class of a code's badge: red where the learner waits for somebody, yellow for what only staff see."""
    if kind != "rejected" or code is None:
        return "quiet"
    if code not in BindingCode.__members__:
        return "wait"
    return {"action_required": "bad", "neutral": "quiet", "none": "wait"}[blocks_report(BindingCode(code))]


def is_relinkable(recorded: RecordedEvent) -> bool:
    """Whether connecting the repository with a session can settle what the event tells."""
    event = recorded.event
    met = event.kind in ("rejected", "status_changed")  # a transfer is noticed by a push, or before one
    return met and event.code in RELINKABLE and event.repo_id is not None


# ---------------------------------------------------------------------------------------------------------- overview


@dataclass(frozen=True, slots=True)
class Bar:
    """A day's bar in the drawing. `height` 0: nothing happened."""

    x: int
    y: int
    height: int
    words: str


@dataclass(frozen=True, slots=True)
class CodeLine:
    """A code over the last DAYS days. `link`: to its events, or, where it is `chosen`, away from them; `told`: the
    numbers of all days in words, for who does not see the bars."""

    code: str
    title: str
    link: str
    chosen: bool
    bars: tuple[Bar, ...]
    told: str
    today: int
    total: int


def code_lines(query: AuditQuery, found: Iterable[RejectionDay], today: date) -> tuple[CodeLine, ...]:
    """Each code with its bars, the most frequent one first; all bars are drawn to one scale."""
    counts: dict[str, dict[date, int]] = {}
    for each in found:
        counts.setdefault(each.code, {})[each.day] = each.count
    days = [today - timedelta(days=ago) for ago in reversed(range(DAYS))]
    most = max((count for per_day in counts.values() for count in per_day.values()), default=1)
    lines = [_code_line(query, code, [(day, per_day.get(day, 0)) for day in days], most)
             for code, per_day in counts.items()]  # fmt: skip
    return tuple(sorted(lines, key=lambda line: (-line.total, line.code)))


def _code_line(query: AuditQuery, code: str, days: Sequence[tuple[date, int]], most: int) -> CodeLine:
    chosen = query.code == code
    some = [f"{count} on {day.isoformat()}" for day, count in days if count]
    return CodeLine(
        code=code,
        title=title_of(code),
        link=address(replace(query, code="" if chosen else code, before=None)),
        chosen=chosen,
        bars=tuple(_bar(place, day, count, most) for place, (day, count) in enumerate(days)),
        told=", ".join(some),
        today=days[-1][1],
        total=sum(count for _, count in days),
    )


def _bar(place: int, day: date, count: int, most: int) -> Bar:
    height = max(2, round(BAR_HEIGHT * count / most)) if count else 0
    return Bar(place * BAR_WIDTH, BAR_HEIGHT - height, height, f"{day.isoformat()}: {count}")


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Everything that the list shows. `older`: the next page's address, "" on the last one. `newest`: the first page's,
    "" on it. `repository_id`: of the repository that was asked for; `others`: further ones of its name, as number and
    address; `unknown`: none of that name is known."""

    query: AuditQuery
    rows: tuple[EventRow, ...]
    codes: tuple[CodeLine, ...]
    kinds: tuple[str, ...]
    all_codes: tuple[str, ...]
    here: str
    older: str
    newest: str
    csv: str
    json: str
    repository_id: int | None
    others: tuple[tuple[int, str], ...]
    unknown: bool
    summary: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a page is made of. `events`: one more than it shows, if there are more; `repositories`: ids of what was
    asked for by name or number, of which the first was taken."""

    events: Sequence[RecordedEvent]
    logins: Mapping[int, str]
    choices: Choices
    codes: tuple[CodeLine, ...]
    repositories: Sequence[int]


def audit_page(query: AuditQuery, gathered: Gathered) -> AuditPage:
    """Put a page of events into words."""
    shown = gathered.events[:PAGE_EVENTS]
    all_of_it = replace(query, before=None)
    today = sum(line.today for line in gathered.codes)
    return AuditPage(
        query=query,
        rows=tuple(event_row(each, gathered.logins) for each in shown),
        codes=gathered.codes,
        kinds=_with(gathered.choices.kinds, query.kind),
        all_codes=_with(gathered.choices.codes, query.code),
        here=address(query),
        older=address(replace(query, before=shown[-1].event_id)) if len(gathered.events) > PAGE_EVENTS else "",
        newest=address(all_of_it) if query.before is not None else "",
        csv=address(all_of_it, "/audit.csv"),
        json=address(all_of_it, "/audit.jsonl"),
        repository_id=next(iter(gathered.repositories), None),
        others=tuple((each, address(replace(all_of_it, repository=str(each)))) for each in gathered.repositories[1:]),
        unknown=bool(query.repository) and not gathered.repositories,
        summary=f"{today} {'delivery' if today == 1 else 'deliveries'} not judged today.",
    )


def _with(choices: Sequence[str], chosen: str) -> tuple[str, ...]:
    """The choices, with what is chosen among them."""
    return tuple(choices) if not chosen or chosen in choices else tuple(sorted({*choices, chosen}))


# --------------------------------------------------------------------------------------------------------- one event


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of an event's page. `link` "": nothing leads on from there."""

    name: str
    text: str
    link: str = ""


def facts(recorded: RecordedEvent, logins: Mapping[int, str], web_url: str) -> tuple[Fact, ...]:
    """All that an event holds, but its detail; what is unknown is left out."""
    event = recorded.event

    def person(account_id: int | None) -> str:
        if account_id is None:
            return ""
        return f"{logins[account_id]} ({account_id})" if account_id in logins else f"account {account_id}"

    def number(value: int | None) -> str:
        return str(value) if value is not None else ""

    name = event.repo_full_name or ""
    repository = AuditQuery(repository=str(event.repo_id)) if event.repo_id else AuditQuery()
    known = (
        Fact("Kind", event.kind, address(AuditQuery(kind=event.kind))),
        Fact("Code", event.code or "", address(AuditQuery(code=event.code or ""))),
        Fact("Repository", name, f"{web_url}/{quote(name)}"),
        Fact("Repository's number", number(event.repo_id), address(repository)),
        Fact("Owner", person(event.owner_id)),
        Fact("Expected owner", person(event.expected_owner_id)),
        Fact("Comes from repository", number(event.parent_id)),
        Fact("Session", str(event.session_id or ""), f"/sessions/{event.session_id}"),
        Fact("Ref", event.ref or ""),
        Fact("Commit", (event.head_sha or "")[:12], f"{web_url}/{quote(name)}/commit/{event.head_sha}" if name else ""),
        Fact("Decided by", person(event.actor_id)),
        Fact("Sent by", person(event.sender_id)),
        Fact("Delivery", str(event.delivery_id or "")),
        Fact("Installation", number(event.installation_id)),
        Fact("Mapping", number(event.mapping_id)),
        Fact("Key tried", event.key_tried or ""),
        Fact("Looked up by", "numeric ids" if event.binding_mode == "canonical" else "addresses, ids in its shadow"),
    )
    return tuple(fact for fact in known if fact.text)


def detail_of(recorded: RecordedEvent) -> str:
    """The event's detail as text of several lines; "" for none."""
    detail = dict(recorded.event.detail)
    return orjson.dumps(detail, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode() if detail else ""


@dataclass(frozen=True, slots=True)
class ClaimLine:
    """A session that is offered. `why`: what speaks for it; `repository`: that it has now, "" for none; `link`: the
    page that says what connecting would do."""

    session: str
    lab: str
    learner: str
    state: str
    steps: str
    repository: str
    why: str
    link: str


def claim_line(event_id: int, claim: Claim) -> ClaimLine:
    """An offered session in words."""
    reasons = (
        (claim.named, "the rejection names it"),
        (claim.had, "had this repository before"),
        (claim.invited, "invited for this repository"),
        (claim.owns, "its learner owns the repository"),
        (claim.pushed and not claim.owns, "its learner pushed to the repository"),
    )
    return ClaimLine(
        session=str(claim.session.session_id),
        lab=claim.lab_title,
        learner=claim.learner,
        state=state_words(claim),
        steps=f"{claim.steps_done} of {claim.steps_total}",
        repository=claim.repo_full_name or "",
        why=", ".join(words for holds, words in reasons if holds),
        link=relink_address(event_id, claim.session.session_id),
    )


def state_words(claim: Claim) -> str:
    """The state of a session in words."""
    session = claim.session
    return DEFERRED_WORDS.get(session.deferred_by) or STATUS_WORDS[session.status]


def relink_address(event_id: int, session_id: UUID) -> str:
    """The page that says what connecting would do."""
    return f"/audit/{event_id}/relink?session={session_id}"
