"""`app.py sessions approve|extend|...`: what staff decide about a session, from the shell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cli.connect import github_of, pool_on, shared_governor
from cli.faults import FAILED, WRONG_USE, CommandError, one_line
from cli.lab_options import Deadline, moment
from cli.serve import database, run, say

if TYPE_CHECKING:
    from rules.model import Session
    from settings import Settings
    from storage.actions import Decision, Done
    from storage.database import Pool

# Refusals that another command line would not have met.
_WRONG_USE = frozenset({"reason", "step", "past"})

SessionId = Annotated[UUID, typer.Argument(metavar="SESSION", help="Id from `sessions list`.")]
Step = Annotated[str, typer.Argument(metavar="STEP", help="Id of a step in the lab's steps file.")]
Reason = Annotated[str, typer.Option(help="Why, in 3 to 500 characters. The learner reads it.")]
By = Annotated[
    int | None,
    typer.Option(min=1, metavar="ACCOUNT_ID", help="Who decides: a GitHub account's number. Without: this shell."),
]

Act = Callable[["Pool", "Session", "Decision"], Awaitable["Done"]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What each command is given: about which session, why, and who decides."""

    session_id: UUID
    reason: str
    by: int | None


def add_to(commands: typer.Typer) -> None:
    """Add these commands."""
    for name, command in _COMMANDS.items():
        commands.command(name)(command)


def approve(session_id: SessionId, step: Step, reason: Reason, by: By = None) -> None:
    """Approve a step that waits for staff; the newest commit is judged again, without another push."""

    async def act(pool: Pool, session: Session, decision: Decision) -> Done:
        from storage import actions

        return await actions.add_fact(pool, session, decision, "approve", step)

    _decide("approve", Asked(session_id, reason, by), act, f"Approved step {step}")


def extend(session_id: SessionId, deadline: Deadline, reason: Reason, by: By = None) -> None:
    """Set a session's deadline; one that has expired goes on."""
    at = moment(deadline) if deadline and deadline != "none" else None

    async def act(pool: Pool, session: Session, decision: Decision) -> Done:
        from storage import actions

        return await actions.extend(pool, session, decision, at, now=datetime.now(UTC))

    words = (
        "There is no deadline any more" if at is None else f"The deadline is {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    )
    _decide("extend", Asked(session_id, reason, by), act, words)


def defer(session_id: SessionId, reason: Reason, by: By = None) -> None:
    """Pause a session: pushes are not judged and the deadline waits, until it is resumed."""

    async def act(pool: Pool, session: Session, decision: Decision) -> Done:
        from storage import actions

        return await actions.defer(pool, session, decision)

    _decide("defer", Asked(session_id, reason, by), act, "Paused the session")


def resume(session_id: SessionId, reason: Reason, by: By = None) -> None:
    """Go on with a session that staff paused, or that is stuck."""

    async def act(pool: Pool, session: Session, decision: Decision) -> Done:
        from storage import actions

        return await actions.resume(pool, session, decision)

    _decide("resume", Asked(session_id, reason, by), act, "Resumed the session")


def reopen(
    session_id: SessionId,
    reason: Reason,
    step: Annotated[
        str | None, typer.Option(metavar="STEP", help="Open this step again; the session with it, if it is complete.")
    ] = None,
    by: By = None,
) -> None:
    """Open a complete session again, or one of its steps."""

    async def act(pool: Pool, session: Session, decision: Decision) -> Done:
        from storage import actions

        if step is None:
            return await actions.reopen(pool, session, decision)
        return await actions.add_fact(pool, session, decision, "reopen", step)

    _decide(
        "reopen",
        Asked(session_id, reason, by),
        act,
        "Reopened the session" if step is None else f"Reopened step {step}",
    )


def judge(
    session_id: Annotated[UUID | None, typer.Argument(metavar="SESSION", help="Id from `sessions list`.")] = None,
    everyone: Annotated[
        bool, typer.Option("--all", help="Of all open sessions, where GitHub has another commit than was judged.")
    ] = False,
    reason: Reason = "asked for from the shell",
    by: By = None,
) -> None:
    """Judge the newest commit of a session's repository again.

    With --all nothing is judged twice: the workers compare every open session's branch, and the App's installations,
    with GitHub now instead of within the next half hour, and judge what was missed.
    """
    if (session_id is None) != everyone:
        raise typer.BadParameter("give either a session or --all")
    if session_id is None:
        _compare_all()
        return

    async def act(pool: Pool, session: Session, decision: Decision) -> Done:
        from storage import actions

        return await actions.judge(pool, session, decision)

    _decide("judge", Asked(session_id, reason, by), act, "Asked for")


def relink(
    session_id: SessionId,
    repository: Annotated[str, typer.Argument(metavar="OWNER/REPO", help="A repository that the App is installed on.")],
    reason: Reason,
    by: By = None,
) -> None:
    """Connect a session with another repository."""
    with one_line():
        from settings import load

        settings = load("sessions relink")

        async def act(pool: Pool, session: Session, decision: Decision) -> Done:
            from web.session_actions import relink as connect

            async with github_of(settings, shared_governor(settings, pool, patient=True)) as github:
                return await connect(pool, github, session, decision, repository)

        _save(settings, Asked(session_id, reason, by), act, f"Connected {repository}")


def _compare_all() -> None:
    """Let the workers begin a round of comparing."""
    with one_line():
        from settings import load

        with database(load("sessions judge")) as dsn:
            run(lambda: _begin_round(dsn))
        say("Asked for. A worker begins within a minute, with what was not compared in the last 5 minutes.")


async def _begin_round(dsn: str) -> None:
    from bot.reconciler import NOT_AGAIN
    from storage import looks

    async with pool_on(dsn) as pool:
        await looks.begin_round(pool, NOT_AGAIN)


def _decide(command: str, asked: Asked, act: Act, words: str) -> None:
    with one_line():
        from settings import load

        _save(load(f"sessions {command}"), asked, act, words)


def _save(settings: Settings, asked: Asked, act: Act, words: str) -> None:
    """Do it, and say what was done and what happens next."""
    with database(settings) as dsn:
        done = run(lambda: _act(dsn, asked, act))
    say(f"{words}.{' A worker judges the newest commit again now.' if done.woken else ''}")


async def _act(dsn: str, asked: Asked, act: Act) -> Done:
    from storage import sessions
    from storage.actions import Decision
    from storage.errors import ActionRefused

    try:
        decision = Decision.by_staff(asked.by, asked.reason)
        async with pool_on(dsn) as pool:
            session = await sessions.get(pool, asked.session_id)
            if session is None:
                raise CommandError(f"there is no session {asked.session_id}", status=WRONG_USE)
            return await act(pool, session, decision)
    except ActionRefused as refused:
        raise CommandError(str(refused), status=WRONG_USE if refused.word in _WRONG_USE else FAILED) from refused


_COMMANDS: dict[str, Callable[..., None]] = {
    "approve": approve,
    "extend": extend,
    "defer": defer,
    "resume": resume,
    "reopen": reopen,
    "judge": judge,
    "relink": relink,
}
