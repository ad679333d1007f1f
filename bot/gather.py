"""Gather what a verdict looks at: trees, ancestry and contents, read through the API and cached by sha."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from bot.budget import OverBudgetError, within_budget
from bot.services import Services
from github.client import InstallationClient
from github.errors import IncompleteTree, InstallationError, NotFound, Transient
from rules.conditions import needed_for
from rules.model import CannotVerify, CommitTree, LabRecord, Push, Snapshot
from rules.patterns import PatternError
from rules.replay import MAX_COMMITS
from storage.progress import JudgingState

# Files of all those commits together: each has a tree of its own in memory, some 300 bytes a file. Beyond, as above.
MAX_COMMIT_FILES = 400_000


@dataclass(frozen=True, slots=True)
class Head:
    """The head to judge. `parent`: its parent, when the push tells that it is a single commit on it."""

    sha: str
    parent: str | None = None


async def newest_head(client: InstallationClient, push: Push, *, certain: bool) -> Head | None:
    """The newest head of the pushed branch: the push's own when the chain is unbroken, else what the ref says now.

    None: the branch is gone. `certain` tells that the chain leads from the last known head to `push` without a gap.
    """
    if certain:
        return Head(push.after, parent=push.before if push.single_commit and not push.forced else None)
    sha = await client.branch_head(push.repo.full_name, push.branch or "")
    return Head(sha) if sha is not None else None


async def gather(
    services: Services, client: InstallationClient, lab: LabRecord, state: JudgingState, head: Head
) -> Snapshot | CannotVerify:
    """Read everything that judging `head` of the bound repository needs; CannotVerify when that is not possible.

    Raises GitHubError when GitHub does not answer as it should; the delivery is then retried.
    """
    assert state.mapping  # noqa: S101 (what is judged is bound)
    name, accepted_sha = state.mapping.repo_full_name, state.session.accepted_sha
    try:
        template, later = await template_trees(services, client, lab, state)
    except (NotFound, InstallationError) as error:
        return CannotVerify(head.sha, "GITHUB", f"the lab's template cannot be read: {error}")
    except IncompleteTree as error:
        return CannotVerify(head.sha, error.reason, f"the lab's template: {error}")
    try:
        head_tree = await _head_tree(services, client, name, head.sha)
        accepted = await services.trees.files(client, name, accepted_sha) if accepted_sha else template
        rewrite, between = await _history(client, name, state, head)
        commits = await _commit_trees(services, client, name, between)
        snapshot = Snapshot(
            template=template.tree,
            accepted=accepted.tree,
            head=head_tree.tree,
            head_sha=head.sha,
            accepted_sha=accepted_sha,
            rewrite=rewrite,
            later_templates=tuple(commit.tree for commit in later),
            commits=commits,
        )
        needed = partial(needed_for, state.version.lab, state.progress, snapshot, state.facts)
        shas = await within_budget(state.version.lab, snapshot, needed)
        return replace(snapshot, blobs=await services.trees.blobs(client, name, shas))
    except IncompleteTree as error:
        return CannotVerify(head.sha, error.reason, str(error))
    except PatternError as error:
        return CannotVerify(head.sha, "LAB_FILE", str(error))
    except OverBudgetError as error:
        return CannotVerify(head.sha, "TOO_LARGE", str(error))


async def _head_tree(services: Services, client: InstallationClient, name: str, sha: str) -> CommitTree:
    """The head's files. A head that is not there yet may only not be visible yet: that is tried again later."""
    try:
        return await services.trees.files(client, name, sha)
    except NotFound as error:
        raise Transient(f"{name}: commit {sha} is not visible (yet): {error}") from error


async def _commit_trees(
    services: Services, client: InstallationClient, name: str, shas: tuple[str, ...]
) -> tuple[CommitTree, ...]:
    """The files of commits; none when they are too many: then gains are earned at the head only."""
    trees: list[CommitTree] = []
    files = 0
    for sha in shas:
        trees.append(await services.trees.files(client, name, sha))
        files += len(trees[-1].tree)
        if files > MAX_COMMIT_FILES:
            return ()
    return tuple(trees)


async def template_trees(
    services: Services, client: InstallationClient, lab: LabRecord, state: JudgingState
) -> tuple[CommitTree, list[CommitTree]]:
    """The template's files as the learner was given them, and at every later commit of its branch (cached by sha).

    A template is read with its own installation; a public one also with the learner's.
    """
    reader = services.app.installation(lab.base_installation_id) if lab.base_installation_id else client
    pinned = await services.trees.files(reader, lab.base_repo_full_name, state.template_sha)
    later = [await services.trees.files(reader, lab.base_repo_full_name, sha) for sha in state.later_templates]
    return pinned, later


async def _history(
    client: InstallationClient, name: str, state: JudgingState, head: Head
) -> tuple[bool, tuple[str, ...]]:
    """Whether HEAD rewrites ACCEPTED, and the first-parent commits between them (oldest first, without HEAD).

    Costs no call when one commit was pushed on the accepted head, one comparison otherwise.
    """
    accepted = state.session.accepted_sha
    base = accepted or state.template_sha
    if head.sha == accepted or head.parent == base:
        return False, ()
    comparison = await client.compare(name, base, head.sha)
    if comparison is None:  # the base is unknown there: generated from the template, or gone with a rewrite
        return accepted is not None, ()
    rewrite = accepted is not None and comparison.status not in ("ahead", "identical")
    return rewrite, first_parents(head.sha, dict(comparison.commits)) if comparison.complete else ()


def first_parents(head: str, parents: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The first-parent line below `head` within `parents` (sha -> parents), oldest first, without `head` itself.

    Empty when it is longer than MAX_COMMITS: then gains are earned at the head only.
    """
    line = []
    sha = head
    while (above := parents.get(sha, ())) and above[0] in parents:
        sha = above[0]
        line.append(sha)
        if len(line) >= MAX_COMMITS:
            return ()
    return tuple(reversed(line))
