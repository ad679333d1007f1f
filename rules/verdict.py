"""judge(lab, progress, snapshot, facts) -> Verdict: steps.md section 5, line by line, in its own words.

    rewrite       conditions.is_rewrite             open(done)     permission.Rules.is_open
    taken away    _taken_away                       held, JUDGED   permission.Held, evidence.View
    start         _Case.start                       done1          _fixpoint, at each commit of the push
    path verdict  permission.Changes, Verdicts      gains, losses  _gains, _losses

A pure function of state: not of events, of their order or number, nor of a payload.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from rules.conditions import REOPENED, holds, is_rewrite, missing_facts, todays_ids, tree_holds
from rules.effort import Tick, unlimited
from rules.evidence import Evidence, View
from rules.lazy import Lazy
from rules.mapping import PathMap
from rules.model import (
    ChangeKind,
    CommitTree,
    Facts,
    Gain,
    Lab,
    Loss,
    PathOutcome,
    PathVerdict,
    Progress,
    Snapshot,
    StepState,
    StepStatus,
    Verdict,
    Violation,
)
from rules.nearmiss import MAX_PATHS, near_misses
from rules.permission import Changes, Held, Rules, Verdicts
from rules.snapshot import diff
from rules.template import Template


def judge(lab: Lab, progress: Progress, snapshot: Snapshot, facts: Facts, tick: Tick = unlimited) -> Verdict:
    """The verdict on HEAD. Deterministic and total for a valid lab and a complete snapshot.

    `snapshot.blobs` must hold what `conditions.needed_for` names: MissingBlob otherwise (our fault). PatternError if
    the lab's patterns do not fit into RE2 (the author's fault). `tick` is told of the work that grows with lab and
    trees before it is done; what it raises ends the judgement.
    """
    case = _Case.of(lab, progress, snapshot, facts, tick)
    done1, judged, earned = _done1(case)
    verdicts = Verdicts(case.head, case.rules, done1)
    paths = _paths(case, verdicts, done1)
    found = _violations(verdicts, paths)
    return Verdict(
        head_sha=snapshot.head_sha,
        accepted_before=snapshot.accepted_sha,
        blocked=any(violation.level == "block" for violation in found),
        done_before=case.done,
        done_after=done1,
        gains=_gains(case, earned),
        losses=_losses(case, done1),
        violations=found,
        paths=paths,
        steps=tuple(_step_statuses(case, done1, judged)),
        complete=all(step.optional or step.id in done1 for step in lab.steps),
        rewrite=is_rewrite(snapshot),
        template_number=case.head.astray.number,
        untouched=not case.done and not found and case.rules.template.handed_out(snapshot.head),
    )


def facts_digest(facts: Facts) -> str:
    """A digest of the facts (SHA-256, hex): equal facts, equal digest, whatever the order they came in."""
    fields = {name: sorted(getattr(facts, name)) for name in Facts.__dataclass_fields__}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


# ------------------------------------------------------------------------------------------------------- the case


@dataclass(frozen=True, slots=True)
class _Lost:
    """Steps that are no longer done at the start of a judgement, by reason."""

    by_staff: frozenset[str] = frozenset()
    taken_away: frozenset[str] = frozenset()
    needing: frozenset[str] = frozenset()  # they need one of the others


@dataclass(frozen=True)
class _Case:
    """What stays the same throughout one judgement, all under today's step ids."""

    lab: Lab
    snapshot: Snapshot
    facts: Facts
    done: frozenset[str]
    evidence: Evidence
    rules_before: Rules

    @classmethod
    def of(cls, lab: Lab, progress: Progress, snapshot: Snapshot, facts: Facts, tick: Tick) -> _Case:
        facts = _todays_facts(lab, facts)
        done = todays_ids(lab, progress.done)
        trees = (snapshot.accepted, snapshot.head, *(commit.tree for commit in snapshot.commits))
        paths = PathMap(lab, (snapshot.template, *snapshot.later_templates, *trees), tick)
        template = Template(snapshot.template, snapshot.later_templates, paths)
        evidence = Evidence(lab, paths, template, trees=trees, facts=facts, blobs=snapshot.blobs)
        rules = Rules(
            lab=lab,
            paths=paths,
            template=template,
            accepted=snapshot.accepted,
            facts=facts,
            before=done - todays_ids(lab, progress.since_accepted),
            forgiven=snapshot.head_sha in facts.accepted_heads,
        )
        return cls(lab, snapshot, facts, done, evidence, rules)

    @Lazy
    def head(self) -> Changes:
        """diff(ACCEPTED, HEAD), the one that path verdicts look at."""
        return Changes(self.snapshot.head, self.rules_before)

    @Lazy
    def lost(self) -> _Lost:
        """What is not done at the start: reopened by staff, taken away, and every completed step that needs one."""
        by_staff = self.kept_open & self.done
        taken_away = _taken_away(self) - by_staff
        gone = by_staff | taken_away
        for _ in self.lab.steps:  # at most so many rounds, whatever the order of the list
            gone |= {step.id for step in self.lab.steps if not gone.isdisjoint(step.needs)} & self.losable
        return _Lost(by_staff, taken_away, gone - by_staff - taken_away)

    @property
    def losable(self) -> frozenset[str]:
        """Completed steps without staff's override."""
        return self.done - self.facts.completed

    @Lazy
    def start(self) -> frozenset[str]:
        """start = done - taken away; and what staff completed is done, whatever the tree has."""
        lost = self.lost
        return (self.done - lost.by_staff - lost.taken_away - lost.needing) | self.facts.completed

    @property
    def kept_open(self) -> frozenset[str]:
        """What staff reopened is not completed by any condition as long as they say so."""
        return self.facts.reopened - self.facts.completed

    @Lazy
    def rules(self) -> Rules:
        """The rules once it is known what is done at the start: work on a step that was reopened is no rework."""
        return replace(self.rules_before, before=self.rules_before.before & self.start)


