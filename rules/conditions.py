"""When a step is complete: its condition over a tree and the facts (steps.md sections 3 and 5).

Conditions are three-valued inside: a file that is too large, or one of too many, leaves `contains` and `lacks`
undecided, and what is undecided never holds, under a `not` neither.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final, Literal, assert_never

from rules.effort import Tick, unlimited
from rules.evidence import Evidence, Truth, View, is_small, readable
from rules.mapping import PathMap, each_pattern, leaves
from rules.model import (
    Absent,
    AllOf,
    AnyOf,
    Approval,
    Changed,
    Check,
    Condition,
    Contains,
    Exists,
    Facts,
    Lab,
    Lacks,
    Not,
    Nothing,
    Progress,
    Snapshot,
    Step,
    StepState,
    Tree,
    Verdict,
    ViolationCode,
    Workflow,
)
from rules.snapshot import entry_kind

# In the phrases of `missing_facts`; the report says more where it finds them.
WORKFLOW: Final = "workflow "
CHECK: Final = "check "
NOT_READABLE: Final = "which this App is not allowed to read yet"
ENDED_WITH: Final = "which ended with"
APPROVAL: Final = "approval by staff"
REOPENED: Final = "staff, who reopened it"

# ------------------------------------------------------------------------------------------------------- evaluation


def holds(step: Step, view: View, evidence: Evidence) -> bool:
    """Whether the step's condition holds for a tree, with the facts as they are. MissingBlob if a content lacks."""
    return _truth(step.complete, step, view, evidence, given=False) is True


def tree_holds(step: Step, view: View, evidence: Evidence) -> bool:
    """Whether the tree has all that the step wants of it: workflow runs, checks and approvals are taken as given.

    This is what a push can take away: that a new head has no workflow run yet takes nothing from a completed step.
    """
    return _truth(step.complete, step, view, evidence, given=True) is True


def missing_facts(step: Step, view: View, evidence: Evidence) -> tuple[str, ...]:
    """What the step waits for, when it lacks nothing but facts: phrases such as "approval by staff". Else nothing."""
    return _missing(step.complete, step, view, evidence)


def awaits_staff(verdict: Verdict) -> bool:
    """Whether some step goes on by a decision of staff's."""
    phrases = (phrase for status in verdict.steps for phrase in status.waiting_for)
    return any(APPROVAL in phrase or phrase == REOPENED for phrase in phrases)


def _truth(condition: Condition, step: Step, view: View, evidence: Evidence, *, given: bool) -> Truth:
    match condition:
        case AllOf(of):
            return _all(_truth(part, step, view, evidence, given=given) for part in of)
        case AnyOf(of):
            return _negated(_all(_negated(_truth(part, step, view, evidence, given=given)) for part in of))
        case Not(of):
            return _negated(_truth(of, step, view, evidence, given=given))
        case Approval() | Workflow() | Check():
            return given or _known(condition, step, view, evidence)
        case _:
            return _tree_truth(condition, step, view, evidence)


def _all(parts: Iterable[Truth]) -> Truth:
    """False if one part is; else undecided if one part is; else true."""
    answer: Truth = True
    for part in parts:
        if part is False:
            return False
        answer = answer if part else None
    return answer


