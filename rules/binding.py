"""From a repository to a lab session: one pure decision over what storage and the API told (binding.md section 3).

`bind` is asked again after each answer that wants something done, until it says what the delivery is:

    NeedLineage   read the repository from the API, find the lab and its candidates, ask again
    Create, Attach, Resume   write that in one transaction, ask again: now the primary key answers
    Bound, Preview, Ignored, Rejected   final

Only numeric ids decide. Who sent the event never does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rules.model import (
    Account,
    AccountKind,
    BindingCode,
    Enrolment,
    Installation,
    InstallationState,
    LabRecord,
    Lineage,
    MappingSource,
    Repo,
    RepoMapping,
    Session,
    SessionStatus,
)

# Audit codes of what a decision is besides itself.
Note = Literal["REINSTALLED", "FORK_OF_LEARNER"]

#: Sources of mappings that somebody made knowingly: they may join a person's repository to another person's session.
DELIBERATE: frozenset[MappingSource] = frozenset({"staff", "api"})

_BRANCHES = "refs/heads/"
_FOREIGN = "the installation is another account's"


# --------------------------------------------------------------------------------------------------- what was gathered


@dataclass(frozen=True, slots=True)
class Candidate:
    """A session that the repository may belong to. `mapping`: its active mapping, if that repository is still alive
    (the caller asked; a repository that answers 404 has been freed). The flags: invited for this very repository id;
    invited for the owner's account.
    """

    session: Session
    mapping: RepoMapping | None = None
    invited_repo: bool = False
    invited_account: bool = False


@dataclass(frozen=True, slots=True)
class BindingInput:
    """All that the decision may look at.

    `installation` None: the API does not know it. `repo_selected`: the installation covers the repository.
    `ref`, `deleted`: of the push (`refs/heads/...`). `mapping`, `session`, `lab_branch`: the repository's active
    mapping, its session, and the lab's branch in that session's version; all three or none.
    Only for a repository without mapping: `lineage` (None: not asked yet); `lab`: that of the first lineage id that
    is a lab's template, else the lab of an invitation for this very repository; `has_version`: it was published;
    `candidates`: all its sessions, closed ones too, of the owner and of invitations that name the repository or the
    owner; `invited`: an invitation without session names the repository or the owner; `invited_learner_id`: the
    account of the person that it is for; `parent_is_bound`: the parent is a learner's repository.
    """

    installation: Installation | None
    repo_selected: bool
    repo: Repo
    ref: str
    deleted: bool = False
    mapping: RepoMapping | None = None
    session: Session | None = None
    lab_branch: str | None = None
    lineage: Lineage | None = None
    lab: LabRecord | None = None
    has_version: bool = False
    candidates: tuple[Candidate, ...] = ()
    invited: bool = False
    invited_learner_id: int | None = None
    parent_is_bound: bool = False


# ------------------------------------------------------------------------------------------------------- the decisions


@dataclass(frozen=True, slots=True)
class _Found:
    """The primary key answered. `new_installation_id`: the App was installed anew, and the mapping takes this id."""

    session: Session
    mapping: RepoMapping
    new_installation_id: int | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Bound(_Found):
    """The push is judged for this session."""


@dataclass(frozen=True, slots=True)
class Preview(_Found):
    """As Bound, on a branch other than the lab's: the same verdict, and nothing is saved."""


@dataclass(frozen=True, slots=True)
class Resume(_Found):
    """The session was deferred because installation or repository were away, and here they are."""


@dataclass(frozen=True, slots=True)
class NeedLineage:
    """The repository is not bound: where does it come from?"""


@dataclass(frozen=True, slots=True)
class Create:
    """Create a session of the lab's newest version for the learner, and bind the repository to it."""

    lab: LabRecord
    learner_account_id: int
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Attach:
    """Bind the repository to this session. (One that was deferred when its former repository went away is resumed in
    the next round.)"""

    session: Session
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing to judge and nobody to tell. `session` None: it is no business of ours, and nothing of it is kept."""

    code: BindingCode
    session: Session | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Not judged, with the reason for the audit and (`blocks_report`) for the learner. `detail`: for staff, not for
    the repository. `expected_owner_id`: whose repository was expected."""

    code: BindingCode
    detail: str = ""
    session: Session | None = None
    expected_owner_id: int | None = None


Decision = Bound | Preview | NeedLineage | Create | Attach | Resume | Ignored | Rejected

ReportKind = Literal["none", "action_required", "neutral"]

