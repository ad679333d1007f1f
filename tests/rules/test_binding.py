"""From a repository to a session: the decision table of binding.md section 3."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as given_by
from hypothesis import strategies as st

from rules.binding import (
    Attach,
    BindingInput,
    Bound,
    Candidate,
    Create,
    Decision,
    Ignored,
    NeedLineage,
    Preview,
    Rejected,
    Resume,
    bind,
    blocks_report,
)
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

ADA = Account(101, "learner-one", AccountKind.USER)
LIN = Account(102, "learner-two", AccountKind.USER)
ORG = Account(900, "octo-course", AccountKind.ORGANIZATION)
BOT = Account(950, "octo-course-bot", AccountKind.BOT)

TEMPLATE_ID, FORK_ID, OTHER_ID = 1, 2, 3
LAB = LabRecord(7, "word-counter", "The word counter", TEMPLATE_ID, "octo-course/word-counter", 55, Enrolment.OPEN)
CLOSED_LAB = replace(LAB, enrolment=Enrolment.CLOSED)
INVITED_LAB = replace(LAB, enrolment=Enrolment.INVITED)
FORK = Lineage(parent_id=TEMPLATE_ID, source_id=TEMPLATE_ID, fork=True)
START = datetime(2031, 5, 1, tzinfo=UTC)

MAIN, SIDE, TAG = "refs/heads/main", "refs/heads/try", "refs/tags/v1"


def repo(owner: Account = ADA, repo_id: int = FORK_ID) -> Repo:
    """A repository of the owner."""
    return Repo(repo_id, f"{owner.login}/word-counter", owner, private=False, default_branch="main")


def installation(
    owner: Account = ADA, state: InstallationState = InstallationState.ACTIVE, ident: int = 55
) -> Installation:
    """The App on the owner's account."""
    return Installation(ident, owner, state, "all")


def session(
    learner: Account = ADA,
    status: SessionStatus = SessionStatus.IN_PROGRESS,
    *,
    number: int = 1,
    hours: int = 0,
    **more: Any,
) -> Session:
    """A session of the learner, started so many hours after the first."""
    return Session(
        session_id=UUID(int=number),
        lab_id=more.pop("lab_id", LAB.lab_id),
        lab_version_id=1,
        learner_account_id=learner.account_id,
        status=status,
        epoch=1,
        accepted_sha=None,
        head_sha=None,
        started_at=START + timedelta(hours=hours),
        **more,
    )


def mapping(
    of: Session, owner: Account = ADA, *, repo_id: int = FORK_ID, source: MappingSource = "event", ident: int = 55
) -> RepoMapping:
    """The active mapping of a repository to the session."""
    return RepoMapping(40, repo_id, ident, owner.account_id, f"{owner.login}/word-counter", of.session_id, source)


def delivery(owner: Account = ADA, ref: str = MAIN, **more: Any) -> BindingInput:
    """A push to the owner's repository, which nothing is known about."""
    usual: dict[str, Any] = {"installation": installation(owner), "repo_selected": True, "repo": repo(owner)}
    return BindingInput(ref=ref, **usual | more)


def bound(of: Session | None = None, owner: Account = ADA, ref: str = MAIN, **more: Any) -> BindingInput:
    """A push to a repository that is bound."""
    of = of or session()
    usual: dict[str, Any] = {"mapping": mapping(of, owner), "session": of, "lab_branch": "main"}
    return delivery(owner, ref, **usual | more)


def fork(*candidates: Candidate, owner: Account = ADA, lab: LabRecord = LAB, **more: Any) -> BindingInput:
    """A push to an unbound fork of the lab's template."""
    usual: dict[str, Any] = {"lineage": FORK, "lab": lab, "has_version": True, "candidates": candidates}
    return delivery(owner, **usual | more)


def code_of(decision: Decision) -> BindingCode | None:
    """The code of a refusal."""
    return decision.code if isinstance(decision, Ignored | Rejected) else None


OPEN = session()
STUCK = session(status=SessionStatus.STUCK)
AWAY = session(status=SessionStatus.DEFERRED, deferred_by="installation")
PAUSED = session(status=SessionStatus.DEFERRED, deferred_by="staff")
PASSED = session(status=SessionStatus.VERIFIED_PASS)
EXPIRED = session(status=SessionStatus.EXPIRED)

