"""Gather what a verdict looks at: trees, ancestry and contents, read through the API and cached by sha."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from bot.budget import OverBudgetError, within_budget
from bot.services import Services
from github.client import InstallationClient
from github.errors import IncompleteTree, InstallationError, NotFound, Permanent, Transient
from rules.conditions import needed_for
from rules.model import CannotVerify, CommitTree, LabRecord, Push, Snapshot
from rules.patterns import PatternError
from rules.replay import MAX_COMMITS
from storage.progress import JudgingState

# Files of all those commits together: each has a tree of its own in memory, some 300 bytes a file. Beyond, as above.
MAX_COMMIT_FILES = 400_000


class NotVisibleError(Transient):
    """Something of the learner's repository is not there: not yet, not on the replica that was asked, or not any more.

    Nothing may be concluded from that about what was pushed.
    """


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
    services: Services,
    client: InstallationClient,
    lab: LabRecord,
    state: JudgingState,
    head: Head,
    *,
    young: bool = False,
) -> Snapshot | CannotVerify:
    """Read everything that judging `head` of the bound repository needs; CannotVerify when that is not possible, and
    will not be possible for this head later.

    `young`: what tells of the head is so new that the API may not show all of it yet.
    Raises Transient when a later try may have all (NotVisibleError: what GitHub shows is not, or no longer, complete),
    and other GitHubErrors of the learner's repository and installation.
    """
    assert state.mapping  # noqa: S101 (what is judged is bound)
    name, accepted_sha = state.mapping.repo_full_name, state.session.accepted_sha
    try:
        template, later = await template_trees(services, client, lab, state)
    except IncompleteTree as error:
        return CannotVerify(head.sha, error.reason, f"the lab's template: {error}")
    except (Permanent, InstallationError) as error:  # not the learner's business: it is mended, and tried again
        raise Transient(f"the lab's template cannot be read: {error}") from error
    try:
        head_tree = await services.trees.files(client, name, head.sha)
        accepted = await services.trees.files(client, name, accepted_sha) if accepted_sha else template
        rewrite, between = await _history(client, name, state, head, young=young)
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
    except NotFound as error:
        raise NotVisibleError(f"{name} at {head.sha}: {error}") from error
    except IncompleteTree as error:
        return CannotVerify(head.sha, error.reason, str(error))
    except PatternError as error:
        return CannotVerify(head.sha, "LAB_FILE", str(error))
    except OverBudgetError as error:
        return CannotVerify(head.sha, "TOO_LARGE", str(error))


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
    client: InstallationClient, name: str, state: JudgingState, head: Head, *, young: bool
) -> tuple[bool, tuple[str, ...]]:
    """Whether HEAD rewrites ACCEPTED, and the first-parent commits between them (oldest first, without HEAD).

    Costs no call when one commit was pushed on the accepted head, one comparison otherwise (and two calls more when it
    does not know one of the commits).
    """
    accepted = state.session.accepted_sha
    base = accepted or state.template_sha
    if head.sha == accepted or head.parent == base:
        return False, ()
    comparison = await client.compare(name, base, head.sha)
    if comparison is None:  # the base is unknown there: generated from the template, or gone with a rewrite
        await client.commit(name, head.sha)  # NotFound: it is the head that is unknown, to the replica that was asked
        if young and await _knows(client, name, base):
            raise NotVisibleError(f"{name}: {base} and {head.sha} are there, and cannot be compared (yet)")
        return accepted is not None, ()
    rewrite = accepted is not None and comparison.status not in ("ahead", "identical")
    if comparison.complete:
        return rewrite, first_parents(head.sha, dict(comparison.commits))
    return rewrite, await _walked(client, name, base, head.sha, dict(comparison.commits))


async def _walked(
    client: InstallationClient, name: str, base: str, head: str, known: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The same line as `first_parents` gives, when GitHub does not list all commits (the 250 oldest: GitHub's OpenAPI
    description, repos/compare-commits): read commit by commit from the head down to `base`, or to `known` ones.

    A merge of hundreds of commits may be the one commit of its line.
    """
    line: list[str] = []
    sha = head
    while len(line) < MAX_COMMITS:
        listed = known.get(sha)
        above = (await client.commit(name, sha)).parents if listed is None else listed
        if not above or above[0] == base or (listed is not None and above[0] not in known):
            return tuple(reversed(line))
        sha = above[0]
        line.append(sha)
    return ()


async def _knows(client: InstallationClient, name: str, sha: str) -> bool:
    """Whether the repository has the commit."""
    try:
        await client.commit(name, sha)
    except NotFound:
        return False
    return True


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
