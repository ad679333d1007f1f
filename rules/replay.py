"""A session of pushes without GitHub and database: from push to push, what saving a verdict would carry on.

The line is the same as in the App (steps.md sections 5 and 6): a head is judged from ACCEPTED, the progress and the
facts; the verdict moves them on. Authors try their labs with it, and tests ask it what the App must have said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rules.conditions import needed_for
from rules.effort import Tick, unlimited
from rules.model import CommitTree, Facts, Lab, Progress, SessionStatus, Snapshot, Tree, Verdict
from rules.session import event_of, next_status
from rules.verdict import judge

#: Gains are earned at each first-parent commit of a push if it has at most so many, its head included; else at the head
#: only (steps.md section 5).
MAX_COMMITS = 20

#: Contents of blobs by sha. Blobs never change, so that this is a function of its argument whatever it reads from.
Contents = Callable[[frozenset[str]], Mapping[str, bytes]]


@dataclass(frozen=True, slots=True)
class State:
    """A session between two pushes. `accepted` None: nothing was accepted yet, the template is where work starts.

    `blocked_heads`: those since the last accepted one; as many hints are due, and they make a session stuck.
    """

    accepted: CommitTree | None = None
    progress: Progress = field(default_factory=Progress)
    blocked_heads: frozenset[str] = frozenset()
    status: SessionStatus = SessionStatus.IN_PROGRESS


@dataclass(frozen=True, slots=True)
class Pushed:
    """A push. `rewrite`: ACCEPTED is not an ancestor of the head. `commits`: the first-parent commits between ACCEPTED
    (or the template) and the head, oldest first, without either; none when there are MAX_COMMITS or more."""

    head: CommitTree
    commits: tuple[CommitTree, ...] = ()
    rewrite: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """What stays the same for all pushes of a session: its lab, the template's files at the pinned version and at later
    commits of its branch (oldest first), and the setting STUCK_AFTER."""

    lab: Lab
    template: Tree
    later_templates: tuple[Tree, ...] = ()
    stuck_after: int = 3


def play(  # noqa: PLR0917 (what judging takes)
    setting: Setting, state: State, push: Pushed, facts: Facts, contents: Contents, tick: Tick = unlimited
) -> tuple[Verdict, State]:
    """The verdict on a push, and the session after it. The session must be open: a closed one takes no push.

    Raises PatternError if the lab's patterns do not fit into RE2 (the author's fault), and what `tick` raises.
    """
    snapshot = Snapshot(
        template=setting.template,
        accepted=state.accepted.tree if state.accepted else setting.template,
        head=push.head.tree,
        head_sha=push.head.sha,
        accepted_sha=state.accepted.sha if state.accepted else None,
        rewrite=push.rewrite,
        later_templates=setting.later_templates,
        commits=push.commits,
    )
    shas = needed_for(setting.lab, state.progress, snapshot, facts, tick)
    verdict = judge(setting.lab, state.progress, replace(snapshot, blobs=contents(shas)), facts, tick)
    return verdict, after(state, push.head, verdict, setting.stuck_after)


def after(state: State, head: CommitTree, verdict: Verdict, stuck_after: int = 3) -> State:
    """The session once a verdict on its branch is saved; IllegalTransition if it is not open.

    A step that was earned at a blocked head is still in the diff of the next one: that is remembered until a head is
    accepted.
    """
    since = frozenset[str]()
    blocked_heads = frozenset[str]()
    if verdict.blocked:
        since = (state.progress.since_accepted & verdict.done_after) | (verdict.done_after - state.progress.done)
        blocked_heads = state.blocked_heads | {head.sha}
    standing = next_status(state.status, event_of(verdict), blocked_heads=len(blocked_heads), stuck_after=stuck_after)
    return State(
        accepted=state.accepted if verdict.blocked else head,
        progress=Progress(verdict.done_after, since),
        blocked_heads=blocked_heads,
        status=standing.status,
    )


def looked_at(between: Sequence[CommitTree]) -> tuple[CommitTree, ...]:
    """`Pushed.commits` for the first-parent commits between ACCEPTED and the head: all of them, or none if too many."""
    return tuple(between) if len(between) < MAX_COMMITS else ()
