"""Operations on commits: one commit with its files, and the comparison of two."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from .core import Core
from .errors import ApiError, not_found
from .fields import link_header, page_of
from .gitdata import Change, Commit, Signature
from .gitstore import SHA
from .present import api_of, html_of, node_id, user
from .pushes import account_of_email
from .rest import Call, Operation, Reply
from .rest_git import UNVERIFIED, missing, person
from .state import Repository
from .views import view

FILES_PER_PAGE = 300  # GitHub's OpenAPI description, repos/get-commit
FILES_MAX = 3000  # the same
COMPARED_COMMITS = 250  # GitHub's OpenAPI description, repos/compare-commits, without paging
COMPARED_FILES = 300  # the same, for the entire comparison


class CommitOperations:
    """Handlers of `/commits/{ref}` and `/compare/{basehead}`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def operations(self) -> list[Operation]:
        """Return the operations and what each needs."""
        one = "/repos/{owner}/{repo}"
        return [
            Operation("GET", f"{one}/commits/{{ref}}", self.commit, "contents:read"),
            Operation("GET", f"{one}/compare/{{basehead}}", self.compare, "contents:read"),
        ]

    async def commit(self, call: Call) -> Reply:
        """GET a commit by sha, branch or tag: files against the first parent, 300 a page, 3000 in all."""
        record = call.repository
        commit = await self.resolve(record, call.path["ref"])
        if "application/vnd.github.sha" in call.accept:
            return Reply(commit.sha.encode(), content_type="application/vnd.github.sha; charset=utf-8")
        parent = commit.parents[0] if commit.parents else None
        changes = await self._core.git.changes(record.path, parent, commit.sha)
        page, per_page = page_of(call, default=FILES_PER_PAGE, largest=FILES_PER_PAGE)
        listed = changes[: view().limit("commit_files", FILES_MAX, len(changes))]
        shown = self.show(record, commit)
        additions = sum(change.additions for change in changes)
        deletions = sum(change.deletions for change in changes)
        shown["stats"] = {"total": additions + deletions, "additions": additions, "deletions": deletions}
        part = listed[(page - 1) * per_page : page * per_page]
        shown["files"] = [self.show_change(record, commit.sha, change) for change in part]
        return Reply(shown, headers=link_header(call, page, max(1, -(-len(listed) // per_page))))

    async def compare(self, call: Call) -> Reply:
        """GET base...head: commits of head since the merge base, files of the merge base against head."""
        record, git = call.repository, self._core.git
        names = call.path["basehead"].split("...")
        if len(names) != 2:
            raise not_found()
        base, head = [await self.resolve(record, self._local(record, name)) for name in names]
        merge_base = await git.merge_base(record.path, base.sha, head.sha)
        if merge_base is None:
            raise ApiError(404, f"No common ancestor between {names[0]} and {names[1]}.")
        ahead = await git.count(record.path, head.sha, base.sha)
        behind = await git.count(record.path, base.sha, head.sha)
        page, per_page = page_of(call, default=COMPARED_COMMITS, largest=COMPARED_COMMITS)
        per_page = view().limit("compare_commits", per_page, ahead)
        history = await git.history(record.path, head.sha, [base.sha], ahead)
        part = history[(page - 1) * per_page : page * per_page]
        status = "diverged" if ahead and behind else "ahead" if ahead else "behind" if behind else "identical"
        api, html = api_of(self._core, record), html_of(self._core, record)
        owner = record.owner.login
        basehead = quote(call.path["basehead"], safe="/.")
        web = f"{html}/compare/{basehead}"
        shown: dict[str, Any] = {
            "url": f"{api}/compare/{basehead}",
            "html_url": web,
            "permalink_url": f"{html}/compare/{owner}:{base.sha[:7]}...{owner}:{head.sha[:7]}",
            "diff_url": f"{web}.diff",
            "patch_url": f"{web}.patch",
            "base_commit": self.show(record, base),
            "merge_base_commit": self.show(record, await self.resolve(record, merge_base)),
            "status": status,
            "ahead_by": ahead,
            "behind_by": behind,
            "total_commits": ahead,
            "commits": [self.show(record, await self.resolve(record, sha)) for sha in part],
        }
        if page == 1:  # with paging, only the first page lists files
            changes = await git.changes(record.path, merge_base, head.sha)
            limit = view().limit("compare_files", COMPARED_FILES, len(changes))
            shown["files"] = [self.show_change(record, head.sha, change) for change in changes[:limit]]
        return Reply(shown, headers=link_header(call, page, max(1, -(-ahead // per_page))))

    @staticmethod
    def _local(record: Repository, name: str) -> str:
        """Return the ref without `owner:`; comparing with another repository of the network is not served."""
        owner, colon, ref = name.rpartition(":")
        if colon and owner.casefold() != record.owner.login.casefold():
            raise not_found()
        return ref

    async def resolve(self, record: Repository, name: str) -> Commit:
        """Return the commit that a sha, branch or tag names; ApiError 404, 409 (no commit yet) or 422 (unknown sha)."""
        sha = await self._core.store.resolve(record.path, name)
        commit = None if sha is None else await self._core.git.commit(record.path, sha)
        if commit is None:
            raise await missing(self._core, record, no_commit_for=name if SHA.fullmatch(name) else None)
        return commit

    def show(self, record: Repository, commit: Commit) -> dict[str, Any]:
        """Return the commit as OpenAPI's "commit", without stats and files."""
        api, html = api_of(self._core, record), html_of(self._core, record)
        return {
            "url": f"{api}/commits/{commit.sha}",
            "sha": commit.sha,
            "node_id": node_id("Commit", f"{record.id}:{commit.sha}"),
            "html_url": f"{html}/commit/{commit.sha}",
            "comments_url": f"{api}/commits/{commit.sha}/comments",
            "commit": {
                "url": f"{api}/git/commits/{commit.sha}",
                "author": person(commit.author),
                "committer": person(commit.committer),
                "message": commit.message,
                "comment_count": 0,
                "tree": {"sha": commit.tree, "url": f"{api}/git/trees/{commit.tree}"},
                "verification": UNVERIFIED,
            },
            "author": self._account(commit.author),
            "committer": self._account(commit.committer),
            "parents": [
                {"sha": sha, "url": f"{api}/commits/{sha}", "html_url": f"{html}/commit/{sha}"}
                for sha in commit.parents
            ],
        }

    def _account(self, signature: Signature) -> dict[str, Any] | None:
        account = account_of_email(self._core, signature.email)
        return None if account is None else user(self._core, account)

    def show_change(self, record: Repository, sha: str, change: Change) -> dict[str, Any]:
        """Return one file of a diff as OpenAPI's "diff-entry"; patches are not given."""
        html, path = html_of(self._core, record), quote(change.path)
        shown: dict[str, Any] = {
            "sha": change.sha,
            "filename": change.path,
            "status": change.status,
            "additions": change.additions,
            "deletions": change.deletions,
            "changes": change.additions + change.deletions,
            "blob_url": f"{html}/blob/{sha}/{path}",
            "raw_url": f"{html}/raw/{sha}/{path}",
            "contents_url": f"{api_of(self._core, record)}/contents/{path}?ref={sha}",
        }
        if change.previous is not None:
            shown["previous_filename"] = change.previous
        return shown
