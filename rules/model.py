"""The values that flow through Stepgate: delivery -> binding -> snapshot -> verdict -> report.

Everything here is frozen. Paths are text as GitHub's API gives them (never normalised), shas are 40 lower-case hex
digits, ids are GitHub's numeric ids, times are aware datetimes handed in from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum, unique
from typing import Literal, NamedTuple
from uuid import UUID

ZERO_SHA = "0" * 40  # "before" of a created ref and "after" of a deleted one (GitHub webhook docs, push)

# ------------------------------------------------------------------------------------------------ what GitHub tells


@unique
class AccountKind(StrEnum):
    """Kind of a GitHub account, spelled as GitHub spells it."""

    USER = "User"
    ORGANIZATION = "Organization"
    BOT = "Bot"


@dataclass(frozen=True, slots=True)
class Account:
    """A GitHub account. Only the id decides; the login is for display."""

    account_id: int
    login: str
    kind: AccountKind


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository as a delivery or the API names it. Only the ids decide; names are for display."""

    repo_id: int
    full_name: str
    owner: Account
    private: bool
    default_branch: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a repository comes from: ids that only the single-repository GET tells. None: not there or hidden."""

    parent_id: int | None = None
    template_id: int | None = None
    source_id: int | None = None
    fork: bool = False


@dataclass(frozen=True, slots=True)
class Push:
    """One push delivery: `ref` moved from `before` to `after` in `repo`."""

    delivery_id: UUID | None
    installation_id: int | None
    repo: Repo
    ref: str
    before: str
    after: str
    created: bool = False
    deleted: bool = False
    forced: bool = False
    sender_id: int | None = None
    single_commit: bool = False  # the payload lists exactly one commit, the head: before is its only new parent

    @property
    def branch(self) -> str | None:
        """The branch's name, or None for a tag or another kind of ref."""
        prefix = "refs/heads/"
        return self.ref[len(prefix) :] if self.ref.startswith(prefix) else None


# -------------------------------------------------------------------------------------------------------- the lab file

Level = Literal["block", "warn"]
LevelOrAllow = Literal["allow", "warn", "block"]
Reopen = Literal["rewrite", "always", "never"]
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a lab does about each kind of irregular change (steps.json, `policy`)."""

    out_of_order: Level = "block"
    protected: Level = "block"
    unmapped: LevelOrAllow = "allow"
    rework: LevelOrAllow = "allow"
    reopen: Reopen = "rewrite"


@dataclass(frozen=True, slots=True)
class Changed:
    """Paths of the step whose content differs from the template's: any, all (each pattern), or at least a number."""

    match: Literal["any", "all"] | int = "any"


@dataclass(frozen=True, slots=True)
class Exists:
    """Each of these paths (literal or pattern) is present."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """None of these paths (literal or pattern) is present."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """A regular file at `path` (or any of at most 20 that the pattern matches) has text that RE2 `pattern` finds."""

    path: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Lacks:
    """All regular files at `path` (at least one, at most 20) have no text that RE2 `pattern` finds."""

    path: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Approval:
    """Staff approved the step."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Something to read: holds as soon as the step is open (`"type": "none"`)."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A run of the workflow file `path` on exactly the head, event push, concluded success."""

    path: str


@dataclass(frozen=True, slots=True)
class Check:
    """A third-party App's check run `name` on exactly the head concluded success."""

    name: str
    app_id: int


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part (made of tree conditions only) does not hold."""

    of: Condition


Condition = Changed | Exists | Absent | Contains | Lacks | Approval | Nothing | Workflow | Check | AllOf | AnyOf | Not


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a lab. `needs` is always resolved: the default (nearest earlier non-optional step) is filled in."""

    id: str
    title: str
    files: tuple[str, ...]
    needs: tuple[str, ...]
    complete: Condition
    optional: bool = False
    description: str = ""
    hints: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab's rules as read from `.forgea/steps.json` of the template. Hashable, so that compiled patterns are cached.

    `protected` always includes `.forgea/**` (and `.github/**` when a step uses `workflow`): labfile adds them.
    """

    title: str
    branch: str | None
    protected: tuple[str, ...]
    shared: tuple[str, ...]
    policy: Policy
    steps: tuple[Step, ...]

    def step(self, step_id: str) -> Step:
        """The step with this id; KeyError if the lab has none."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a lab file, for its author. `pointer` is a JSON pointer; line and column count from 1.

    An error keeps the file from being published, a warning does not.
    """

    code: str
    message: str
    suggestion: str = ""
    pointer: str = ""
    line: int = 1
    column: int = 1
    severity: Severity = "error"


# ------------------------------------------------------------------------------------------------------- the snapshot


class TreeEntry(NamedTuple):
    """A file of a tree: git's mode ("100644", "100755", "120000" link, "160000" submodule), sha, size in bytes.

    A tuple, because there may be 100,000: a frozen dataclass takes three times as long to make.
    """

    path: str
    mode: str
    sha: str
    size: int | None = None


Tree = Mapping[str, TreeEntry]  # every entry that is not a folder, by its full raw path


@dataclass(frozen=True, slots=True)
class CommitTree:
    """A commit and its files."""

    sha: str
    tree: Tree


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a verdict may look at in git.

    `accepted_sha` None: nothing was accepted yet, `accepted` is the template's tree. `rewrite`: ACCEPTED is a commit
    and not an ancestor of HEAD. `later_templates`: trees of the template branch's commits after the pinned one, oldest
    first. `commits`: first-parent commits of ACCEPTED..HEAD without HEAD, oldest first, at most 20 (empty: unknown or
    too many, then gains are earned at HEAD only). `blobs`: contents by blob sha, those `conditions.needed` named.
    """

    template: Tree
    accepted: Tree
    head: Tree
    head_sha: str
    accepted_sha: str | None = None
    rewrite: bool = False
    later_templates: tuple[Tree, ...] = ()
    commits: tuple[CommitTree, ...] = ()
    blobs: Mapping[str, bytes] = field(default_factory=dict)


