"""`app.py audit ...`: what was decided, exported, checked and archived."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO
from uuid import UUID

import typer

from cli import audit_chain
from cli.audit_options import AsJson, moment
from cli.connect import pool_on
from cli.faults import FAILED, WRONG_USE, CommandError, one_line
from cli.output import print_json, print_rows
from cli.serve import database, run, say

if TYPE_CHECKING:
    from storage.audit import AuditFilter, RecordedEvent
    from storage.database import Pool

commands = typer.Typer(
    help="What was decided about bindings and sessions, and why.", no_args_is_help=True, rich_markup_mode=None
)

Code = Annotated[str | None, typer.Option(help="Only with this code, such as OWNER_CHANGED.")]
Kind = Annotated[str | None, typer.Option(help="Only of this kind, such as rejected; docs/audit-events.md lists them.")]
Repo = Annotated[
    str | None, typer.Option(metavar="REPOSITORY", help="Only of this repository: its number, or OWNER/NAME.")
]
SessionId = Annotated[UUID | None, typer.Option(metavar="ID", help="Only of this session.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Only from this day or time (UTC) on.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only from before this day or time (UTC).")]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A filter as it was typed, checked as far as that is possible without the database."""

    filter: AuditFilter
    full_name: str | None

    @classmethod
    def of(cls, *, repo: str | None, since: str | None, until: str | None, **exact: Any) -> _Wanted:
        from storage.audit import AuditFilter

        if repo is not None and not (repo.isdecimal() or repo.count("/") == 1):
            raise typer.BadParameter("--repo must be a number or OWNER/NAME")
        number = int(repo) if repo is not None and repo.isdecimal() else None
        if number is not None and number >= 2**63:
            raise typer.BadParameter("--repo: no repository has such a number")
        exact |= {name: moment(value) for name, value in (("since", since), ("until", until)) if value is not None}
        return cls(AuditFilter(repo_id=number, **exact), repo if number is None else None)

    async def resolved(self, pool: Pool) -> AuditFilter:
        """The filter, with the repository's number. CommandError: nobody, or more than one, was called so."""
        if self.full_name is None:
            return self.filter
        from storage.auditview import repositories_named

        match await repositories_named(pool, self.full_name):
            case (repo_id,):
                return replace(self.filter, repo_id=repo_id)
            case ():
                raise CommandError(f"no repository {self.full_name} is known here", status=WRONG_USE)
            case several:
                ids = ", ".join(map(str, several))
                raise CommandError(f"several were called {self.full_name}: give one of {ids}", status=WRONG_USE)


@commands.command("list")
def list_audit(
    *,
    code: Code = None,
    kind: Kind = None,
    repo: Repo = None,
    session: SessionId = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, the newest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what was decided, the newest first. Rejections of a repository by one code on one day are one row."""
    with one_line():
        from settings import load
        from storage.audit_export import as_json as flat

        wanted = _Wanted.of(
            code=code and code.upper(), kind=kind, repo=repo, session_id=session, since=since, until=until
        )
        with database(load("audit list")) as dsn:
            events = run(lambda: _events(dsn, wanted, limit))
        if as_json:
            print_json([flat(recorded) for recorded in events])
            return
        columns = {"event_id": "id", "at": "at", "kind": "kind", "code": "code", "repository": "repository"}
        columns |= {"session_id": "session", "actor_id": "by", "count": "count", "why": "why"}
        print_rows([_row(recorded) for recorded in events], columns, empty="There is no such event.")


async def _events(dsn: str, wanted: _Wanted, limit: int) -> tuple[RecordedEvent, ...]:
    from storage.audit import list_events

    async with pool_on(dsn) as pool:
        known = await wanted.resolved(pool)
        return await list_events(pool, **{name: getattr(known, name) for name in known.__slots__}, limit=limit)


def _row(recorded: RecordedEvent) -> dict[str, object]:
    event = recorded.event
    return {
        "event_id": recorded.event_id,
        "at": recorded.at,
        "kind": event.kind,
        "code": event.code,
        "repository": " ".join(str(known) for known in (event.repo_id, event.repo_full_name) if known is not None),
        "session_id": event.session_id,
        "actor_id": event.actor_id,
        "count": recorded.count,
        "why": event.detail.get("reason") or event.detail.get("detail"),
    }


class Format(StrEnum):
    """How events are written."""

    csv = "csv"
    jsonl = "jsonl"


@commands.command("export")
def export(
    *,
    code: Code = None,
    kind: Kind = None,
    repo: Repo = None,
    session: SessionId = None,
    since: Since = None,
    until: Until = None,
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="A new file; without it, standard output.")] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="Without it as FILE is called, else csv.", show_default=False)
    ] = None,
) -> None:
    """Write events as CSV, for spreadsheets, or as JSON Lines, for programs; the oldest first, however many.

    In CSV a text that a spreadsheet would calculate has an apostrophe in front.
    """
    with one_line():
        from settings import load

        wanted = _Wanted.of(
            code=code and code.upper(), kind=kind, repo=repo, session_id=session, since=since, until=until
        )
        form = form or (Format.jsonl if to is not None and to.suffix in (".jsonl", ".json") else Format.csv)
        with database(load("audit export")) as dsn, _target(to) as out:
            try:
                number = run(lambda: _export(dsn, wanted, form, out))
            except BrokenPipeError:  # `| head` has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(FAILED) from None
        say(f"{number} {'event' if number == 1 else 'events'}.")


@contextmanager
def _target(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    try:
        out = path.open("x", encoding="utf-8", newline="")
    except FileExistsError as error:
        raise CommandError(f"{path} exists already: choose another name") from error
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error
    with out:
        yield out


async def _export(dsn: str, wanted: _Wanted, form: Format, out: TextIO) -> int:
    from storage.audit import stream
    from storage.audit_export import csv_lines, json_lines

    number = 0

    async def counted(events: AsyncIterable[RecordedEvent]) -> AsyncIterator[RecordedEvent]:
        nonlocal number
        async for event in events:
            number += 1
            yield event

    async with pool_on(dsn) as pool:
        events = counted(stream(pool, await wanted.resolved(pool)))
        async for line in csv_lines(events) if form is Format.csv else json_lines(events):
            out.write(line)
    out.flush()
    return number


audit_chain.add_to(commands)
