"""What moving a session from one version of its lab to another would do: decided before anything is written.

The head is judged twice, by the old rules and by the new ones, from the same progress and facts. Completed stays
completed: a step is lost only if the new rules lack it, or if they reopen it at this head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rules.conditions import todays_ids
from rules.effort import Tick, unlimited
from rules.lazy import Lazy
from rules.model import Facts, Lab, Progress, Snapshot, Verdict
from rules.verdict import judge


@dataclass(frozen=True, slots=True)
class Rename:
    """A completed step whose progress counts under another name: `aliases` of the new rules name the old one."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Move:
    """From which rules to which, and what a session has reached under the old ones."""

    old: Lab
    new: Lab
    progress: Progress
    facts: Facts


@dataclass(frozen=True)
class Effects:
    """What a move would do to one session. Steps by id, in the order of their list.

    `dropped`: completed steps that the new rules lack, by their old ids. `completes`: steps that the head completes by
    the new rules; `reopens`: completed ones that it would lose by them. `blocks`: paths that would block, if the head
    is not blocked by the old rules; `unblocks`: it is, and would not be. `finishes`: all required steps would be done.
    `done`, `steps`: how many of the new rules' steps would be done, and how many there are.
    """

    renamed: tuple[Rename, ...] = ()
    dropped: tuple[str, ...] = ()
    completes: tuple[str, ...] = ()
    reopens: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    unblocks: bool = False
    finishes: bool = False
    done: int = 0
    steps: int = 0

    @Lazy
    def words(self) -> tuple[str, ...]:
        """What happens, the gravest first; `("unchanged",)` if nothing does."""
        told = {
            "block": bool(self.blocks),
            "reopen": bool(self.reopens or self.dropped),
            "complete": bool(self.completes),
            "finish": self.finishes,
            "unblock": self.unblocks,
            "renamed": bool(self.renamed),
        }
        return tuple(word for word, holds in told.items() if holds) or ("unchanged",)


def plan(move: Move, snapshot: Snapshot, tick: Tick = unlimited) -> Effects:
    """What the session would be under the new rules, at this head. `snapshot.blobs` must do for both rules.

    Raises what `judge` raises; what `tick` raises ends it.
    """
    by_old = judge(move.old, move.progress, snapshot, move.facts, tick)
    by_new = judge(move.new, move.progress, snapshot, move.facts, tick)
    blocks = tuple(each.path for each in by_new.violations if each.level == "block")
    return Effects(
        renamed=_renamed(move),
        dropped=_dropped(move),
        completes=_in_order(move.new, by_new.done_after - by_new.done_before),
        reopens=_in_order(move.new, by_new.done_before - by_new.done_after),
        blocks=blocks if not by_old.blocked else (),
        unblocks=by_old.blocked and not by_new.blocked,
        finishes=by_new.complete and not _was_complete(move, by_old),
        done=len(by_new.done_after),
        steps=len(move.new.steps),
    )


def renames(old: Lab, new: Lab) -> Mapping[str, str]:
    """Ids that steps of `new` go by today and that `old` does not know -> the id that the same step has in `old`.

    For the way back, from `new` to `old`: `old` has no aliases for names that were made later.
    """
    known = {name: step.id for step in old.steps for name in (step.id, *step.aliases)}
    return {
        step.id: known[alias]
        for step in new.steps
        if step.id not in known
        for alias in reversed(step.aliases)
        if alias in known
    }


def _in_order(lab: Lab, ids: frozenset[str]) -> tuple[str, ...]:
    return tuple(step.id for step in lab.steps if step.id in ids)


def _renamed(move: Move) -> tuple[Rename, ...]:
    """Completed steps of the old rules that the new ones know by another id."""
    done = todays_ids(move.old, move.progress.done)
    names = {alias: step.id for step in move.new.steps for alias in step.aliases}
    ids = {step.id for step in move.new.steps}
    return tuple(
        Rename(step.id, names[step.id])
        for step in move.old.steps
        if step.id in done and step.id not in ids and step.id in names
    )


def _dropped(move: Move) -> tuple[str, ...]:
    """Completed steps of the old rules whose progress means nothing to the new ones, under none of their ids."""
    known = {name for step in move.new.steps for name in (step.id, *step.aliases)}
    return tuple(
        step.id
        for step in move.old.steps
        if (stored := move.progress.done & {step.id, *step.aliases}) and known.isdisjoint(stored)
    )


def _was_complete(move: Move, verdict: Verdict) -> bool:
    return all(step.optional or step.id in verdict.done_before for step in move.old.steps)