def _todays_facts(lab: Lab, facts: Facts) -> Facts:
    return replace(
        facts,
        approved=todays_ids(lab, facts.approved),
        completed=todays_ids(lab, facts.completed),
        reopened=todays_ids(lab, facts.reopened),
        unlocked=todays_ids(lab, facts.unlocked),
    )


def _taken_away(case: _Case) -> frozenset[str]:
    """Completed steps, without staff's override, whose condition held at ACCEPTED and does not hold at HEAD.

    When policy.reopen says so; and at HEAD with the paths put back that violate by what was done before: a violating
    path takes nothing away.
    """
    reopen = case.lab.policy.reopen
    if reopen == "never" or (reopen == "rewrite" and not is_rewrite(case.snapshot)):
        return frozenset()
    accepted = View(case.snapshot.accepted, case.snapshot.accepted_sha)
    held = Held((case.head,), case.rules_before, case.rules_before.before)
    head = View(case.snapshot.head, case.snapshot.head_sha, held.back)
    losable = case.losable
    return frozenset(
        step.id
        for step in case.lab.steps
        if step.id in losable
        and tree_holds(step, accepted, case.evidence)
        and not tree_holds(step, head, case.evidence)
    )


# ------------------------------------------------------------------------------------------------------ completion


def _done1(case: _Case) -> tuple[frozenset[str], View, dict[str, str]]:
    """done1, JUDGED at HEAD, and the commit at which each step was earned that `done` lacks.

    The commits of the push are gone through as if each had been pushed by itself, from what was done at ACCEPTED: a
    step that was earned since then at one of them (the head was blocked) is earned again at its place, not before.
    """
    done = case.rules.before | case.facts.completed
    earned: dict[str, str] = {}
    returning = case.lost.needing & case.rules_before.before
    for commit in case.snapshot.commits:
        done, _ = _fixpoint(case, commit, done, returning)
        for step_id in done - case.done:
            earned.setdefault(step_id, commit.sha)
    head = CommitTree(case.snapshot.head_sha, case.snapshot.head)
    done1, judged = _fixpoint(case, head, done | case.start, case.lost.needing)
    return done1, judged, dict.fromkeys(done1 - case.done, head.sha) | earned


def _fixpoint(
    case: _Case, commit: CommitTree, start: frozenset[str], returning: frozenset[str]
) -> tuple[frozenset[str], View]:
    """done1 at one commit of the push, and JUDGED: the commit's tree with each held path put back.

    repeat { for s in open, in list order: if holds(s.complete, JUDGED) then done += s } until nothing changes

    Held are the paths that violate at this commit or at HEAD: neither may help. Held only shrinks while done grows, and
    does so at once: an open step never has its own files held. `returning` steps were lost only because they need a
    lost one, and come back with it: their own result was not taken away.
    """
    at_head = commit.tree is case.snapshot.head
    changes = (case.head,) if at_head else (case.head, Changes(commit.tree, case.rules))
    held = Held(changes, case.rules, start)
    judged = View(commit.tree, commit.sha, held.back)
    done = set(start)
    failed: set[str] = set()  # steps whose condition does not hold for JUDGED as it is
    again = True
    while again:
        again = False
        for step in case.lab.steps:
            if step.id in failed or step.id in case.kept_open or not case.rules.is_open(step, done):
                continue
            if step.id in returning or holds(step, judged, case.evidence):
                done.add(step.id)
                again = True
                if held.release(done):
                    failed.clear()
            else:
                failed.add(step.id)
    return frozenset(done), judged