_REPORTS: dict[BindingCode, ReportKind] = {
    BindingCode.NO_SESSION: "action_required",
    BindingCode.ENROLMENT_CLOSED: "action_required",
    BindingCode.AMBIGUOUS: "action_required",
    BindingCode.OWNER_CHANGED: "action_required",
    BindingCode.LEARNER_MISMATCH: "action_required",
    BindingCode.MAPPING_CONFLICT: "action_required",
    BindingCode.LAB_HAS_NO_VERSION: "action_required",
    BindingCode.SESSION_DEFERRED: "neutral",
    BindingCode.SESSION_COMPLETED: "neutral",
    BindingCode.SESSION_EXPIRED: "neutral",
}


def blocks_report(code: BindingCode) -> ReportKind:
    """What the repository sees of a code: nothing, or a check run with this conclusion (`neutral` never covers a
    verdict that the head already has)."""
    return _REPORTS.get(code, "none")


# -------------------------------------------------------------------------------------------------------- the decision


def bind(given: BindingInput) -> Decision:
    """What a delivery is, in the order of binding.md section 3. Total, except for ValueError: what was gathered does
    not belong together (our fault)."""
    installation = _usable(given)
    if isinstance(installation, Rejected):
        return installation
    if given.mapping is not None:
        return _by_mapping(given, given.mapping, installation)
    unjudged = _unjudged_ref(given)
    if unjudged is not None:
        return Ignored(unjudged)  # no reason to look where the repository comes from
    if installation.account.account_id != given.repo.owner.account_id:
        return Rejected(BindingCode.REPO_NOT_SELECTED, _FOREIGN)
    if given.lineage is None:
        return NeedLineage()
    if given.lab is None:
        hidden = given.lineage.fork and given.lineage.parent_id is None
        return Rejected(BindingCode.PARENT_UNKNOWN) if hidden else Ignored(BindingCode.NOT_A_LAB)
    return _by_lineage(given, given.lab, given.lineage)


def _usable(given: BindingInput) -> Installation | Rejected:
    """Step 1: the installation is known, active, and covers the repository."""
    installation = given.installation
    if installation is None:
        return Rejected(BindingCode.INSTALLATION_UNKNOWN)
    if installation.state is InstallationState.SUSPENDED:
        return Rejected(BindingCode.INSTALLATION_SUSPENDED)
    if installation.state is InstallationState.DELETED:
        return Rejected(BindingCode.INSTALLATION_DELETED)
    return installation if given.repo_selected else Rejected(BindingCode.REPO_NOT_SELECTED)


def _unjudged_ref(given: BindingInput) -> BindingCode | None:
    """Step 5, first half: refs without a head to judge."""
    if not given.ref.startswith(_BRANCHES):
        return BindingCode.TAG
    return BindingCode.BRANCH_DELETED if given.deleted else None


def _by_mapping(given: BindingInput, mapping: RepoMapping, installation: Installation) -> Decision:
    """Steps 2, 4 and 5: the primary key."""
    session = given.session
    if session is None or given.lab_branch is None:
        raise ValueError("a mapping was gathered without its session or the lab's branch")
    if (mapping.repo_id, mapping.session_id) != (given.repo.repo_id, session.session_id):
        raise ValueError("a mapping was gathered for another repository or session")
    owner = given.repo.owner
    if owner.account_id != mapping.owner_account_id:
        return Rejected(BindingCode.OWNER_CHANGED, "transferred", session, mapping.owner_account_id)
    personal = owner.kind is AccountKind.USER
    if personal and owner.account_id != session.learner_account_id and mapping.source not in DELIBERATE:
        detail = f"the mapping ({mapping.source}) joins another person's repository"
        return Rejected(BindingCode.LEARNER_MISMATCH, detail, session, session.learner_account_id)
    if installation.account.account_id != owner.account_id:
        return Rejected(BindingCode.REPO_NOT_SELECTED, _FOREIGN, session)
    unjudged = _unjudged_ref(given)
    if unjudged is not None:
        return Ignored(unjudged, session)
    anew = installation.installation_id != mapping.installation_id
    new_id = installation.installation_id if anew else None
    notes: tuple[Note, ...] = ("REINSTALLED",) if anew else ()
    if _is_away(session):
        return Resume(session, mapping, new_id, notes)
    closed = _closed(session)
    if closed is not None:
        return closed
    on_branch = given.ref == _BRANCHES + given.lab_branch
    return (Bound if on_branch else Preview)(session, mapping, new_id, notes)


def _is_away(session: Session) -> bool:
    """Whether only a missing installation or repository keeps the session from going on."""
    return session.status is SessionStatus.DEFERRED and session.deferred_by == "installation"


def _closed(session: Session) -> Rejected | None:
    """Step 4: why the session takes no push."""
    match session.status:
        case SessionStatus.DEFERRED:
            return Rejected(BindingCode.SESSION_DEFERRED, session=session)
        case SessionStatus.VERIFIED_PASS:
            return Rejected(BindingCode.SESSION_COMPLETED, session=session)
        case SessionStatus.EXPIRED:
            return Rejected(BindingCode.SESSION_EXPIRED, session=session)
        case _:
            return None


