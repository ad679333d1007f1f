"""The class page as it tells what storage read: plain words, links and marks. Pure functions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import quote

from rules.model import Outcome
from storage.classroom import NEEDS, PAGE_ROWS, ClassPage, ClassRow, FunnelStep, Group, Order, Query
from web.monitor_query import NEEDS_WORD, address, sorted_by
from web.session_lines import REASON_WORDS

GROUP_WORDS: Mapping[Group, str] = {
    Group.HELP: "asked for help",
    Group.STUCK: "stuck",
    Group.APPROVAL: "waits for you",
    Group.WAITING: "waits for a check",
    Group.PROGRESS: "in progress",
    Group.NOT_STARTED: "not started",
    Group.PAUSED: "paused",
    Group.OVER: "deadline passed",
    Group.FINISHED: "finished",
}
#: The class of a group's mark; style.css has them.
GROUP_MARKS: Mapping[Group, str] = {
    Group.HELP: "bad",
    Group.STUCK: "bad",
    Group.APPROVAL: "wait",
    Group.WAITING: "wait",
    Group.FINISHED: "good",
}
VERDICT_WORDS: Mapping[Outcome, str] = {
    Outcome.ACCEPTED: "accepted",
    Outcome.BLOCKED: "blocked",
    Outcome.CANNOT_VERIFY: "could not be verified",
}
CODE_WORDS: Mapping[str, str] = {
    "OUT_OF_ORDER": "a file of a later step",
    "PROTECTED_PATH": "a file of the lab itself",
    "UNMAPPED_PATH": "a file of no step",
    "REWORK": "a file of a finished step",
}
PAUSED_WORDS: Mapping[str | None, str] = {
    "staff": "by staff",
    "installation": "the App cannot see the repository",
}
COLUMNS = (
    (Order.LEARNER, "Learner"),
    (Order.LAB, "Lab"),
    (Order.NEEDS, "State"),
    (Order.PROGRESS, "Steps"),
    (Order.PUSHED, "Last push"),
    (None, "Last verdict"),
    (Order.BLOCKED, "Blocked in a row"),
)
CSV_HEADER = (
    "lab", "learner", "state", "steps_done", "steps_required", "step", "waiting_for", "last_push", "last_verdict",
    "reason", "blocked_in_a_row", "deadline", "repository", "session",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Heading:
    """A column's heading. `link` "": the column does not sort. `sort`: the value of aria-sort, "" when it is not the
    order of now."""

    words: str
    link: str
    sort: str


@dataclass(frozen=True, slots=True)
class Count:
    """A number at the head of the page, which is a link that filters. `mark`: a class of style.css."""

    number: int
    words: str
    link: str
    chosen: bool
    mark: str


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table. `key` stays the same from one page to the next. `more`: what explains the state."""

    key: str
    session_id: str
    learner: str
    lab: str
    repository: str
    repository_url: str
    state: str
    mark: str
    more: str
    steps_done: int
    steps_total: int
    step: str
    pushed_at: datetime | None
    since: datetime
    verdict: str
    verdict_mark: str
    why: str
    blocked: int


@dataclass(frozen=True, slots=True)
class MonitorPage:
    """Everything that the page shows."""

    query: Query
    summary: str
    counts: tuple[Count, ...]
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]
    total: int
    first: int
    previous: str
    next: str
    pages: int
    here: str
    export: str
    funnel: tuple[FunnelStep, ...] = ()


