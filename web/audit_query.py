"""What the audit's page is asked for, from its address and back into addresses. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

from storage.audit import AuditFilter

#: Ids are bigints.
LARGEST_ID = 2**63 - 1

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")
_FULL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
# Years that a time-stamp with time zone of ours has to do with; a date beyond them is a slip of the pen.
_FIRST_YEAR, _LAST_YEAR = 2000, 2999


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """What is asked for. `repository`: "" for all, a number, or owner/name. `since`, `until`: days (UTC), both
    included. `before`: an event's id; the page begins with the newest event before it. None and "": all.
    """

    code: str = ""
    kind: str = ""
    repository: str = ""
    session_id: UUID | None = None
    since: date | None = None
    until: date | None = None
    before: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is filtered."""
        return replace(self, before=None) == AuditQuery()


@dataclass(frozen=True, slots=True)
class Asked:
    """The query, and the parts of the address that were not understood and are left out."""

    query: AuditQuery
    refused: tuple[str, ...] = ()


def asked(values: Mapping[str, str]) -> Asked:
    """Read the query of an address. Nothing that stands there is an error."""
    query, refused = AuditQuery(), []
    readers: Mapping[str, Callable[[str], AuditQuery]] = {
        "code": lambda text: replace(query, code=_fitting(_CODE, text.upper())),
        "kind": lambda text: replace(query, kind=_fitting(_KIND, text.lower())),
        "repository": lambda text: replace(query, repository=_repository(text)),
        "session": lambda text: replace(query, session_id=UUID(text)),
        "since": lambda text: replace(query, since=_day(text)),
        "until": lambda text: replace(query, until=_day(text)),
        "before": lambda text: replace(query, before=_id(text)),
    }
    for name, read in readers.items():
        text = values.get(name, "").strip()
        try:
            query = read(text) if text else query
        except ValueError:
            refused.append(name)
    return Asked(query, tuple(refused))


def _fitting(form: re.Pattern[str], text: str) -> str:
    if not form.fullmatch(text):
        raise ValueError(text)
    return text


def _repository(text: str) -> str:
    """A number, owner/name, or the address of a repository's page."""
    if text.isascii() and text.isdecimal():
        return str(_id(text))
    if "://" in text:
        text = "/".join(urlsplit(text).path.split("/")[1:3]).removesuffix(".git")
    return _fitting(_FULL_NAME, text)


def _id(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and 0 < int(text) <= LARGEST_ID):
        raise ValueError(text)
    return int(text)


def _day(text: str) -> date:
    day = date.fromisoformat(text)
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError(text)
    return day


def filter_of(query: AuditQuery, repo_id: int | None) -> AuditFilter:
    """The query as storage takes it. `repo_id`: what `query.repository` stands for."""
    return AuditFilter(
        code=query.code or None,
        kind=query.kind or None,
        repo_id=repo_id,
        session_id=query.session_id,
        since=_midnight(query.since) if query.since else None,
        until=_midnight(query.until + timedelta(days=1)) if query.until else None,
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def address(query: AuditQuery, path: str = "/audit") -> str:
    """The address that asks for a query: the same query has one address."""
    values = {
        "code": query.code,
        "kind": query.kind,
        "repository": query.repository,
        "session": str(query.session_id) if query.session_id else "",
        "since": query.since.isoformat() if query.since else "",
        "until": query.until.isoformat() if query.until else "",
        "before": str(query.before) if query.before else "",
    }
    given = {name: value for name, value in values.items() if value}
    return f"{path}?{urlencode(given, quote_via=quote, safe='/')}" if given else path
