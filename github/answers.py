"""GitHub's JSON, read and written: pydantic models of only the fields in use and the values that they become."""

from __future__ import annotations

import base64
import binascii
import sys
from dataclasses import asdict
from datetime import datetime
from hashlib import sha1
from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from github.errors import Transient
from github.values import AppRecord, Commit, Comparison, RawEntry, Sha, TreeAnswer
from rules.model import (
    Account,
    AccountKind,
    CheckRunReport,
    Installation,
    InstallationState,
    Lineage,
    Repo,
    StatusReport,
)

#: Annotations that one request takes (GitHub docs, "REST API endpoints for check runs").
MAX_ANNOTATIONS = 50


class _Model(BaseModel):
    # unknown fields are ignored; a failure never quotes its input, which may be a token
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class _WithId(_Model):
    id: int


class _WithSha(_Model):
    sha: Sha


class _Account(_Model):
    id: int
    login: str = ""
    slug: str = ""  # an enterprise has this instead of a login, and no type
    type: str = ""

    def value(self) -> Account:
        """Kinds that we do not know count as organisations, which are never their own learners (binding.md)."""
        known = self.type in AccountKind.__members__.values()
        kind = AccountKind(self.type) if known else AccountKind.ORGANIZATION
        return Account(self.id, self.login or self.slug, kind)


class AccountModel(_Account):
    """GET /users/{username} and GET /user/{account_id}."""


class RepositoryModel(_Model):
    """GET /repos/{owner}/{repo}; without the last three fields also an item of a list."""

    id: int
    full_name: str
    owner: _Account
    private: bool
    default_branch: str
    fork: bool = False
    parent: _WithId | None = None
    source: _WithId | None = None
    template_repository: _WithId | None = None
    archived: bool = False
    disabled: bool = False
    is_template: bool = False

    def repo(self) -> Repo:
        """The repository itself."""
        return Repo(self.id, self.full_name, self.owner.value(), self.private, self.default_branch)

    def lineage(self) -> Lineage:
        """Where it comes from. GitHub hides a parent that the token may not see."""
        return Lineage(
            parent_id=self.parent.id if self.parent else None,
            template_id=self.template_repository.id if self.template_repository else None,
            source_id=self.source.id if self.source else None,
            fork=self.fork,
        )


class RepositoriesModel(_Model):
    """GET /installation/repositories, one page. `total_count`: of all pages."""

    total_count: int | None = None
    repositories: tuple[RepositoryModel, ...]


class InstallationModel(_Model):
    """GET /app/installations/{installation_id} and GET /repos/{owner}/{repo}/installation."""

    id: int
    account: _Account
    repository_selection: Literal["all", "selected"]
    permissions: dict[str, str]
    suspended_at: datetime | None = None

    def value(self) -> Installation:
        """The installation with its state as of now (a deleted one is 404)."""
        state = InstallationState.SUSPENDED if self.suspended_at else InstallationState.ACTIVE
        return Installation(self.id, self.account.value(), state, self.repository_selection, self.permissions)


class AppModel(_Model):
    """GET /app."""

    id: int
    slug: str = ""
    name: str
    owner: _Account
    permissions: dict[str, str]
    events: tuple[str, ...]
    html_url: str = ""

    def value(self) -> AppRecord:
        """The App's record."""
        owner = self.owner.value().login
        return AppRecord(self.id, self.slug, self.name, owner, self.permissions, self.events, self.html_url)


class TokenModel(_Model):
    """POST /app/installations/{installation_id}/access_tokens."""

    token: SecretStr = Field(min_length=1)
    expires_at: AwareDatetime
    permissions: dict[str, str] = {}


class RefModel(_Model):
    """GET /repos/{owner}/{repo}/git/ref/{ref}."""

    ref: str
    object: _WithSha


class GitCommitModel(_Model):
    """GET /repos/{owner}/{repo}/git/commits/{commit_sha}."""

    sha: Sha
    tree: _WithSha
    parents: tuple[_WithSha, ...]

    def value(self) -> Commit:
        """The commit."""
        return Commit(self.sha, self.tree.sha, tuple(parent.sha for parent in self.parents))


class _InnerCommit(_Model):
    tree: _WithSha


class CommitModel(_Model):
    """GET /repos/{owner}/{repo}/commits/{ref}, and an item of a comparison."""

    sha: Sha
    commit: _InnerCommit
    parents: tuple[_WithSha, ...]

    def value(self) -> Commit:
        """The commit."""
        return Commit(self.sha, self.commit.tree.sha, tuple(parent.sha for parent in self.parents))