FINAL: dict[str, tuple[BindingInput, Decision]] = {
    # Step 1: the installation
    "unknown installation": (delivery(installation=None), Rejected(BindingCode.INSTALLATION_UNKNOWN)),
    "suspended": (
        bound(installation=installation(state=InstallationState.SUSPENDED)),
        Rejected(BindingCode.INSTALLATION_SUSPENDED),
    ),
    "uninstalled": (
        bound(installation=installation(state=InstallationState.DELETED)),
        Rejected(BindingCode.INSTALLATION_DELETED),
    ),
    "not selected": (bound(repo_selected=False), Rejected(BindingCode.REPO_NOT_SELECTED)),
    "not selected, and unbound": (fork(repo_selected=False), Rejected(BindingCode.REPO_NOT_SELECTED)),
    "another account's installation": (
        fork(installation=installation(LIN)),
        Rejected(BindingCode.REPO_NOT_SELECTED, "the installation is another account's"),
    ),
    # Step 2: the primary key
    "bound": (bound(), Bound(OPEN, mapping(OPEN))),
    "bound, stuck": (bound(STUCK), Bound(STUCK, mapping(STUCK))),
    "reinstalled": (
        bound(installation=installation(ident=56)),
        Bound(OPEN, mapping(OPEN), 56, ("REINSTALLED",)),
    ),
    "transferred": (
        bound(owner=LIN, mapping=mapping(OPEN, ADA), installation=installation(LIN, ident=56)),
        Rejected(BindingCode.OWNER_CHANGED, "transferred", OPEN, ADA.account_id),
    ),
    "transferred under the same installation id": (
        bound(owner=LIN, mapping=mapping(OPEN, ADA)),
        Rejected(BindingCode.OWNER_CHANGED, "transferred", OPEN, ADA.account_id),
    ),
    "a late push of its time under another account's installation": (
        bound(installation=installation(LIN)),
        Rejected(BindingCode.REPO_NOT_SELECTED, "the installation is another account's", OPEN),
    ),
    "another person's repository, from the backfill": (
        bound(owner=LIN, mapping=mapping(OPEN, LIN, source="backfill")),
        Rejected(
            BindingCode.LEARNER_MISMATCH,
            "the mapping (backfill) joins another person's repository",
            OPEN,
            ADA.account_id,
        ),
    ),
    "another person's repository, linked by staff": (
        bound(owner=LIN, mapping=mapping(OPEN, LIN, source="staff")),
        Bound(OPEN, mapping(OPEN, LIN, source="staff")),
    ),
    "an organisation's repository": (bound(owner=ORG), Bound(OPEN, mapping(OPEN, ORG))),
    # Step 4: the session's status
    "paused by staff": (bound(PAUSED), Rejected(BindingCode.SESSION_DEFERRED, session=PAUSED)),
    "finished": (bound(PASSED), Rejected(BindingCode.SESSION_COMPLETED, session=PASSED)),
    "expired": (bound(EXPIRED), Rejected(BindingCode.SESSION_EXPIRED, session=EXPIRED)),
    "finished, on another branch": (
        bound(PASSED, ref=SIDE),
        Rejected(BindingCode.SESSION_COMPLETED, session=PASSED),
    ),
    "away, and here it is": (bound(AWAY), Resume(AWAY, mapping(AWAY))),
    "away, and installed anew": (
        bound(AWAY, installation=installation(ident=56)),
        Resume(AWAY, mapping(AWAY), 56, ("REINSTALLED",)),
    ),
    # Step 5: the branch
    "another branch": (bound(ref=SIDE), Preview(OPEN, mapping(OPEN))),
    "another branch, reinstalled": (
        bound(ref=SIDE, installation=installation(ident=56)),
        Preview(OPEN, mapping(OPEN), 56, ("REINSTALLED",)),
    ),
    "a branch that ends like the lab's": (bound(ref="refs/heads/my/main"), Preview(OPEN, mapping(OPEN))),
    "a tag named like the branch": (bound(ref="refs/tags/main"), Ignored(BindingCode.TAG, OPEN)),
    "a tag": (bound(ref=TAG), Ignored(BindingCode.TAG, OPEN)),
    "a deleted tag": (bound(ref=TAG, deleted=True), Ignored(BindingCode.TAG, OPEN)),
    "a deleted branch": (bound(deleted=True), Ignored(BindingCode.BRANCH_DELETED, OPEN)),
    "a tag in a finished session": (bound(PASSED, ref=TAG), Ignored(BindingCode.TAG, PASSED)),
    "a tag in an unknown repository": (delivery(ref=TAG), Ignored(BindingCode.TAG)),
    "a deleted branch of an unknown repository": (delivery(deleted=True), Ignored(BindingCode.BRANCH_DELETED)),
    # Step 3: the secondary key
    "nothing is known": (delivery(), NeedLineage()),
    "no lab": (delivery(lineage=Lineage()), Ignored(BindingCode.NOT_A_LAB)),
    "a fork of something else": (
        delivery(lineage=Lineage(parent_id=77, source_id=77, fork=True)),
        Ignored(BindingCode.NOT_A_LAB),
    ),
    "a fork of something hidden": (delivery(lineage=Lineage(fork=True)), Rejected(BindingCode.PARENT_UNKNOWN)),
    "a hidden parent, but invited": (
        fork(Candidate(OPEN, invited_repo=True), lineage=Lineage(fork=True)),
        Attach(OPEN),
    ),
    "the learner's own session": (fork(Candidate(OPEN)), Attach(OPEN)),
    "a generated repository": (fork(Candidate(OPEN), lineage=Lineage(template_id=TEMPLATE_ID)), Attach(OPEN)),
    "a session that lost its repository": (fork(Candidate(AWAY)), Attach(AWAY)),
    "another lab's session does not count": (
        fork(Candidate(session(lab_id=8))),
        Create(LAB, ADA.account_id),
    ),
    "another person's session does not count": (fork(Candidate(session(LIN))), Create(LAB, ADA.account_id)),
    "another person's session, invited for the account": (
        fork(Candidate(session(LIN), invited_account=True)),
        Create(LAB, ADA.account_id),
    ),
    "invited for this very repository": (
        fork(
            Candidate(session(number=1, hours=9), invited_account=True),
            Candidate(session(number=2), invited_repo=True),
        ),
        Attach(session(number=2)),
    ),
    "invited for this account": (
        fork(Candidate(session(number=1, hours=9)), Candidate(session(number=2), invited_account=True)),
        Attach(session(number=2)),
    ),
    "started most recently": (
        fork(Candidate(session(number=1)), Candidate(session(number=2, hours=1)), Candidate(session(number=3))),
        Attach(session(number=2, hours=1)),
    ),
    "a tie": (
        fork(Candidate(session(number=2)), Candidate(session(number=1))),
        Rejected(BindingCode.AMBIGUOUS, f"equally good: {UUID(int=1)}, {UUID(int=2)}"),
    ),
    "invited for another person's session": (
        fork(Candidate(session(LIN, number=1), invited_repo=True), Candidate(session(number=2))),
        Rejected(
            BindingCode.LEARNER_MISMATCH,
            "the invitation for this repository is another person's",
            session(LIN, number=1),
            LIN.account_id,
        ),
    ),
    "the session lives elsewhere": (
        fork(Candidate(OPEN, mapping(OPEN, repo_id=OTHER_ID))),
        Rejected(BindingCode.MAPPING_CONFLICT, "the session is bound to repository 3", OPEN, ADA.account_id),
    ),
    "the session lives elsewhere, where the App is away": (
        fork(Candidate(AWAY, mapping(AWAY, repo_id=OTHER_ID))),
        Rejected(BindingCode.MAPPING_CONFLICT, "the session is bound to repository 3", AWAY, ADA.account_id),
    ),
    "a new fork is no way around staff": (
        fork(Candidate(PAUSED)),
        Rejected(BindingCode.SESSION_DEFERRED, session=PAUSED),
    ),
    "a new fork is no way around the deadline": (
        fork(Candidate(EXPIRED, mapping(EXPIRED, repo_id=OTHER_ID))),
        Rejected(BindingCode.SESSION_EXPIRED, session=EXPIRED),
    ),
    "a new invitation is one": (fork(Candidate(EXPIRED), invited=True), Create(LAB, ADA.account_id)),
    "a second try after finishing": (
        fork(Candidate(PASSED, mapping(PASSED, repo_id=OTHER_ID))),
        Create(LAB, ADA.account_id),
    ),
    "open enrolment": (fork(), Create(LAB, ADA.account_id)),
    "a fork of a learner's fork": (
        fork(lineage=Lineage(parent_id=OTHER_ID, source_id=TEMPLATE_ID, fork=True), parent_is_bound=True),
        Create(LAB, ADA.account_id, ("FORK_OF_LEARNER",)),
    ),
    "a fork of a stranger's fork": (
        fork(lineage=Lineage(parent_id=OTHER_ID, source_id=TEMPLATE_ID, fork=True)),
        Create(LAB, ADA.account_id),
    ),
    "a fork of a learner's fork, with a session": (
        fork(
            Candidate(OPEN),
            lineage=Lineage(parent_id=OTHER_ID, source_id=TEMPLATE_ID, fork=True),
            parent_is_bound=True,
        ),
        Attach(OPEN, ("FORK_OF_LEARNER",)),
    ),
    "not published": (fork(has_version=False), Rejected(BindingCode.LAB_HAS_NO_VERSION)),
    "closed": (fork(lab=CLOSED_LAB), Rejected(BindingCode.ENROLMENT_CLOSED)),
    "closed, even if invited": (fork(lab=CLOSED_LAB, invited=True), Rejected(BindingCode.ENROLMENT_CLOSED)),
    "closed, with a session": (fork(Candidate(OPEN), lab=CLOSED_LAB), Attach(OPEN)),
    "by invitation, without": (fork(lab=INVITED_LAB), Rejected(BindingCode.NO_SESSION, "not invited")),
    "by invitation, with": (fork(lab=INVITED_LAB, invited=True), Create(INVITED_LAB, ADA.account_id)),
    "by invitation, for oneself": (
        fork(lab=INVITED_LAB, invited=True, invited_learner_id=ADA.account_id),
        Create(INVITED_LAB, ADA.account_id),
    ),
    "by another person's invitation": (
        fork(invited=True, invited_learner_id=LIN.account_id),
        Rejected(
            BindingCode.LEARNER_MISMATCH,
            "the invitation for this repository is another person's",
            expected_owner_id=LIN.account_id,
        ),
    ),
    # Organisations are never their own learner
    "an organisation's fork": (
        fork(owner=ORG),
        Rejected(BindingCode.NO_SESSION, "an organisation's repository needs an invitation that names the learner"),
    ),
    "an organisation's fork, invited without a learner": (
        fork(owner=ORG, invited=True),
        Rejected(BindingCode.NO_SESSION, "an organisation's repository needs an invitation that names the learner"),
    ),
    "an organisation's fork, invited for a learner": (
        fork(owner=ORG, invited=True, invited_learner_id=ADA.account_id),
        Create(LAB, ADA.account_id),
    ),
    "an organisation's fork, the learner known but not invited": (
        fork(owner=ORG, invited_learner_id=ADA.account_id),
        Rejected(BindingCode.NO_SESSION, "not invited"),
    ),
    "an organisation's fork, not published": (
        fork(owner=ORG, invited=True, invited_learner_id=ADA.account_id, has_version=False),
        Rejected(BindingCode.LAB_HAS_NO_VERSION),
    ),
    "a bot's fork": (
        fork(owner=BOT),
        Rejected(BindingCode.NO_SESSION, "an organisation's repository needs an invitation that names the learner"),
    ),
    "a classroom's session": (fork(Candidate(OPEN, invited_account=True), owner=ORG), Attach(OPEN)),
    "a classroom's session without invitation": (
        fork(Candidate(OPEN), owner=ORG),
        Rejected(BindingCode.NO_SESSION, "an organisation's repository needs an invitation that names the learner"),
    ),
    "a classroom of several": (
        fork(
            Candidate(session(ADA, number=1), invited_account=True),
            Candidate(session(LIN, number=2, hours=1), invited_account=True),
            owner=ORG,
        ),
        Rejected(BindingCode.AMBIGUOUS, f"equally good: {UUID(int=1)}, {UUID(int=2)}"),
    ),
    "a classroom of several, one invited for the repository": (
        fork(
            Candidate(session(ADA, number=1), invited_repo=True),
            Candidate(session(LIN, number=2, hours=1), invited_account=True),
            owner=ORG,
        ),
        Attach(session(ADA, number=1)),
    ),
    "a classroom whose other sessions are closed or elsewhere": (
        fork(
            Candidate(session(LIN, number=1), mapping(session(LIN, number=1), repo_id=OTHER_ID), invited_account=True),
            Candidate(PAUSED, invited_account=True),
            owner=ORG,
        ),
        Rejected(BindingCode.NO_SESSION, "an organisation's repository needs an invitation that names the learner"),
    ),
    "a classroom's repository whose own session lives elsewhere": (
        fork(Candidate(OPEN, mapping(OPEN, repo_id=OTHER_ID), invited_repo=True), owner=ORG),
        Rejected(BindingCode.MAPPING_CONFLICT, "the session is bound to repository 3", OPEN, ADA.account_id),
    ),
}


