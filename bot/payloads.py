"""Pydantic models of only the fields that we read of GitHub's deliveries, and their way into rules values.

GitHub adds fields, and its own examples do not all fit its own schemas: unknown fields are ignored, and nothing is
demanded that no decision needs (GitHub webhook docs, "Webhook events and payloads").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeGuard, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rules.model import Account, AccountKind, Push, Repo
from storage.echoes import StatusSeen

Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
Payload = TypeVar("Payload", bound=BaseModel)
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
_SHA = re.compile(r"[0-9a-f]{40}")


class UnreadablePayloadError(Exception):
    """The signed body is not what its event header says. GitHub's fault or a replay under another event's name."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        """GitHub sends null for what it does not know, also where its own schema says otherwise."""
        if isinstance(data, dict):
            return {name: value for name, value in data.items() if value is not None}
        return data


class OwnerPayload(_Model):
    """Account of a repository or an installation."""

    id: Id
    login: str
    type: str = "User"

    def value(self) -> Account:
        """The account; a kind that we do not know counts as an organisation, which is never its own learner."""
        kind = AccountKind(self.type) if self.type in set(AccountKind) else AccountKind.ORGANIZATION
        return Account(account_id=self.id, login=self.login, kind=kind)


class RepositoryPayload(_Model):
    """The `repository` object."""

    id: Id
    full_name: Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$")]
    private: bool = True
    default_branch: str = "main"
    owner: OwnerPayload

    def value(self) -> Repo:
        """The repository as a rules value."""
        return Repo(
            repo_id=self.id,
            full_name=self.full_name,
            owner=self.owner.value(),
            private=self.private,
            default_branch=self.default_branch,
        )


class IdPayload(_Model):
    """Any object of which only the id matters."""

    id: Id


class PushPayload(_Model):
    """The `push` event. `sender` is only for the audit; `commits` only tells whether the push is a single commit, a
    hint that saves one call: no push is refused for their sake.
    """

    ref: Annotated[str, Field(pattern=r"^refs/")]
    before: Sha
    after: Sha
    created: bool = False
    deleted: bool = False
    forced: bool = False
    repository: RepositoryPayload
    installation: IdPayload | None = None
    sender: Any = None
    commits: Any = None

    def value(self, delivery_id: UUID | None) -> Push:
        """The push as a rules value."""
        return Push(
            delivery_id=delivery_id,
            installation_id=self.installation.id if self.installation else None,
            repo=self.repository.value(),
            ref=self.ref,
            before=self.before,
            after=self.after,
            created=self.created,
            deleted=self.deleted,
            forced=self.forced,
            sender_id=_id_of(self.sender),
            single_commit=self._is_single_commit(),
        )

    def _is_single_commit(self) -> bool:
        match self.commits:
            case [{"id": sha}]:
                return bool(sha == self.after)
        return False


class InstallationPayload(_Model):
    """`installation`, `installation_repositories` and `installation_target`: wake-ups only, the API is asked for the
    state. Lists of repositories may be absent, and are hints.
    """

    action: str
    installation: IdPayload
    repositories_added: Any = None

    @property
    def added_ids(self) -> frozenset[int]:
        """Ids of the repositories that were added, as far as they can be read."""
        given = self.repositories_added if isinstance(self.repositories_added, list) else []
        return frozenset(ident for ident in map(_id_of, given) if ident is not None)


class RepositoryEventPayload(_Model):
    """The `repository` event: a wake-up only."""

    action: str
    repository: RepositoryPayload
    installation: IdPayload | None = None


class ForkeePayload(_Model):
    """The new repository of a `fork`."""

    id: Id
    owner: IdPayload


class ForkPayload(_Model):
    """The `fork` event, which comes to the installation of what was forked: a wake-up only."""

    forkee: ForkeePayload


class CheckSuitePayload(_Model):
    """The `check_suite` object, also within a check-run. `head_branch`: null when several branches have the commit."""

    head_sha: Sha
    head_branch: str | None = None


class CheckRunPayload(_Model):
    """The `check_run` object."""

    head_sha: Sha
    check_suite: CheckSuitePayload | None = None

    @property
    def head_branch(self) -> str | None:
        """The branch of its suite, if it is known."""
        return self.check_suite.head_branch if self.check_suite is not None else None


class WorkflowRunPayload(_Model):
    """The `workflow_run` object."""

    head_sha: Sha
    head_branch: str | None = None


class ResultPayload(_Model):
    """`check_run`, `check_suite` and `workflow_run`: wake-ups only. How a run ended is read from the API."""

    repository: IdPayload
    check_run: CheckRunPayload | None = None
    check_suite: CheckSuitePayload | None = None
    workflow_run: WorkflowRunPayload | None = None

    @property
    def subject(self) -> CheckRunPayload | CheckSuitePayload | WorkflowRunPayload:
        """What has a result. UnreadablePayloadError if there is none."""
        found = self.check_run or self.check_suite or self.workflow_run
        if found is None:
            raise UnreadablePayloadError("the body has no check_run, check_suite or workflow_run")
        return found


class RequestedAction(_Model):
    """Which button was pressed."""

    identifier: str


class PressPayload(_Model):
    """`check_run` with the action `requested_action`: somebody pressed a button of ours."""

    repository: RepositoryPayload
    sender: IdPayload
    check_run: CheckRunPayload
    requested_action: RequestedAction
    installation: IdPayload


class RerunPayload(ResultPayload):
    """`check_run`, `check_suite`: somebody asks for a new run (`rerequested`), GitHub for the first (`requested`)."""

    installation: IdPayload


class StatusPayload(_Model):
    """The `status` event: somebody set a commit status."""

    id: Id
    sha: Sha
    context: str
    state: str
    description: str | None = None
    target_url: str | None = None
    repository: RepositoryPayload
    sender: Any = None

    def value(self) -> StatusSeen:
        """The status."""
        return StatusSeen(self.id, self.sha, self.context, self.state, self.description, self.target_url)

    @property
    def sender_id(self) -> int | None:
        """Who set it, if it can be read."""
        return _id_of(self.sender)


class BindPayload(_Model):
    """Our own inbox entry: a repository that an installation covers shall be bound and its head judged."""

    installation_id: Id


class LookPayload(_Model):
    """Our own inbox entry: repositories of an installation wait for their entries."""

    installation_id: Id


class JudgePayload(BaseModel):
    """Our own inbox entry: somebody woke this session, and its head shall be judged again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    session_id: UUID
    trigger: Literal["rerun", "fact", "staff", "reconcile"]


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the receiver reads of any body, to choose its lane. Every part may be missing.

    `app_id`, `app_slug`: the App whose check-run or check suite it is; `head_sha`: its commit. `status`: of the event
    of that name.
    """

    action: str | None
    installation_id: int | None
    repo_id: int | None
    app_id: int | None = None
    app_slug: str | None = None
    head_sha: str | None = None
    status: StatusSeen | None = None


def _id_of(value: Any) -> int | None:
    ident = value.get("id") if isinstance(value, dict) else None
    return ident if isinstance(ident, int) and not isinstance(ident, bool) and 0 < ident < 2**63 else None


def _object(body: bytes) -> dict[str, Any]:
    """The body's JSON object: one parser for receiver and worker, so that both see the same (of a key that is given
    twice the last, for instance).
    """
    try:
        data = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise UnreadablePayloadError(f"the body is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise UnreadablePayloadError(f"the body is a JSON {type(data).__name__}, not an object")
    return data


def envelope(body: bytes) -> Envelope:
    """Read action, installation and repository id of a body.

    Raises UnreadablePayloadError when it is no JSON object.
    """
    data = _object(body)
    action = data.get("action")
    check = data.get("check_run", data.get("check_suite"))
    check = check if isinstance(check, dict) else {}
    app, head = check.get("app"), check.get("head_sha")
    slug = app.get("slug") if isinstance(app, dict) else None
    return Envelope(
        action=action[:64] if isinstance(action, str) else None,
        installation_id=_id_of(data.get("installation")),
        repo_id=_id_of(data.get("repository")),
        app_id=_id_of(app),
        app_slug=slug[:64] if isinstance(slug, str) else None,
        head_sha=head if _is_sha(head) else None,
        status=_status_of(data),
    )


def _is_sha(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _SHA.fullmatch(value) is not None


def _status_of(data: dict[str, Any]) -> StatusSeen | None:
    """The commit status that a body tells of, as far as it is one."""
    ident, sha, context, state = _id_of(data), data.get("sha"), data.get("context"), data.get("state")
    if ident is None or not _is_sha(sha) or not isinstance(context, str) or not isinstance(state, str):
        return None
    words, address = data.get("description"), data.get("target_url")
    return StatusSeen(
        ident,
        sha,
        context,
        state,
        words if isinstance(words, str) else None,
        address if isinstance(address, str) else None,
    )


def read(model: type[Payload], body: bytes) -> Payload:
    """Parse a stored body as `model`; UnreadablePayloadError names the fields that do not fit, never their values."""
    try:
        return model.model_validate(_object(body))
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, item["loc"])) or "(body)" for item in error.errors()})[:5])
        raise UnreadablePayloadError(f"the body does not fit its event: {fields}") from error