class ComparisonModel(_Model):
    """GET /repos/{owner}/{repo}/compare/{basehead}: at most 250 commits without paging."""

    status: Literal["ahead", "behind", "identical", "diverged"]
    total_commits: int
    commits: tuple[CommitModel, ...]

    def value(self) -> Comparison:
        """The comparison; whether it is complete is told by GitHub's own count."""
        commits = tuple((item.sha, item.value().parents) for item in self.commits)
        return Comparison(self.status, commits, complete=len(commits) == self.total_commits)


class _BlobModel(_Model):
    content: str
    encoding: str


class CreatedModel(_Model):
    """The id that a POST of a check run or status answers with."""

    id: int


class CheckRunModel(_Model):
    """An item of GET /repos/{owner}/{repo}/commits/{ref}/check-runs."""

    id: int
    name: str
    external_id: str | None = None


class _CheckRunOutput(_Model):
    annotations_count: int


class OneCheckRunModel(_Model):
    """GET /repos/{owner}/{repo}/check-runs/{check_run_id}."""

    output: _CheckRunOutput


class CheckRunsModel(_Model):
    """GET /repos/{owner}/{repo}/commits/{ref}/check-runs, one page."""

    check_runs: tuple[CheckRunModel, ...]


M = TypeVar("M", bound=BaseModel)


def read(model: type[M], data: Any) -> M:
    """`data` as `model`; Transient if it has another shape (a proxy's JSON, a field that GitHub took away)."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        places = ", ".join(".".join(map(str, detail["loc"])) or "all" for detail in details[:3])
    data = None  # it may be a token: not for tracebacks with local variables
    raise Transient(f"GitHub's answer is not a {model.__name__.removesuffix('Model')}: {places}")


def read_tree(data: Any) -> TreeAnswer:
    """GET /repos/{owner}/{repo}/git/trees/{tree_sha}; Transient if the answer has another shape.

    Not a pydantic model: there may be 100,000 entries, and this loop is what judging waits for.
    """
    try:
        entries = tuple(_entry(item) for item in data["tree"])
        truncated = data["truncated"]
    except (KeyError, TypeError, AttributeError, ValueError):
        truncated = None
    if not isinstance(truncated, bool):
        raise Transient("GitHub's answer is not a tree")
    return TreeAnswer(entries, truncated)


def _entry(item: Any) -> RawEntry:
    path, mode, kind, sha, size = item["path"], item["mode"], item["type"], item["sha"], item.get("size")
    if not (
        (isinstance(path, str) and path and isinstance(mode, str) and isinstance(sha, str))
        and kind in ("blob", "tree", "commit")
        and (size is None or isinstance(size, int))
    ):
        raise ValueError
    return RawEntry(path, sys.intern(mode), kind, sha, size)


def read_blob(data: Any, sha: Sha) -> bytes:
    """GET /repos/{owner}/{repo}/git/blobs/{file_sha}: the content, proved by its sha; Transient if it is another."""
    blob = read(_BlobModel, data)
    try:
        content = base64.b64decode(blob.content) if blob.encoding == "base64" else blob.content.encode()
    except (binascii.Error, ValueError):
        content = None
    # git's name of a blob is the SHA-1 of this (Git book, "Git Objects"); here it only detects damage
    if content is None or sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() != sha:
        raise Transient(f"GitHub's answer is not the blob {sha}")
    return content


# ------------------------------------------------------------------------------------------------------ request bodies


def check_run_body(report: CheckRunReport) -> dict[str, Any]:
    """POST /repos/{owner}/{repo}/check-runs: a completed run, with the first annotations that one request takes."""
    output = _output_body(report, 0)
    body: dict[str, Any] = {
        "name": report.name,
        "head_sha": report.head_sha,
        "status": "completed",
        "conclusion": report.conclusion,
        "output": output,
    }
    if report.external_id:
        body["external_id"] = report.external_id
    if report.details_url:
        body["details_url"] = report.details_url
    if report.buttons:
        body["actions"] = [asdict(button) for button in report.buttons]
    return body


def more_annotations_body(report: CheckRunReport, sent: int) -> dict[str, Any]:
    """PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}: the annotations that follow the first `sent`, as many as
    one request takes. GitHub appends them to those that the run has.
    """
    return {"output": _output_body(report, sent)}


def _output_body(report: CheckRunReport, start: int) -> dict[str, Any]:
    output: dict[str, Any] = {"title": report.title, "summary": report.summary}
    if notes := report.annotations[start : start + MAX_ANNOTATIONS]:
        output["annotations"] = [
            {
                "path": note.path,
                "start_line": note.line,
                "end_line": note.line,
                "annotation_level": note.level,
                "message": note.message,
                **({"title": note.title} if note.title else {}),
            }
            for note in notes
        ]
    return output


def status_body(report: StatusReport) -> dict[str, Any]:
    """POST /repos/{owner}/{repo}/statuses/{sha}."""
    body = {"state": report.state, "context": report.context, "description": report.description}
    if report.target_url:
        body["target_url"] = report.target_url
    return body
