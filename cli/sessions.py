"""`app.py sessions ...`: learners' sessions. (What staff decide about them: `cli.session_decisions`.)"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cli import migrate_sessions, session_decisions
from cli.connect import pool_on
from cli.faults import WRONG_USE, CommandError, one_line
from cli.output import print_json, print_rows
from cli.serve import database, run

if TYPE_CHECKING:
    from storage.views import SessionSummary, SessionView
    from web.session_page import SessionPage

commands = typer.Typer(help="Learners' sessions.", no_args_is_help=True, rich_markup_mode=None)
session_decisions.add_to(commands)
migrate_sessions.add_to(commands)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


# As rules.model.SessionStatus (a test compares them), which is not imported to print a help text.
STATUSES = "IN_PROGRESS, STUCK, VERIFIED_PASS, DEFERRED, EXPIRED"


def _status(value: str | None) -> str | None:
    known = value.upper().replace("-", "_") if value is not None else None
    if known is not None and known not in STATUSES.split(", "):
        raise typer.BadParameter(f"must be one of {STATUSES}")
    return known


@commands.command("list")
def list_sessions(
    lab: Annotated[str | None, typer.Option(help="Only those of the lab with this short name.")] = None,
    status: Annotated[
        str | None, typer.Option(callback=_status, metavar="STATUS", help=f"Only those that are one of: {STATUSES}.")
    ] = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="Only learners who are stuck or ask for help.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, the latest activity first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List sessions, those with the latest activity first."""
    if stuck and status not in (None, "STUCK"):
        raise typer.BadParameter("--stuck and --status ask for different sessions")
    wanted = "STUCK" if stuck else status
    with one_line():
        from settings import load

        with database(load("sessions list")) as dsn:
            rows = [_row(summary) for summary in run(lambda: _summaries(dsn, lab, wanted, limit))]
        if as_json:
            print_json(rows)
            return
        columns = {"session_id": "session", "lab": "lab", "learner": "learner", "repository": "repository"}
        columns |= {"status": "status", "help_at": "asks for help since", "steps": "steps"}
        columns |= {"last_activity_at": "last activity"}
        print_rows(rows, columns, empty="There is no such session." if lab or wanted else "There is no session yet.")


async def _summaries(dsn: str, lab: str | None, status: str | None, limit: int) -> tuple[SessionSummary, ...]:
    from rules.model import SessionStatus
    from storage import views

    async with pool_on(dsn) as pool:
        wanted = SessionStatus(status) if status is not None else None
        return await views.list_sessions(pool, lab_slug=lab, status=wanted, limit=limit)


def _row(summary: SessionSummary) -> dict[str, object]:
    return {
        "session_id": summary.session_id,
        "lab": summary.lab_slug,
        "learner": summary.learner_login,
        "repository": summary.repo_full_name,
        "status": summary.status.value,
        "help_at": summary.help_at,
        "steps": f"{summary.steps_done} of {summary.steps_total}",
        "started_at": summary.started_at,
        "last_activity_at": summary.last_activity_at,
    }


@commands.command("show")
def show(
    session_id: Annotated[UUID, typer.Argument(metavar="SESSION", help="Id from `sessions list`.")],
    as_json: AsJson = False,
) -> None:
    """Show one session: its steps and its newest pushes."""
    with one_line():
        from settings import load
        from web.session_page import page_of

        settings = load("sessions show")
        with database(settings) as dsn:
            view = run(lambda: _view(dsn, session_id))
        if view is None:
            raise CommandError(f"there is no session {session_id}", status=WRONG_USE)
        page = page_of(view, settings.web_url)
        if as_json:
            print_json(asdict(page))
        else:
            _print(page)


async def _view(dsn: str, session_id: UUID) -> SessionView | None:
    from storage import views

    async with pool_on(dsn) as pool:
        return await views.session_view(pool, session_id)


def _print(page: SessionPage) -> None:
    facts = {
        "lab": f"{page.lab_title} ({page.lab_slug}, version {page.version})",
        "learner": page.learner,
        "repository": page.repository,
        "state": page.status_words,
        "deadline": page.expires_at,
        "asks for help": page.help_words or page.help_at,
    }
    print_rows([{"what": what, "is": is_} for what, is_ in facts.items()], {"what": "session", "is": ""}, empty="")
    steps = [
        {
            "step": page.numbers[step.id],
            "state": step.words,
            "since": step.completed_at,
            "commit": (step.commit_sha or "")[:7],
        }
        for step in page.steps
    ]
    print_rows(steps, {"step": "step", "state": "state", "since": "complete since", "commit": "commit"}, empty="")
    attempts = [
        {
            "at": attempt.at,
            "ref": attempt.ref,
            "commit": attempt.after[:7],
            "verdict": attempt.words,
            "files": "; ".join(f"{line.path}: {line.why}" for line in attempt.violations[:3]),
            "steps": " ".join([*(f"+{step}" for step in attempt.gained), *(f"-{step}" for step in attempt.lost)]),
        }
        for attempt in page.attempts
    ]
    headings = {"at": "pushed", "ref": "branch", "commit": "commit", "verdict": "verdict"}
    print_rows(attempts, headings | {"steps": "steps", "files": "out of order"}, empty="Nothing was pushed yet.")
