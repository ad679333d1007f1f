"""From a delivery to its session: gather what is asked for, decide (rules.binding), write, until it is final."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

import structlog

from bot.coverage import is_alive, refresh_installation
from bot.services import Services
from github.errors import InstallationGone, NotFound
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
)
from rules.model import (
    BindingCode,
    Enrolment,
    InstallationState,
    LabRecord,
    Lineage,
    MappingSource,
    Push,
    SessionStatus,
)
from rules.session import SessionEvent, next_status
from storage import accounts, forgetting, invitations, labs, lifecycle, sessions
from storage.accounts import Coverage
from storage.audit import AuditEvent
from storage.errors import MappingConflict, SessionConflict, StaleSession
from storage.mappings import Mappings
from storage.progress import JudgingState, judging_state

log = structlog.get_logger(__name__)

# Each writer that is faster than us costs one round.
ROUNDS = 8


# Refusals for the owner's sake: a delivery from before or after a transfer names the owner of then.
_BY_OWNER = frozenset({BindingCode.OWNER_CHANGED, BindingCode.LEARNER_MISMATCH})


class BindingRaceError(Exception):
    """Other writers kept changing the binding while we decided. Our fault; the delivery is retried."""


@dataclass(frozen=True, slots=True)
class Found:
    """The final decision. `state`: only of a bound repository; `lab`: if one is known; `parent_id`: for the audit."""

    decision: Bound | Preview | Ignored | Rejected
    state: JudgingState | None = None
    lab: LabRecord | None = None
    parent_id: int | None = None


async def find_binding(services: Services, push: Push, *, source: MappingSource = "event") -> Found:
    """Which session a push belongs to; creates and binds one when the rules say so.

    Raises GitHubError when the API does not answer, BindingRaceError after ROUNDS lost races.
    """
    coverage, confirmed = await _coverage(services, push), False
    for _ in range(ROUNDS):
        given, state = await _known(services, push, coverage)
        if state is not None and is_overdue(state) and await sessions.expire(services.pool, state.session.session_id):
            services.mappings.drop(push.repo.repo_id)
            continue
        decision = bind(given)
        if isinstance(decision, NeedLineage):
            given = await _with_lineage(services, push, given)
            decision = bind(given)
        if isinstance(decision, Rejected) and decision.code in _BY_OWNER:
            decision = bind(await _with_owner_of_now(services, push, given))
        refused = isinstance(decision, NeedLineage | Ignored | Rejected)
        if refused and given.mapping is None and await _is_bound(services, push.repo.repo_id):
            continue
        match decision:
            case Bound() | Preview() | Resume() if decision.new_installation_id is not None and not confirmed:
                # A mapping moves only to an installation that the API knows now: the delivery may be an old one.
                coverage, confirmed = await _confirmed(services, push), True
                continue
            case Resume() if decision.new_installation_id is None and not await _resumed(services, decision):
                decision = Rejected(BindingCode.SESSION_DEFERRED, "another session is open", decision.session)
                return await _refused(services, given, decision)
            case NeedLineage():
                return Found(Ignored(BindingCode.NOT_A_LAB))  # the repository itself is gone
            case Create() if push.installation_id is not None and not await forgetting.may_enrol(
                services.pool, push.installation_id, push.repo.repo_id
            ):
                return Found(Ignored(BindingCode.NOT_A_LAB))  # its owner was erased, and did not come back
            case Ignored() | Rejected():
                return await _refused(services, given, decision)
            case Bound() | Preview() if decision.new_installation_id is None:
                assert state is not None  # noqa: S101 (bind names a session that was gathered)
                return Found(decision, state, state.lab)
        await _write(services, push, given, decision, source)
        services.mappings.drop(push.repo.repo_id)
    raise BindingRaceError(f"the binding of repository {push.repo.repo_id} changed each time while it was decided")


async def _is_bound(services: Services, repo_id: int) -> bool:
    """Whether the database has a mapping where the cache said that there is none: nobody is refused on a hint."""
    bound = await Mappings(services.pool).find(repo_id) is not None
    if bound:
        services.mappings.drop(repo_id)
    return bound


async def _resumed(services: Services, decision: Resume) -> bool:
    """Whether the session goes on: what is stored says that its repository is there."""
    await lifecycle.settle(services.pool, decision.mapping.installation_id)
    session = await sessions.get(services.pool, decision.session.session_id)
    return session is None or session.deferred_by != "installation"


async def _refused(services: Services, given: BindingInput, decision: Ignored | Rejected) -> Found:
    lab = given.lab
    if lab is None and decision.session is not None:
        lab = await labs.get(services.pool, decision.session.lab_id)
    return Found(decision, lab=lab, parent_id=given.lineage.parent_id if given.lineage else None)


async def _coverage(services: Services, push: Push) -> Coverage:
    """The installation and whether it covers the repository; asked from the API when we do not know that it does."""
    if push.installation_id is None:
        return Coverage(None, selected=False)
    known = await accounts.coverage(services.pool, push.installation_id, push.repo.repo_id)
    state = known.installation.state if known.installation is not None else None
    if state is InstallationState.DELETED or (state is InstallationState.ACTIVE and known.selected):
        return known  # a suspended one sends nothing: that it does says that the end of that was not heard of
    return await _confirmed(services, push)


async def _confirmed(services: Services, push: Push) -> Coverage:
    """The same as the API tells now."""
    assert push.installation_id is not None  # noqa: S101 (nothing is asked without)
    with contextlib.suppress(InstallationGone):  # which is stored
        await refresh_installation(services, push.installation_id)
    return await accounts.coverage(services.pool, push.installation_id, push.repo.repo_id)


async def _known(services: Services, push: Push, coverage: Coverage) -> tuple[BindingInput, JudgingState | None]:
    """What the database knows: the primary key, and the session behind it as of now."""
    given = BindingInput(
        installation=coverage.installation,
        repo_selected=coverage.selected,
        repo=push.repo,
        ref=push.ref,
        deleted=push.deleted,
    )
    for _ in range(2):  # a cached mapping is a hint: when the database has another one, it is asked again
        mapping = await services.mappings.find(push.repo.repo_id)
        if mapping is None:
            return given, None
        state = await judging_state(services.pool, mapping.session_id, heads=[push.after])
        if state is not None and state.mapping is not None and state.mapping.mapping_id == mapping.mapping_id:
            branch = state.version.lab.branch
            return replace(given, mapping=state.mapping, session=state.session, lab_branch=branch), state
        services.mappings.drop(push.repo.repo_id)
    return given, None


def is_overdue(state: JudgingState) -> bool:
    """Whether the deadline has passed of a session that a deadline ends: no schedule need have noticed it."""
    session = state.session
    if session.expires_at is None or session.expires_at > state.read_at:
        return False
    after = next_status(session.status, SessionEvent.DEADLINE_PASSED, session.deferred_by)
    return after.status is not session.status


async def _with_owner_of_now(services: Services, push: Push, given: BindingInput) -> BindingInput:
    """The same question with the owner that the API tells now, before anybody is refused by a payload."""
    assert push.installation_id is not None  # noqa: S101 (bind asks for the installation first)
    try:
        repo, _ = await services.app.installation(push.installation_id).repository_by_id(push.repo.repo_id)
    except NotFound:
        return given
    return replace(given, repo=repo)


async def _with_lineage(services: Services, push: Push, given: BindingInput) -> BindingInput:
    """The secondary key: where the repository comes from (only the single-repository GET tells), and candidates."""
    assert push.installation_id is not None  # noqa: S101 (bind asks for lineage only under a known installation)
    try:
        repo, lineage = await services.app.installation(push.installation_id).repository_by_id(push.repo.repo_id)
    except NotFound:
        return given
    line = [ident for ident in (lineage.parent_id, lineage.template_id, lineage.source_id) if ident is not None]
    lab = await labs.by_base_repos(services.pool, line) or await invitations.lab_of(services.pool, repo.repo_id)
    given = replace(given, repo=repo, lineage=lineage, lab=lab)
    return given if lab is None else await _with_candidates(services, push, given, lab, lineage)


async def _with_candidates(
    services: Services, push: Push, given: BindingInput, lab: LabRecord, lineage: Lineage
) -> BindingInput:
    repo = given.repo
    found = await sessions.candidates(services.pool, lab.lab_id, repo.owner.account_id, repo.repo_id)
    parent = await services.mappings.find(lineage.parent_id) if lineage.parent_id is not None else None
    return replace(
        given,
        lab=replace(lab, enrolment=Enrolment.CLOSED) if found.lab_is_over else lab,
        has_version=await labs.latest_version(services.pool, lab.lab_id) is not None,
        candidates=tuple([await _candidate(services, push, candidate) for candidate in found.sessions]),
        invited=found.invited_repo or found.invited_account,
        invited_learner_id=found.invited_learner_id,
        parent_is_bound=parent is not None,
    )


async def _candidate(services: Services, push: Push, candidate: Candidate) -> Candidate:
    """A session whose mapped repository is gone is freed: its work there cannot be compared with any more.

    One that is over is left as it is: nobody is waiting for its repository.
    """
    mapping, session = candidate.mapping, candidate.session
    waits = session.status.is_open or session.status is SessionStatus.DEFERRED
    if mapping is None or not waits or await is_alive(services, mapping, push.installation_id):
        return candidate
    await lifecycle.free(services.pool, mapping.mapping_id, AuditEvent("unbound", code="REPOSITORY_GONE"))
    services.mappings.drop(mapping.repo_id)
    now = await sessions.get(services.pool, session.session_id)
    return replace(candidate, session=now or session, mapping=None)


async def _write(
    services: Services, push: Push, given: BindingInput, decision: Decision, source: MappingSource
) -> None:
    """Do what the decision asks for, in one transaction each; a lost race only costs another round."""
    assert push.installation_id is not None  # noqa: S101 (nothing is decided to be written without an installation)
    try:
        match decision:
            case Create():
                await _create(services, push, given, decision)
            case Attach(session):
                event = _event("bound", push, given, decision.notes)
                await sessions.attach(
                    services.pool,
                    session,
                    repo=given.repo,
                    installation_id=push.installation_id,
                    source=source,
                    event=event,
                )
            case Bound() | Preview() | Resume() if (
                decision.new_installation_id is not None
            ):  # and goes on, if it was away
                event = _event("reinstalled", push, given, decision.notes)
                await Mappings(services.pool).take_installation(decision.mapping, decision.new_installation_id, event)
    except (MappingConflict, SessionConflict, StaleSession) as error:
        log.info("binding_race_lost", repo=push.repo.repo_id, error=str(error))


async def _create(services: Services, push: Push, given: BindingInput, decision: Create) -> None:
    lab, owner = decision.lab, given.repo.owner
    version = await labs.latest_version(services.pool, lab.lab_id)
    if version is None or push.installation_id is None:
        return
    learner = owner
    if owner.account_id != decision.learner_account_id:
        known = await accounts.account(services.pool, decision.learner_account_id)
        if known is None:
            raise LookupError(f"account {decision.learner_account_id} was invited and is not known")
        learner = known
    await sessions.create_and_bind(
        services.pool,
        version=version,
        learner=learner,
        repo=given.repo,
        installation_id=push.installation_id,
        source="enrolment",
        event=_event("bound", push, given, decision.notes),
        expires_at=lab.deadline,
    )


def _event(kind: str, push: Push, given: BindingInput, notes: tuple[str, ...]) -> AuditEvent:
    """The audit event of a binding; storage completes it by the ids of what was written."""
    return AuditEvent(
        kind,
        code=notes[0] if notes else None,
        parent_id=given.lineage.parent_id if given.lineage else None,
        ref=push.ref,
        head_sha=push.after,
        sender_id=push.sender_id,
        delivery_id=push.delivery_id,
    )
