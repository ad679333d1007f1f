"""Moving sessions to another version of their lab: looked at one by one, as their repositories are now, then written.

What one session cannot have (its repository is gone, it was pushed to meanwhile) is told and holds up no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from bot.budget import OverBudgetError, within_budget
from bot.facts import of_snapshot
from bot.gather import Head, gather
from bot.services import Services
from github.errors import GitHubError
from rules.conditions import needed_for
from rules.migration import Effects, Move, plan
from rules.model import CannotVerify, LabVersion, Snapshot
from rules.patterns import PatternError
from storage import labs, progress, versions
from storage.actions import Decision
from storage.errors import ActionRefused, SessionConflict, StaleSession
from storage.progress import JudgingState
from storage.versions import LiveSession, Moved

# A session that is pushed to while it is moved is looked at again, so often.
ROUNDS = 3


class UntoldError(Exception):
    """What the move would do to this session cannot be told; the message says why."""


@dataclass(frozen=True, slots=True)
class Migration:
    """What becomes of one session. `effects` None: that cannot be told, `why` says so, and it stays where it is.

    `moved`: it was written; `woken`: its head is judged again now.
    """

    session: LiveSession
    effects: Effects | None = None
    why: str = ""
    moved: bool = False
    woken: bool = False


async def look(services: Services, session: LiveSession, target: LabVersion) -> Migration:
    """What a move of the session to `target` would do. Nothing is written."""
    try:
        _, effects = await _planned(services, session, target)
    except UntoldError as error:
        return Migration(session, why=str(error))
    return Migration(session, effects)


async def move(
    services: Services, session: LiveSession, target: LabVersion, run_id: int, decision: Decision
) -> Migration:
    """Move the session to `target`, if what that does can be told; its head is judged again, if it takes verdicts."""
    for _ in range(ROUNDS):
        try:
            state, effects = await _planned(services, session, target)
            woken = await versions.migrate(services.pool, state, target, run_id, decision)
        except UntoldError as error:
            return Migration(session, why=str(error))
        except StaleSession:
            continue
        return Migration(session, effects, moved=True, woken=woken)
    return Migration(session, why="it was pushed to or changed each time while it was looked at: try again")


async def undo(services: Services, moved: Moved, run_id: int, decision: Decision) -> str:
    """Take a session's move back; empty, or why that cannot be (any more)."""
    back_to = await labs.version(services.pool, moved.from_version_id)
    for _ in range(ROUNDS):
        state = await progress.judging_state(services.pool, moved.session_id)
        if state is None or state.version.lab_version_id != moved.to_version_id:
            return "it has another version by now"
        try:
            await versions.undo(services.pool, state, back_to, run_id, decision)
        except StaleSession:
            continue
        except (ActionRefused, SessionConflict) as error:
            return str(error)
        return ""
    return "it was moved again, or changed each time while it was looked at: try again"


async def _planned(services: Services, session: LiveSession, target: LabVersion) -> tuple[JudgingState, Effects]:
    """The session as it is, and what the move would do. UntoldError, database errors."""
    state = await progress.judging_state(services.pool, session.session_id)
    if state is None:
        raise UntoldError("it is gone")
    try:
        snapshot = await _snapshot(services, state, target)
        facts = of_snapshot(state, snapshot).facts
        move_ = Move(state.version.lab, target.lab, state.progress, facts)
        return state, await within_budget(target.lab, snapshot, partial(plan, move_, snapshot))
    except GitHubError as error:
        raise UntoldError(f"GitHub: {error}") from error
    except (PatternError, OverBudgetError) as error:
        raise UntoldError(str(error)) from error


async def _snapshot(services: Services, state: JudgingState, target: LabVersion) -> Snapshot:
    """The head of the branch that the new rules name, with all that judging it by the old and the new rules reads."""
    if state.mapping is None:
        raise UntoldError("no repository is connected with it")
    client = services.app.installation(state.mapping.installation_id)
    name, branch = state.mapping.repo_full_name, target.lab.branch or ""
    sha = await client.branch_head(name, branch)
    if sha is None:
        raise UntoldError(f"{name} has no branch {branch!r}")
    snapshot = await gather(services, client, state.lab, state, Head(sha))
    if isinstance(snapshot, CannotVerify):
        raise UntoldError(f"{name} cannot be judged ({snapshot.reason}): {snapshot.detail}".removesuffix(": "))
    needed = partial(needed_for, target.lab, state.progress, snapshot, state.facts)
    more = await services.trees.blobs(client, name, await within_budget(target.lab, snapshot, needed))
    return replace(snapshot, blobs={**snapshot.blobs, **more})
