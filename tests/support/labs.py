"""Small labs, trees and pushes for tests of the rules, written as an author or a learner would say them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rules.model import (
    Changed,
    CommitTree,
    Condition,
    Facts,
    Lab,
    Policy,
    Progress,
    Snapshot,
    Step,
    Tree,
    TreeEntry,
    Verdict,
)
from rules.verdict import judge


@dataclass(frozen=True, slots=True)
class Special:
    """What is no ordinary file: content with another mode. `size`: as the tree tells it; None: the content's."""

    content: bytes
    mode: str
    size: int | None = None


Content = str | bytes | Special
Files = Mapping[str, Content]


def executable(text: str) -> Special:
    """A file with the executable bit."""
    return Special(text.encode(), "100755")


def link(target: str) -> Special:
    """A symbolic link."""
    return Special(target.encode(), "120000")


def submodule(name: str) -> Special:
    """A submodule at some commit."""
    return Special(name.encode(), "160000")


def large(size: int) -> Special:
    """A file that the tree says to be so large, in bytes; its content is not there."""
    return Special(b"large", "100644", size)


def blob_sha(content: bytes) -> str:
    """git's object id of a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def special(content: Content) -> Special:
    """Any content with its mode."""
    if isinstance(content, Special):
        return content
    return Special(content.encode() if isinstance(content, str) else content, "100644")


def tree(files: Files) -> Tree:
    """The tree of these files."""
    return {path: _entry(path, special(content)) for path, content in files.items()}


def _entry(path: str, content: Special) -> TreeEntry:
    size = len(content.content) if content.size is None else content.size
    return TreeEntry(path, content.mode, blob_sha(content.content), size)


def blobs(*all_files: Files) -> dict[str, bytes]:
    """The contents of all these files by blob sha."""
    contents = [special(content) for files in all_files for content in files.values()]
    return {blob_sha(content.content): content.content for content in contents}


def sha(name: str) -> str:
    """A commit sha for a name."""
    return hashlib.sha1(name.encode()).hexdigest()


def step(
    step_id: str,
    *files: str,
    needs: Iterable[str] = (),
    complete: Condition | None = None,
    optional: bool = False,
    aliases: Iterable[str] = (),
) -> Step:
    """A step whose title is its id. Without `complete` any change of its files completes it."""
    return Step(
        id=step_id,
        title=step_id,
        files=files,
        needs=tuple(needs),
        complete=complete or Changed(),
        optional=optional,
        aliases=tuple(aliases),
    )


def lab(
    *steps: Step,
    protected: Iterable[str] = (),
    shared: Iterable[str] = (),
    policy: Policy | None = None,
) -> Lab:
    """A lab of these steps. `.forgea/**` is protected, as in every lab that is read from a file."""
    return Lab(
        title="lab",
        branch="main",
        protected=(*protected, ".forgea/**"),
        shared=tuple(shared),
        policy=policy or Policy(),
        steps=steps,
    )


def chain(*names: str, policy: Policy | None = None) -> Lab:
    """Steps that need each other in a row; step `x` owns `x.txt` and everything in `x/`, and wants a change there."""
    steps = [step(name, f"/{name}.txt", f"/{name}/**", needs=names[:number][-1:]) for number, name in enumerate(names)]
    return lab(*steps, policy=policy)


def snapshot(
    head: Files,
    *,
    template: Files | None = None,
    accepted: Files | None = None,
    later: Sequence[Files] = (),
    commits: Sequence[Files] = (),
    rewrite: bool = False,
    head_sha: str = "head",
) -> Snapshot:
    """A push of `head`. Without `accepted` nothing was accepted yet. Commits are named c1, c2, ..."""
    template = template or {}
    base = template if accepted is None else accepted
    return Snapshot(
        template=tree(template),
        accepted=tree(base),
        head=tree(head),
        head_sha=sha(head_sha),
        accepted_sha=None if accepted is None else sha("accepted"),
        rewrite=rewrite,
        later_templates=tuple(tree(files) for files in later),
        commits=tuple(CommitTree(sha(f"c{number}"), tree(files)) for number, files in enumerate(commits, start=1)),
        blobs=blobs(template, base, head, *later, *commits),
    )


def verdict_of(
    a_lab: Lab,
    a_snapshot: Snapshot,
    *,
    done: Iterable[str] = (),
    since_accepted: Iterable[str] = (),
    facts: Facts | None = None,
) -> Verdict:
    """The verdict on a push by a learner who has completed these steps, some of them at blocked heads."""
    progress = Progress(frozenset(done), frozenset(since_accepted))
    return judge(a_lab, progress, a_snapshot, facts or Facts())


def saved(progress: Progress, verdict: Verdict) -> Progress:
    """Progress once a verdict is saved."""
    if not verdict.blocked:
        return Progress(verdict.done_after)
    since = progress.since_accepted | {gain.step_id for gain in verdict.gains}
    return Progress(verdict.done_after, since & verdict.done_after)


def gained(verdict: Verdict) -> list[str]:
    """Ids of the steps that the head completed, in order."""
    return [gain.step_id for gain in verdict.gains]


def lost(verdict: Verdict) -> dict[str, str]:
    """Ids of the steps that were reopened, with the reason."""
    return {loss.step_id: loss.reason for loss in verdict.losses}


def violating(verdict: Verdict) -> dict[str, str]:
    """Paths that violate, with the code."""
    return {violation.path: violation.code.value for violation in verdict.violations}


def states(verdict: Verdict) -> dict[str, str]:
    """Steps with their states."""
    return {status.step_id: status.state.value for status in verdict.steps}
