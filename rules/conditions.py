"""When a step is complete: its condition over a tree and the facts (steps.md sections 3 and 5).

Conditions are three-valued inside: a file that is too large, or one of too many, leaves `contains` and `lacks`
undecided, and what is undecided never holds, under a `not` neither.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import assert_never

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
    Tree,
    TreeEntry,
    Workflow,
)
from rules.patterns import compiled_expression
from rules.snapshot import entry_kind
from rules.template import Template

MAX_FILES = 20  # files that a pattern of `contains` or `lacks` has read in one tree: the first in path order
MAX_BYTES = 1 << 20  # of a file that is read

Truth = bool | None  # None: undecided


class MissingBlob(LookupError):  # noqa: N818 - a fact about the snapshot, named as the word it is
    """Our fault: the snapshot lacks a blob that `needed` names. Never an answer about the learner's work."""

    def __init__(self, sha: str) -> None:
        super().__init__(f"The snapshot has no content of blob {sha}.")
        self.sha = sha


@dataclass(frozen=True, slots=True)
class View:
    """A tree as conditions see it. `back`: held paths, each with the tree from which it is put back (JUDGED).

    `sha`: the commit of the tree, which a workflow run or check must have run on.
    """

    tree: Tree
    sha: str | None
    back: Mapping[str, Tree] = field(default_factory=dict)

    def origin(self, path: str) -> Tree:
        """The tree that this path is seen from."""
        return self.back.get(path, self.tree)

    def entry(self, path: str) -> TreeEntry | None:
        """What is at the path."""
        return self.origin(path).get(path)


class Evidence:
    """What conditions are asked about within one judgement: the lab, the template, contents and facts.

    `trees`: every tree that a view may show. `facts` speak of today's step ids.
    """

    def __init__(
        self,
        lab: Lab,
        paths: PathMap,
        template: Template,
        *,
        trees: Sequence[Tree],
        facts: Facts,
        blobs: Mapping[str, bytes],
    ) -> None:
        self.lab = lab
        self.paths = paths
        self.template = template
        self.facts = facts
        self._trees = trees
        self._blobs = blobs
        self._numbers = {step.id: number for number, step in enumerate(lab.steps)}
        self._read: dict[tuple[int, str], frozenset[str]] = {}
        self._found: dict[tuple[str, str], bool] = {}
        self._intact: dict[int, bool] = {}

    def work(self, step: Step, view: View) -> Iterator[str]:
        """Paths of the step whose content in the view is work: not the template's, not shared, not protected."""
        for path in self._workplaces[self._numbers[step.id]]:
            if self.template.is_work(path, view.entry(path)):
                yield path

    @cached_property
    def _workplaces(self) -> Mapping[int, list[str]]:
        """Of each step the paths that are not the pinned template's in some tree: where its work may be."""
        trees = {id(tree): tree for tree in self._trees}.values()
        changed = {path for tree in trees for path in self.template.changed(tree)}
        found: defaultdict[int, list[str]] = defaultdict(list)
        for path in sorted(changed):
            place = self.paths.place(path)
            if not place.protected and not place.shared:
                for owner in place.owners:
                    found[owner].append(path)
        return found

    def intact(self, tree: Tree) -> bool:
        """Whether every protected path of a tree is the template's."""
        if id(tree) not in self._intact:
            self._intact[id(tree)] = not self.template.astray(tree, tree).paths
        return self._intact[id(tree)]

    def search(self, path: str, expression: str, view: View) -> Truth:
        """Whether a regular file that `path` names has text that the expression finds; undecided if one is unread."""
        unread = False
        for name in self.paths.named(path):
            entry = view.entry(name)
            if entry is None or entry_kind(entry) != "file":
                continue
            found = self._has(entry, expression) if name in self._readable(view.origin(name), path) else None
            if found:
                return True
            unread |= found is None
        return None if unread else False

    def _readable(self, tree: Tree, path: str) -> frozenset[str]:
        key = (id(tree), path)
        if key not in self._read:
            self._read[key] = frozenset(readable(self.paths, tree, path))
        return self._read[key]

    def _has(self, entry: TreeEntry, expression: str) -> Truth:
        if not _small(entry.size):
            return None
        content = self._blobs.get(entry.sha)
        if content is None:
            raise MissingBlob(entry.sha)
        if not _small(len(content)):
            return None
        key = (entry.sha, expression)
        if key not in self._found:
            self._found[key] = compiled_expression(expression).search(_text(content)) is not None
        return self._found[key]