@pytest.mark.parametrize("case", FINAL)
def test_the_decision_table(case: str) -> None:
    """Each situation has exactly the decision of the table."""
    given, expected = FINAL[case]

    assert bind(given) == expected
    assert type(bind(given)) is type(expected)


def test_the_table_decides_every_code() -> None:
    """Every code of binding.md section 3 is reached by some row."""
    assert set(BindingCode) == {code_of(decision) for _, decision in FINAL.values()} - {None}


@pytest.mark.parametrize(
    "given",
    [
        replace(bound(), session=None),
        replace(bound(), lab_branch=None),
        replace(bound(), session=session(number=2)),
        bound(mapping=mapping(OPEN, repo_id=OTHER_ID)),
    ],
)
def test_what_does_not_belong_together_is_our_fault(given: BindingInput) -> None:
    """A mapping gathered without, or for another, session or repository is never decided upon."""
    with pytest.raises(ValueError, match="a mapping was gathered"):
        bind(given)


REPORTS = {
    "none": "INSTALLATION_UNKNOWN INSTALLATION_SUSPENDED INSTALLATION_DELETED REPO_NOT_SELECTED NOT_A_LAB"
    " PARENT_UNKNOWN TAG BRANCH_DELETED",
    "action_required": "NO_SESSION ENROLMENT_CLOSED AMBIGUOUS OWNER_CHANGED LEARNER_MISMATCH MAPPING_CONFLICT"
    " LAB_HAS_NO_VERSION",
    "neutral": "SESSION_DEFERRED SESSION_COMPLETED SESSION_EXPIRED",
}