def _negated(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _known(condition: Approval | Workflow | Check, step: Step, view: View, evidence: Evidence) -> bool:
    """Whether a fact is there: an approval for the session, a run or check on exactly the commit of the tree."""
    facts = evidence.facts
    match condition:
        case Approval():
            return step.id in facts.approved
        case Workflow(path):
            return (path, view.sha) in facts.workflows and evidence.intact(view.tree)
        case Check(name, app_id):
            return (name, app_id, view.sha) in facts.checks
        case _:
            assert_never(condition)


def _tree_truth(
    condition: Changed | Exists | Absent | Contains | Lacks | Nothing, step: Step, view: View, evidence: Evidence
) -> Truth:
    match condition:
        case Nothing():
            return True
        case Changed(match):
            return _changed(match, step, view, evidence)
        case Exists(paths):
            return all(_present(path, view, evidence) for path in paths)
        case Absent(paths):
            return not any(_present(path, view, evidence) for path in paths)
        case Contains(path, expression):
            return evidence.search(path, expression, view)
        case Lacks(path, expression):
            return _all((_has_file(path, view, evidence), _negated(evidence.search(path, expression, view))))
        case _:
            assert_never(condition)


def _changed(match: str | int, step: Step, view: View, evidence: Evidence) -> bool:
    work = evidence.work(step, view)
    if match == "any":
        return next(work, None) is not None
    if match == "all":
        missing = set(each_pattern(step.files))
        for path in work:
            missing -= {pattern for pattern in missing if evidence.paths.fits(path, pattern)}
            if not missing:
                return True
        return False
    return sum(1 for _ in islice(work, int(match))) == int(match)


def _present(path: str, view: View, evidence: Evidence) -> bool:
    names = evidence.paths.named(path)
    evidence.paths.tick(len(names))
    return any(view.entry(name) is not None for name in names)


def _has_file(path: str, view: View, evidence: Evidence) -> bool:
    names = evidence.paths.named(path)
    evidence.paths.tick(len(names))
    entries = (view.entry(name) for name in names)
    return any(entry is not None and entry_kind(entry) == "file" for entry in entries)


def _missing(condition: Condition, step: Step, view: View, evidence: Evidence) -> tuple[str, ...]:
    if _truth(condition, step, view, evidence, given=False) is True:
        return ()
    if _truth(condition, step, view, evidence, given=True) is not True:
        return ()
    match condition:
        case AllOf(of):
            return tuple(dict.fromkeys(word for part in of for word in _missing(part, step, view, evidence)))
        case AnyOf(of):
            ways = (" and ".join(_missing(part, step, view, evidence)) for part in of)
            return (" or ".join(dict.fromkeys(way for way in ways if way)),)
        case Workflow(path) if not evidence.intact(view.tree):
            return (f"{WORKFLOW}{path}, which counts once the protected files are the template's",)
        case Workflow(path):
            return (f"{WORKFLOW}{path}{_standing(evidence.facts, 'workflow', path, 0, view.sha)}",)
        case Check(name, app_id):
            return (f"{CHECK}{name}{_standing(evidence.facts, 'check', name, app_id, view.sha)}",)
        case _:
            return (APPROVAL,)


def _standing(facts: Facts, kind: Literal["workflow", "check"], name: str, app_id: int, sha: str | None) -> str:
    """What is known of a result that is missing: that it may not be read, or that it was no success."""
    if kind in facts.unreadable:
        return f", {NOT_READABLE}"
    ended = {conclusion for *what, conclusion in facts.unsuccessful if what == [name, app_id, sha]}
    return f", {ENDED_WITH} {min(ended)}" if ended else ""


def awaited(lab: Lab, verdict: Verdict, facts: Facts) -> frozenset[tuple[str, int]]:
    """What the waiting steps await on the judged head: (workflow path, 0) and (check name, app id).

    Nothing of a workflow while protected files are not the template's: then no run counts.
    """
    astray = any(violation.code is ViolationCode.PROTECTED_PATH for violation in verdict.violations)
    waiting = {status.step_id for status in verdict.steps if status.state is StepState.WAITING}
    found: set[tuple[str, int]] = set()
    for leaf in (leaf for step in lab.steps if step.id in waiting for leaf in leaves(step.complete)):
        match leaf:
            case Workflow(path) if not astray and (path, verdict.head_sha) not in facts.workflows:
                found.add((path, 0))
            case Check(name, app_id) if (name, app_id, verdict.head_sha) not in facts.checks:
                found.add((name, app_id))
            case _:
                pass
    return frozenset(found)


# ---------------------------------------------------------------------------------------------- which blobs to fetch


def todays_ids(lab: Lab, ids: Collection[str]) -> frozenset[str]:
    """The steps of the lab that these ids mean, old ids (`aliases`) included."""
    return frozenset(step.id for step in lab.steps if step.id in ids or any(old in ids for old in step.aliases))


def may_reopen(lab: Lab, snapshot: Snapshot, facts: Facts) -> bool:
    """Whether judging may have to look again at completed steps: something could be taken away, or staff reopened."""
    reopen = lab.policy.reopen
    return reopen == "always" or (reopen == "rewrite" and is_rewrite(snapshot)) or bool(facts.reopened)


def is_rewrite(snapshot: Snapshot) -> bool:
    """steps.md section 5, `rewrite`: ACCEPTED is a commit and not an ancestor of HEAD."""
    return snapshot.accepted_sha is not None and snapshot.rewrite


def needed(
    lab: Lab, done: frozenset[str], *trees: Tree, reopens: bool = True, tick: Tick = unlimited
) -> frozenset[str]:
    """Shas of the blobs whose content judging these trees may look at, each at most MAX_BYTES.

    `done`: completed steps, by stored id. `reopens` False: the caller knows that none of them can be reopened
    (`may_reopen`), so that they need not be read, except those earned at a blocked head, which are not to be in `done`.
    """
    skipped = frozenset[str]() if reopens else todays_ids(lab, done)
    names = _read_paths(lab, skipped)
    paths = PathMap(lab, trees if names else (), tick)
    return frozenset(
        entry.sha
        for tree in trees
        for path in names
        for name in readable(paths, tree, path)
        if is_small((entry := tree[name]).size)
    )


def needed_for(
    lab: Lab, progress: Progress, snapshot: Snapshot, facts: Facts, tick: Tick = unlimited
) -> frozenset[str]:
    """Shas of all blobs that `judge` may look at for this snapshot, whose `blobs` need not be filled yet.

    `tick`: as for `judge`. PatternError if the lab's patterns do not fit into RE2 (the author's fault).
    """
    reopens = may_reopen(lab, snapshot, facts)
    trees = (snapshot.accepted, snapshot.head, *(commit.tree for commit in snapshot.commits))
    done = progress.done - progress.since_accepted
    return needed(lab, done, *trees, reopens=reopens, tick=tick) | _needed_protected(lab, snapshot, tick)


def _needed_protected(lab: Lab, snapshot: Snapshot, tick: Tick) -> frozenset[str]:
    """Blobs of protected files that a condition reads: where they went astray, the template's are judged instead."""
    names = _read_paths(lab, frozenset())
    versions = (snapshot.template, *snapshot.later_templates)
    paths = PathMap(lab, versions if names else (), tick)
    return frozenset(
        entry.sha
        for tree in versions
        for path in names
        for name in readable(paths, tree, path)
        if is_small((entry := tree[name]).size) and paths.place(name).protected
    )


def _read_paths(lab: Lab, skipped: frozenset[str]) -> tuple[str, ...]:
    """The paths whose content the conditions of the lab's steps ask for, without the skipped steps."""
    wanted = (leaf for step in lab.steps if step.id not in skipped for leaf in leaves(step.complete))
    return tuple(dict.fromkeys(leaf.path for leaf in wanted if isinstance(leaf, Contains | Lacks)))