def _by_lineage(given: BindingInput, lab: LabRecord, lineage: Lineage) -> Decision:
    """Step 3: the secondary key. Only sessions of this lab, and only with the right to them."""
    fork_of_learner = given.parent_is_bound and lineage.parent_id != lab.base_repo_id
    notes: tuple[Note, ...] = ("FORK_OF_LEARNER",) if fork_of_learner else ()
    entitled = tuple(candidate for candidate in given.candidates if _is_entitled(candidate, given.repo, lab))
    free = [
        each for each in entitled if each.mapping is None and (each.session.status.is_open or _is_away(each.session))
    ]
    if not free:
        return _without_candidate(given, lab, entitled, notes)
    ranks = [_rank(candidate, given.repo.owner) for candidate in free]
    winners = [candidate for candidate, rank in zip(free, ranks, strict=True) if rank == max(ranks)]
    if len(winners) > 1:
        ids = ", ".join(sorted(str(winner.session.session_id) for winner in winners))
        return Rejected(BindingCode.AMBIGUOUS, f"equally good: {ids}")
    session = winners[0].session
    owner = given.repo.owner
    if owner.kind is AccountKind.USER and owner.account_id != session.learner_account_id:
        detail = "the invitation for this repository is another person's"
        return Rejected(BindingCode.LEARNER_MISMATCH, detail, session, session.learner_account_id)
    return Attach(session, notes)


def _is_entitled(candidate: Candidate, repo: Repo, lab: LabRecord) -> bool:
    """Whether the repository may come into question for this session at all: its learner's own, or invited.

    An organisation is never its own learner: it needs an invitation.
    """
    if candidate.session.lab_id != lab.lab_id:
        return False
    own = repo.owner.kind is AccountKind.USER and candidate.session.learner_account_id == repo.owner.account_id
    return own or candidate.invited_repo or (candidate.invited_account and repo.owner.kind is not AccountKind.USER)


def _rank(candidate: Candidate, owner: Account) -> tuple[bool, bool, float]:
    """Tie-breakers in order: invited for this very repository; invited for this account; started most recently.

    In an organisation sessions are of different people: which of them started last says nothing.
    """
    started = candidate.session.started_at.timestamp() if owner.kind is AccountKind.USER else 0.0
    return candidate.invited_repo, candidate.invited_account, started


def _without_candidate(
    given: BindingInput, lab: LabRecord, entitled: tuple[Candidate, ...], notes: tuple[Note, ...]
) -> Decision:
    """No session waits for the repository: a new one, or the reason why not.

    A new fork is no way around a session that lives elsewhere; nor, without a new invitation, around one that staff
    deferred or that expired. One that was finished does not stand in the way of another try.
    """
    personal = given.repo.owner.kind is AccountKind.USER
    theirs = [candidate for candidate in entitled if personal or candidate.invited_repo]
    for candidate in theirs:
        session = candidate.session
        if candidate.mapping is not None and (session.status.is_open or _is_away(session)):
            detail = f"the session is bound to repository {candidate.mapping.repo_id}"
            return Rejected(BindingCode.MAPPING_CONFLICT, detail, session, session.learner_account_id)
    for candidate in () if given.invited else theirs:
        closed = _closed(candidate.session)
        if closed is not None and closed.code is not BindingCode.SESSION_COMPLETED:
            return closed
    return _enrol(given, lab, notes)


def _enrol(given: BindingInput, lab: LabRecord, notes: tuple[Note, ...]) -> Decision:
    """Whether the owner may start the lab now."""
    if lab.enrolment is Enrolment.CLOSED:
        return Rejected(BindingCode.ENROLMENT_CLOSED)
    owner = given.repo.owner
    if owner.kind is AccountKind.USER:
        learner_id, entitled = owner.account_id, given.invited or lab.enrolment is Enrolment.OPEN
        if given.invited_learner_id not in (None, learner_id):
            detail = "the invitation for this repository is another person's"
            return Rejected(BindingCode.LEARNER_MISMATCH, detail, expected_owner_id=given.invited_learner_id)
    elif given.invited_learner_id is not None:
        learner_id, entitled = given.invited_learner_id, given.invited
    else:
        return Rejected(
            BindingCode.NO_SESSION, "an organisation's repository needs an invitation that names the learner"
        )
    if not entitled:
        return Rejected(BindingCode.NO_SESSION, "not invited")
    return Create(lab, learner_id, notes) if given.has_version else Rejected(BindingCode.LAB_HAS_NO_VERSION)