@unique
class ChangeKind(StrEnum):
    """What happened to a path between two trees."""

    ADDED = "added"
    MODIFIED = "modified"
    REMOVED = "removed"
    MODE = "mode changed"


class Change(NamedTuple):
    """One changed path. `renamed_from` / `renamed_to`: the other end of a pair with the same blob (for words only).

    A tuple, as `TreeEntry` is: a push may change 100,000 files.
    """

    path: str
    kind: ChangeKind
    renamed_from: str | None = None
    renamed_to: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beyond git: staff's overrides that are in force now, and results bound to heads.

    `completed`/`approved`/`reopened`/`unlocked` hold step ids; `accepted_heads` shas; `workflows` (path, head sha);
    `checks` (name, app id, head sha): what ended in success. `unsuccessful`: what ended otherwise, as (workflow path or
    check name, app id or 0 for a workflow, head sha, conclusion); nothing is decided by it, it is only told.
    `unreadable`: the condition types whose results GitHub does not let the App read ("workflow" without the permission
    Actions: read), which is the operator's matter and never the learner's.
    """

    approved: frozenset[str] = frozenset()
    completed: frozenset[str] = frozenset()
    reopened: frozenset[str] = frozenset()
    unlocked: frozenset[str] = frozenset()
    accepted_heads: frozenset[str] = frozenset()
    workflows: frozenset[tuple[str, str]] = frozenset()
    checks: frozenset[tuple[str, int, str]] = frozenset()
    unsuccessful: frozenset[tuple[str, int, str, str]] = frozenset()
    unreadable: frozenset[Literal["workflow", "check"]] = frozenset()


@dataclass(frozen=True, slots=True)
class Progress:
    """The steps that are complete, by stored id (an old id of a renamed step counts through `aliases`).

    `since_accepted`: those of them that were completed after ACCEPTED had been accepted, that is at blocked heads: work
    that is still in the diff. Judging the same head again says the same only if it is told.
    """

    done: frozenset[str] = frozenset()
    since_accepted: frozenset[str] = frozenset()


# -------------------------------------------------------------------------------------------------------- the verdict


@unique
class ViolationCode(StrEnum):
    """Why a path is out of order (steps.md section 5)."""

    OUT_OF_ORDER = "OUT_OF_ORDER"
    PROTECTED_PATH = "PROTECTED_PATH"
    UNMAPPED_PATH = "UNMAPPED_PATH"
    REWORK = "REWORK"


@unique
class PathOutcome(StrEnum):
    """What a changed path turned out to be."""

    TEMPLATE_WORK = "template"
    PROTECTED = "protected"
    SHARED = "shared"
    OPEN = "open"
    REWORK = "rework"
    LOCKED = "locked"
    UNMAPPED = "unmapped"


@dataclass(frozen=True, slots=True)
class Violation:
    """A path that is out of order. `owners`: step ids in list order; `missing`: steps to finish first, in list order.

    `suggestion`: the near miss ("PROFILE.md" for "profile.md"), empty if there is none.
    """

    code: ViolationCode
    level: Level
    path: str
    change: ChangeKind | None
    owners: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    suggestion: str = ""


class PathVerdict(NamedTuple):
    """What one changed path means. `step`: the owner it is attributed to (for words only).

    `suggestion`: the name that was probably meant, also where nothing is violated ("PROFILE.md" for "profile.md").
    A tuple, as `Change` is.
    """

    path: str
    change: ChangeKind
    outcome: PathOutcome
    owners: tuple[str, ...] = ()
    step: str | None = None
    renamed_from: str | None = None
    suggestion: str = ""


@unique
class StepState(StrEnum):
    """State of a step after a verdict. WAITING: open, and only a workflow, check or approval is missing."""

    DONE = "done"
    OPEN = "open"
    WAITING = "waiting"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class StepStatus:
    """A step's state; `missing`: needs not done; `waiting_for`: sentences such as "approval by staff"."""

    step_id: str
    state: StepState
    missing: tuple[str, ...] = ()
    waiting_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loss:
    """A completed step that is reopened, and why: TAKEN_AWAY (its result is gone), NEEDS (a step it needs reopened),
    or STAFF."""

    step_id: str
    reason: Literal["TAKEN_AWAY", "NEEDS", "STAFF"]
    because_of: tuple[str, ...] = ()