def _gains(case: _Case, earned: dict[str, str]) -> tuple[Gain, ...]:
    """gains = done1 - done, commit by commit. What staff completed is not earned by a commit: it is told at HEAD."""
    head = case.snapshot.head_sha
    order = [*(commit.sha for commit in case.snapshot.commits), head]
    gains = [
        Gain(step.id, head if step.id in case.facts.completed else earned[step.id])
        for step in case.lab.steps
        if step.id in earned
    ]
    return tuple(sorted(gains, key=lambda gain: order.index(gain.commit_sha)))


def _losses(case: _Case, done1: Collection[str]) -> tuple[Loss, ...]:
    """losses = done - done1, in list order, each with its reason."""
    losses: list[Loss] = []
    for step in case.lab.steps:
        if step.id not in case.done or step.id in done1:
            continue
        if step.id in case.lost.by_staff:
            losses.append(Loss(step.id, "STAFF"))
        elif step.id in case.lost.taken_away:
            losses.append(Loss(step.id, "TAKEN_AWAY"))
        else:
            losses.append(Loss(step.id, "NEEDS", _not_done(case, step.needs, done1)))
    return tuple(losses)


def _not_done(case: _Case, needs: Sequence[str], done: Collection[str]) -> tuple[str, ...]:
    return tuple(step.id for step in case.lab.steps if step.id in needs and step.id not in done)


# ------------------------------------------------------------------------------------------------- what is told


def _paths(case: _Case, verdicts: Verdicts, done1: Collection[str]) -> tuple[PathVerdict, ...]:
    """The path verdict of each path of diff(ACCEPTED, HEAD), with the name that was probably meant."""
    changes = diff(case.snapshot.accepted, case.snapshot.head, case.head.paths)
    paths = verdicts.of(changes)
    unfinished = {step.id for step in case.lab.steps if step.id not in done1}
    doubtful = list(islice((path.path for path in paths if _is_doubtful(path, unfinished)), MAX_PATHS))
    template, head, tick = case.snapshot.template, case.snapshot.head, case.rules.paths.tick
    meant = near_misses(doubtful, case.lab, unfinished, template, head, tick=tick)
    if not meant:
        return tuple(paths)
    return tuple(path._replace(suggestion=meant[path.path]) if path.path in meant else path for path in paths)


def _is_doubtful(verdict: PathVerdict, unfinished: Collection[str]) -> bool:
    """Whether a path may have been meant for another: it is there, and it has not completed a step."""
    if verdict.change is ChangeKind.REMOVED:
        return False
    if verdict.outcome is PathOutcome.OPEN:
        return verdict.step in unfinished
    return verdict.outcome in (PathOutcome.UNMAPPED, PathOutcome.LOCKED)


def _violations(verdicts: Verdicts, paths: Sequence[PathVerdict]) -> tuple[Violation, ...]:
    meant = {path.path: path.suggestion for path in paths if path.suggestion}
    found = verdicts.violations(paths)
    return tuple(replace(each, suggestion=meant[each.path]) if each.path in meant else each for each in found)


def _step_statuses(case: _Case, done1: Collection[str], judged: View) -> list[StepStatus]:
    """State of each step after the verdict. Waiting: open, and it lacks only facts, or staff reopened what holds."""
    statuses: list[StepStatus] = []
    for step in case.lab.steps:
        if step.id in done1:
            statuses.append(StepStatus(step.id, StepState.DONE))
        elif not case.rules.is_open(step, done1):
            statuses.append(StepStatus(step.id, StepState.LOCKED, missing=_not_done(case, step.needs, done1)))
        else:
            waiting_for = missing_facts(step, judged, case.evidence)
            if not waiting_for and holds(step, judged, case.evidence):
                waiting_for = (REOPENED,)
            state = StepState.WAITING if waiting_for else StepState.OPEN
            statuses.append(StepStatus(step.id, state, waiting_for=waiting_for))
    return statuses