def _small(size: int | None) -> bool:
    return size is None or size <= MAX_BYTES


def _text(content: bytes) -> bytes:
    """The file as UTF-8: without byte order mark, CRLF as LF, what is no UTF-8 as U+FFFD."""
    return content.decode("utf-8-sig", "replace").replace("\r\n", "\n").encode()


def readable(paths: PathMap, tree: Tree, path: str) -> Iterator[str]:
    """The regular files of a tree that a condition's path names and that are read: the first MAX_FILES."""
    files = (name for name in paths.named(path) if (entry := tree.get(name)) and entry_kind(entry) == "file")
    return islice(files, MAX_FILES)


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
    return any(view.entry(name) is not None for name in evidence.paths.named(path))


def _has_file(path: str, view: View, evidence: Evidence) -> bool:
    entries = (view.entry(name) for name in evidence.paths.named(path))
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
            return (f"workflow {path}, which counts once the protected files are the template's",)
        case Workflow(path):
            return (f"workflow {path}",)
        case Check(name):
            return (f"check {name}",)
        case _:
            return ("approval by staff",)


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


def needed(lab: Lab, done: frozenset[str], *trees: Tree, reopens: bool = True) -> frozenset[str]:
    """Shas of the blobs whose content judging these trees may look at, each at most MAX_BYTES.

    `done`: completed steps, by stored id. `reopens` False: the caller knows that none of them can be reopened
    (`may_reopen`), so that they need not be read, except those earned at a blocked head, which are not to be in `done`.
    """
    skipped = frozenset[str]() if reopens else todays_ids(lab, done)
    names = _read_paths(lab, skipped)
    paths = PathMap(lab, trees if names else ())
    return frozenset(
        entry.sha
        for tree in trees
        for path in names
        for name in readable(paths, tree, path)
        if _small((entry := tree[name]).size)
    )


def needed_for(lab: Lab, progress: Progress, snapshot: Snapshot, facts: Facts) -> frozenset[str]:
    """Shas of all blobs that `judge` may look at for this snapshot, whose `blobs` need not be filled yet."""
    reopens = may_reopen(lab, snapshot, facts)
    trees = (snapshot.accepted, snapshot.head, *(commit.tree for commit in snapshot.commits))
    done = progress.done - progress.since_accepted
    return needed(lab, done, *trees, reopens=reopens) | _needed_protected(lab, snapshot)


def _needed_protected(lab: Lab, snapshot: Snapshot) -> frozenset[str]:
    """Blobs of protected files that a condition reads: where they went astray, the template's are judged instead."""
    names = _read_paths(lab, frozenset())
    versions = (snapshot.template, *snapshot.later_templates)
    paths = PathMap(lab, versions if names else ())
    return frozenset(
        entry.sha
        for tree in versions
        for path in names
        for name in readable(paths, tree, path)
        if _small((entry := tree[name]).size) and paths.place(name).protected
    )


def _read_paths(lab: Lab, skipped: frozenset[str]) -> tuple[str, ...]:
    """The paths whose content the conditions of the lab's steps ask for, without the skipped steps."""
    wanted = (leaf for step in lab.steps if step.id not in skipped for leaf in leaves(step.complete))
    return tuple(dict.fromkeys(leaf.path for leaf in wanted if isinstance(leaf, Contains | Lacks)))