def test_what_the_repository_sees_of_each_code() -> None:
    """The third column of the table in binding.md: nothing, action_required, or neutral."""
    expected = {code: kind for kind, codes in REPORTS.items() for code in codes.split()}

    assert expected == {code.value: blocks_report(code) for code in BindingCode}


# ---------------------------------------------------------------------------------------------- whatever is gathered

ACCOUNTS = st.sampled_from([ADA, LIN, ORG])
STATUSES = st.sampled_from([OPEN, STUCK, AWAY, PAUSED, PASSED, EXPIRED])


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    """Any session of either learner, free or not, invited or not."""
    pattern = draw(STATUSES)
    of = replace(
        pattern,
        session_id=UUID(int=draw(st.integers(1, 6))),
        learner_account_id=draw(st.sampled_from([ADA, LIN])).account_id,
        lab_id=draw(st.sampled_from([LAB.lab_id, LAB.lab_id, 8])),
        started_at=START + timedelta(hours=draw(st.integers(0, 2))),
    )
    lives = mapping(of, repo_id=OTHER_ID) if draw(st.booleans()) else None
    return Candidate(of, lives, draw(st.booleans()), draw(st.booleans()))


@st.composite
def unbound(draw: st.DrawFn) -> BindingInput:
    """Any push to an unbound repository that comes from the lab."""
    return fork(
        *draw(st.lists(candidates(), max_size=4, unique_by=lambda each: each.session.session_id)),
        owner=draw(ACCOUNTS),
        lab=draw(st.sampled_from([LAB, CLOSED_LAB, INVITED_LAB])),
        has_version=draw(st.booleans()),
        invited=draw(st.booleans()),
        invited_learner_id=draw(st.sampled_from([None, ADA.account_id, LIN.account_id])),
    )