@unique
class Outcome(StrEnum):
    """The word stored with an attempt (steps.md section 6)."""

    ACCEPTED = "accepted"
    BLOCKED = "blocked"
    PREVIEW = "preview"
    SUPERSEDED = "superseded"
    CANNOT_VERIFY = "cannot_verify"


@dataclass(frozen=True, slots=True)
class Gain:
    """A step completed by this head, and the first-parent commit at which it was earned."""

    step_id: str
    commit_sha: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What judging a head said. Explains itself: report, page and command line render this same value.

    `done_before` is progress under today's step ids; `done_after` = done_before - losses + gains. `complete`: every
    non-optional step is done. `blocked`: some violation has level block. `template_number`: the version of the template
    that HEAD's protected files come nearest to: 0 the pinned one, n the n-th later commit. `untouched`: HEAD is some
    version of the template as it was handed out, and no step was done before: there is nothing of the learner's yet.
    """

    head_sha: str
    accepted_before: str | None
    blocked: bool
    done_before: frozenset[str]
    done_after: frozenset[str]
    gains: tuple[Gain, ...]
    losses: tuple[Loss, ...]
    violations: tuple[Violation, ...]
    paths: tuple[PathVerdict, ...]
    steps: tuple[StepStatus, ...]
    complete: bool
    rewrite: bool = False
    template_number: int = 0
    untouched: bool = False

    @property
    def accepted_after(self) -> str | None:
        """ACCEPTED once this verdict is saved: the head, unless it is blocked."""
        return self.accepted_before if self.blocked else self.head_sha


@dataclass(frozen=True, slots=True)
class CannotVerify:
    """The snapshot could not be read completely or judged within the budget. Never a success, never a failure of the
    learner. `reason`: TRUNCATED, TOO_LARGE, HEAD_GONE, LAB_FILE (author's fault) or GITHUB."""

    head_sha: str
    reason: Literal["TRUNCATED", "TOO_LARGE", "HEAD_GONE", "LAB_FILE", "GITHUB"]
    detail: str = ""


# ------------------------------------------------------------------------------------------------- sessions, bindings


@unique
class SessionStatus(StrEnum):
    """Status of a lab session (binding.md section 5). Open: IN_PROGRESS and STUCK."""

    IN_PROGRESS = "IN_PROGRESS"
    STUCK = "STUCK"
    VERIFIED_PASS = "VERIFIED_PASS"  # noqa: S105 (a status)
    DEFERRED = "DEFERRED"
    EXPIRED = "EXPIRED"

    @property
    def is_open(self) -> bool:
        """Whether pushes are judged and saved."""
        return self in (SessionStatus.IN_PROGRESS, SessionStatus.STUCK)


@unique
class Enrolment(StrEnum):
    """Who may start a lab."""

    OPEN = "open"
    INVITED = "invited"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LabRecord:
    """A lab as the operator registered it."""

    lab_id: int
    slug: str
    title: str
    base_repo_id: int
    base_repo_full_name: str
    base_installation_id: int | None
    enrolment: Enrolment
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class LabVersion:
    """An immutable published version of a lab: its rules at one commit of the template. `lab.branch` is never None."""

    lab_version_id: int
    lab_id: int
    number: int
    commit_sha: str
    tree_sha: str
    lab: Lab
    digest: str


@dataclass(frozen=True, slots=True)
class Session:
    """A learner's session of a lab. `epoch` rises with every change of its mapping or status."""

    session_id: UUID
    lab_id: int
    lab_version_id: int
    learner_account_id: int
    status: SessionStatus
    epoch: int
    accepted_sha: str | None
    head_sha: str | None
    started_at: datetime
    deferred_by: Literal["staff", "installation"] | None = None
    expires_at: datetime | None = None


MappingSource = Literal["event", "enrolment", "staff", "api", "backfill", "legacy_url"]


@dataclass(frozen=True, slots=True)
class RepoMapping:
    """An active binding of a repository to a session (table repo_mapping). `private`: as far as we know."""

    mapping_id: int
    repo_id: int
    installation_id: int
    owner_account_id: int
    repo_full_name: str
    session_id: UUID
    source: MappingSource
    private: bool = True


@unique
class InstallationState(StrEnum):
    """State of an installation. `deleted` is final: GitHub never re-uses ids."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Installation:
    """An installation of the App as last read from the API. `repository_selection`: all or selected."""

    installation_id: int
    account: Account
    state: InstallationState
    repository_selection: Literal["all", "selected"]
    permissions: Mapping[str, str] = field(default_factory=dict)


@unique
class BindingCode(StrEnum):
    """Why a delivery is not judged (binding.md section 3)."""

    INSTALLATION_UNKNOWN = "INSTALLATION_UNKNOWN"
    INSTALLATION_SUSPENDED = "INSTALLATION_SUSPENDED"
    INSTALLATION_DELETED = "INSTALLATION_DELETED"
    REPO_NOT_SELECTED = "REPO_NOT_SELECTED"
    NOT_A_LAB = "NOT_A_LAB"
    PARENT_UNKNOWN = "PARENT_UNKNOWN"
    NO_SESSION = "NO_SESSION"
    ENROLMENT_CLOSED = "ENROLMENT_CLOSED"
    AMBIGUOUS = "AMBIGUOUS"
    OWNER_CHANGED = "OWNER_CHANGED"
    LEARNER_MISMATCH = "LEARNER_MISMATCH"
    MAPPING_CONFLICT = "MAPPING_CONFLICT"
    LAB_HAS_NO_VERSION = "LAB_HAS_NO_VERSION"
    SESSION_DEFERRED = "SESSION_DEFERRED"
    SESSION_COMPLETED = "SESSION_COMPLETED"
    SESSION_EXPIRED = "SESSION_EXPIRED"
    TAG = "TAG"
    BRANCH_DELETED = "BRANCH_DELETED"


# ------------------------------------------------------------------------------------------------------- the report

Conclusion = Literal["success", "failure", "neutral", "action_required"]
StatusState = Literal["success", "failure", "error", "pending"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """A note on a line of a file in a check run (levels: notice, warning, failure)."""

    path: str
    line: int
    level: Literal["notice", "warning", "failure"]
    message: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Button:
    """A button on a check run, at most three each: label and identifier <= 20 characters, description <= 40."""

    label: str
    description: str
    identifier: str


@dataclass(frozen=True, slots=True)
class CheckRunReport:
    """A completed check run, within GitHub's limits: summary <= 65,535 characters. Annotations go 50 a request."""

    name: str
    head_sha: str
    conclusion: Conclusion
    title: str
    summary: str
    annotations: tuple[Annotation, ...] = ()
    details_url: str | None = None
    external_id: str = ""
    buttons: tuple[Button, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusReport:
    """A commit status; description <= 140 characters."""

    context: str
    head_sha: str
    state: StatusState
    description: str
    target_url: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What is told to GitHub about one head. `status` None: none is sent. `digest` equal: nothing new to send."""

    check_run: CheckRunReport
    status: StatusReport | None
    digest: str
