"""What git's post-receive hook reported -> `push` and `check_suite` deliveries as GitHub makes them.

Limits and fields: GitHub docs, webhook events and payloads, push; OpenAPI `webhook-push`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from .checks import CheckBook
from .core import Core
from .errors import SandboxError
from .gitdata import Commit, Signature
from .gitstore import run_git
from .hooks import Events
from .present import html_of, repository
from .state import Account, Repository
from .views import ZERO

COMMITS_MAX = 2048
FILES_MAX = 3000
TAGS_MAX = 3  # more tags in one push: no event
BRANCHES_MAX = 5000  # more branches in one push: no event


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """One line of post-receive's input."""

    old: str
    new: str
    ref: str


def parse_updates(text: bytes) -> list[RefUpdate]:
    """Parse post-receive's input: `old new ref` lines."""
    updates = []
    for line in text.decode(errors="replace").splitlines():
        old, new, ref = line.split(" ", 2)
        updates.append(RefUpdate(old, new, ref))
    return updates


class PushEvents:
    """Makes the deliveries of a push."""

    def __init__(self, core: Core, events: Events, checks: CheckBook) -> None:
        self._core = core
        self._events = events
        self._checks = checks

    async def announce(self, record: Repository, updates: Sequence[RefUpdate], pusher: Account) -> None:
        """Send one `push` per ref (and `check_suite` requested per new head) of one git push."""
        record.pushed_at = record.updated_at = self._core.now()
        at = self._core.stamp()
        for update in updates:
            self._core.pushes.note(record.path, update.ref, update.old, at)
        installation = self._core.state.installation_on(record)
        if installation is None or installation.suspended_at is not None:
            return
        tags = [update for update in updates if update.ref.startswith("refs/tags/")]
        branches = [update for update in updates if update.ref.startswith("refs/heads/")]
        refs = await self._core.git.refs(record.path, "refs/heads/", "refs/tags/")
        touched = {update.ref for update in updates}
        known = {sha for ref, sha in refs.items() if ref not in touched}
        known |= {update.old for update in updates if update.old != ZERO}
        for update in updates:
            loud = (update in tags and len(tags) <= TAGS_MAX) or (update in branches and len(branches) <= BRANCHES_MAX)
            if loud:
                others = {ref: sha for ref, sha in refs.items() if ref != update.ref}
                await self._push(record, update, pusher, known, others)
            if update.new != ZERO:
                known.add(update.new)

    async def move_branch(self, record: Repository, branch: str, sha: str, pusher: Account) -> None:
        """Set a branch to a commit that is there, and send what a push of it would; SandboxError if that cannot be."""
        if record.archived or not record.writable_by(pusher):
            raise SandboxError(f"{pusher.login} may not push to {record.full_name}")
        ref = f"refs/heads/{branch}"
        if await self._core.git.commit(record.path, sha) is None:
            raise SandboxError(f"{record.full_name} has no commit {sha}")
        old = await self._core.store.resolve(record.path, ref) or ZERO
        await run_git(["update-ref", ref, sha], cwd=record.path)
        await self.announce(record, [RefUpdate(old, sha, ref)], pusher)

    async def _push(
        self, record: Repository, update: RefUpdate, pusher: Account, known: set[str], others: dict[str, str]
    ) -> None:
        path, git = record.path, self._core.git
        created, deleted = update.old == ZERO, update.new == ZERO
        head = None if deleted else await self._core.store.resolve(path, update.new)
        before = None if created else await self._core.store.resolve(path, update.old)
        forced = bool(head and before) and not await git.is_ancestor(path, str(before), str(head))
        commits: list[dict[str, Any]] = []
        if head is not None:
            fresh = set(await git.history(path, head, sorted(known), COMMITS_MAX))
            pushed = await git.history(path, head, [before] if before else sorted(known), COMMITS_MAX)
            commits = await self._commits(record, pushed, fresh)
        head_commit = None
        if head is not None:
            same = [commit for commit in commits if commit["id"] == head]
            (head_commit,) = same or await self._commits(record, [head], {head} if created else set())
        base = [ref for ref, sha in others.items() if sha == update.new and ref.startswith("refs/heads/")]
        extra = {
            "ref": update.ref,
            "before": update.old,
            "after": update.new,
            "pusher": {"name": pusher.login, "email": pusher.email},
            "created": created,
            "deleted": deleted,
            "forced": forced,
            "base_ref": base[0] if created and base else None,
            "compare": self._compare(record, update, commits),
            "commits": commits,
            "head_commit": head_commit,
        }
        self._events.of_repository("push", None, record, pusher, extra, shown=self._shown(record))
        if head is not None and update.ref.startswith("refs/heads/"):
            branch = update.ref.removeprefix("refs/heads/")
            await self._checks.request_suite(record, head, branch, None if created else update.old, pusher)

    def _compare(self, record: Repository, update: RefUpdate, commits: list[dict[str, Any]]) -> str:
        html = html_of(self._core, record)
        if update.old != ZERO:
            return f"{html}/compare/{update.old[:12]}...{update.new[:12]}"
        if commits:
            return f"{html}/compare/{commits[0]['id'][:12]}^...{update.new[:12]}"
        return f"{html}/compare/{update.ref.split('/', 2)[-1]}"

    async def _commits(self, record: Repository, shas: Sequence[str], fresh: set[str]) -> list[dict[str, Any]]:
        """Return the commits as push payloads list them; those in `fresh` are distinct."""
        commits = [await self._known(record, sha) for sha in shas]
        shown = []
        for commit, touched in zip(commits, await self._core.git.touched(record.path, commits), strict=True):
            lists: dict[str, list[str]] = {"added": [], "removed": [], "modified": []}
            for status, path in touched[:FILES_MAX]:
                lists.get(status, lists["modified"]).append(path)
            shown.append({**self._commit_head(record, commit), "distinct": commit.sha in fresh, **lists})
        return shown

    async def _known(self, record: Repository, sha: str) -> Commit:
        commit = await self._core.git.commit(record.path, sha)
        if commit is None:
            raise LookupError(f"commit {sha} of a push is not in {record.full_name}")
        return commit

    def _commit_head(self, record: Repository, commit: Commit) -> dict[str, Any]:
        return {
            "id": commit.sha,
            "tree_id": commit.tree,
            "message": commit.message,
            "timestamp": commit.committer.at.isoformat(),
            "url": f"{html_of(self._core, record)}/commit/{commit.sha}",
            "author": self._person(commit.author),
            "committer": self._person(commit.committer),
        }

    def _person(self, signature: Signature) -> dict[str, Any]:
        person = {"name": signature.name, "email": signature.email, "date": signature.at.astimezone(UTC).isoformat()}
        account = account_of_email(self._core, signature.email)
        return person | ({"username": account.login} if account else {})

    def _shown(self, record: Repository) -> dict[str, Any]:
        """Return the repository as push payloads show it: times as numbers, the owner with name and address."""
        shown = repository(self._core, record)
        owner = record.owner
        shown["owner"] = {"name": owner.login, "email": owner.email, **shown["owner"]}
        return shown | {
            "url": html_of(self._core, record),
            "created_at": int(record.created_at.timestamp()),
            "pushed_at": int(record.pushed_at.timestamp()),
            "stargazers": 0,
            "master_branch": record.default_branch,
            "custom_properties": {},
            **({"organization": owner.login} if owner.kind == "Organization" else {}),
        }


def account_of_email(core: Core, email: str) -> Account | None:
    """Return the account whose private address this is."""
    number, _, login = email.removesuffix("@users.noreply.github.com").partition("+")
    account = core.state.accounts.get(login.casefold())
    return account if account is not None and number == str(account.id) else None