def monitor_page(
    query: Query, page: ClassPage, counts: Mapping[Group, int], funnel: tuple[FunnelStep, ...], web_url: str
) -> MonitorPage:
    """Put a page of the class into words. `web_url`: GitHub's pages, without trailing slash."""
    pages = max(1, -(-page.total // PAGE_ROWS))
    return MonitorPage(
        query=query,
        summary=summary(counts),
        counts=tuple(_counts(query, counts)),
        headings=tuple(_heading(query, order, words) for order, words in COLUMNS),
        lines=tuple(line(row, web_url) for row in page.rows),
        total=page.total,
        first=(query.page - 1) * PAGE_ROWS + 1,
        previous=address(replace(query, page=query.page - 1)) if query.page > 1 else "",
        next=address(replace(query, page=query.page + 1)) if query.page < pages else "",
        pages=pages,
        here=address(query),
        export=address(replace(query, page=1), "/class.csv"),
        funnel=funnel,
    )


def summary(counts: Mapping[Group, int]) -> str:
    """The class in one sentence, as it is read out when it changes."""
    needs = [f"{counts[group]} {_words_of_some(group, counts[group])}" for group in NEEDS if counts[group]]
    everybody = sum(counts.values())
    started = everybody - counts[Group.NOT_STARTED]
    told = f"{everybody} in all, {started} started, {counts[Group.FINISHED]} finished."
    return f"{told} {', '.join(needs).capitalize()}." if needs else f"{told} Nobody waits for you."


def _words_of_some(group: Group, number: int) -> str:
    words = {Group.HELP: "asked for help", Group.STUCK: "stuck", Group.APPROVAL: "waiting for you"}[group]
    return f"{'is' if number == 1 else 'are'} {words}" if group is not Group.HELP else words


def _counts(query: Query, counts: Mapping[Group, int]) -> Iterable[Count]:
    def count(number: int, words: str, groups: tuple[Group, ...], mark: str) -> Count:
        link = address(replace(query, groups=groups, page=1))
        return Count(number, words, link, query.groups == groups, mark if number else "")

    yield count(sum(counts.values()), "all", (), "")
    yield count(sum(counts[group] for group in NEEDS), "need you", NEEDS, "some-bad")
    for group in Group:
        if counts[group] or (group,) == query.groups:
            mark = GROUP_MARKS.get(group, "")
            yield count(counts[group], GROUP_WORDS[group], (group,), f"some-{mark}" if mark in ("bad", "wait") else "")


def _heading(query: Query, order: Order | None, words: str) -> Heading:
    if order is None:
        return Heading(words, "", "")
    sort = ""
    if query.order is order:
        sort = "descending" if query.descending else "ascending"
    return Heading(words, address(sorted_by(query, order)), sort)


def line(row: ClassRow, web_url: str) -> Line:
    """Put a row into words."""
    return Line(
        key=f"s{row.session_id}" if row.session_id else f"i{row.lab_slug}/{row.login or row.repo_full_name}",
        session_id=str(row.session_id) if row.session_id else "",
        learner=row.login or "not known yet",
        lab=row.lab_title,
        repository=row.repo_full_name or "",
        repository_url=f"{web_url}/{quote(row.repo_full_name)}" if row.repo_full_name else "",
        state=GROUP_WORDS[row.group],
        mark=GROUP_MARKS.get(row.group, "quiet"),
        more=_more(row),
        steps_done=row.steps_done,
        steps_total=row.steps_total,
        step=row.step_title or "",
        pushed_at=row.pushed_at,
        since=row.since,
        verdict=VERDICT_WORDS.get(row.verdict, row.verdict.value) if row.verdict else "",
        verdict_mark=f"verdict-{row.verdict.value}" if row.verdict else "",
        why=_why(row),
        blocked=row.blocked_in_row,
    )


def _more(row: ClassRow) -> str:
    match row.group:
        case Group.HELP:
            return row.help_words or ""
        case Group.APPROVAL | Group.WAITING:
            return ", ".join(row.waiting_for)
        case Group.PAUSED:
            return PAUSED_WORDS.get(row.deferred_by, "")
        case _:
            return ""


def _why(row: ClassRow) -> str:
    if row.verdict is Outcome.CANNOT_VERIFY:
        return REASON_WORDS.get(row.reason, "the reason is in the log")
    if row.verdict is Outcome.BLOCKED:
        return ", ".join(CODE_WORDS.get(code, code) for code in row.codes)
    return ""


def csv_text(rows: Iterable[ClassRow]) -> str:
    """Rows as a spreadsheet takes them (RFC 4180, times in ISO 8601)."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_HEADER)
    for row in rows:
        told = line(row, "")
        values = (
            row.lab_slug, row.login, told.state, row.steps_done, row.steps_total, told.step, ", ".join(row.waiting_for),
            _iso(row.pushed_at), told.verdict, told.why, row.blocked_in_row, _iso(row.expires_at), told.repository,
            told.session_id,
        )  # fmt: skip
        writer.writerow([harmless_cell(value) for value in values])
    return text.getvalue()


def _iso(at: datetime | None) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds") if at else ""


def harmless_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: names and titles come from strangers.

    A text that begins as formulas do gets an apostrophe before it (OWASP, "CSV Injection").
    """
    if isinstance(value, str) and value.lstrip().startswith(
        ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
    ):
        return f"'{value}"
    return f"'{value}" if isinstance(value, str) and value.startswith(("\t", "\r", "\n")) else value


def filter_choices() -> tuple[tuple[str, str], ...]:
    """The states that the filter offers: words of the address, and words for people."""
    return (("", "All"), (NEEDS_WORD, "Need you"), *((group.value, GROUP_WORDS[group].capitalize()) for group in Group))