@pytest.mark.heavy
@given_by(unbound())
def test_no_push_reaches_another_persons_session(given: BindingInput) -> None:
    """A person's repository is only ever bound to a session of that person, an organisation's only by invitation."""
    decision = bind(given)
    owner = given.repo.owner

    match decision:
        case Attach(to):
            chosen = next(each for each in given.candidates if each.session is to)
            assert chosen.mapping is None
            assert to.lab_id == LAB.lab_id
            assert to.status.is_open or to.deferred_by == "installation"
            if owner.kind is AccountKind.USER:
                assert to.learner_account_id == owner.account_id
            else:
                assert chosen.invited_repo or chosen.invited_account
        case Create(_, learner_id):
            assert given.has_version
            assert learner_id == (owner.account_id if owner.kind is AccountKind.USER else given.invited_learner_id)
        case _:
            assert isinstance(decision, Rejected)


@pytest.mark.heavy
@given_by(unbound(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_decides_nothing_about_binding(given: BindingInput, random: Any) -> None:
    """Storage may return candidates in any order: who is bound to what stays the same."""
    shuffled = list(given.candidates)
    random.shuffle(shuffled)

    one, other = bind(given), bind(replace(given, candidates=tuple(shuffled)))

    assert type(one) is type(other)
    if isinstance(one, Attach | Create):
        assert one == other
