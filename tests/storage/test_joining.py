"""What is known of somebody who wants to start a lab."""

from __future__ import annotations

from dataclasses import replace

from rules.model import BindingCode, Outcome, Verdict
from storage import inbox, joining, lifecycle, progress
from storage.audit import AuditEvent
from storage.database import Pool
from storage.joining import NewInstallation, Standing
from storage.progress import SaveRejection
from tests.support.bindings import ADA, COURSE, LIN, a_repo, bind, claimed, install, publish, sha, suspend
from tests.support.judgements import judged, saved


async def refuse(pool: Pool, lab_id: int, code: str, *, repo_id: int = 501, owner: int = 0, sender: int | None) -> None:
    """A refusal of a repository, about a lab."""
    lane, ids = await claimed(pool)
    event = AuditEvent(
        "rejected",
        code=code,
        repo_id=repo_id,
        repo_full_name=f"somebody/r{repo_id}",
        owner_id=owner or ADA.account_id,
        sender_id=sender,
        detail={"lab_id": lab_id},
    )
    await progress.save_rejection(pool, SaveRejection(lane, event, ids))
    await inbox.release(pool, lane)


async def test_of_somebody_new_nothing_is_known(pool: Pool) -> None:
    """No session, no refusal, no installation, no invitation; and no version of a lab that is not published."""
    lab, version = await publish(pool)
    assert await joining.standing(pool, lab.lab_id, 1, "x") == Standing(
        invited=False, enrolled=None, refusals=(), installations=()
    )
    assert await joining.version_of(pool, lab.lab_id) == version
    assert await joining.version_of(pool, lab.lab_id + 1) is None
    assert await joining.any_installation(pool) is None


async def test_an_invitation_by_login_counts_until_it_has_an_id(pool: Pool) -> None:
    """Names are compared as GitHub does, without regard to case."""
    lab, _ = await publish(pool)
    await pool.execute("INSERT INTO invitation (lab_id, login) VALUES ($1, 'Learner-One')", lab.lab_id)
    assert (await joining.standing(pool, lab.lab_id, 1, "learner-one")).invited
    assert not (await joining.standing(pool, lab.lab_id, 1, "learner-two")).invited


async def test_the_starter_is_no_push(pool: Pool) -> None:
    """A head that is the template as it was handed out is judged too, and is not the learner's first push."""
    bound = await bind(pool)
    greeted, _ = await judged(pool, bound, "starter")
    assert isinstance(greeted.verdict, Verdict)
    await progress.save(pool, replace(greeted, verdict=replace(greeted.verdict, untouched=True)))
    await inbox.release(pool, greeted.lane)
    enrolled = (await joining.standing(pool, bound.lab.lab_id, ADA.account_id, ADA.login)).enrolled
    assert enrolled is not None
    assert (enrolled.first_push, enrolled.last) == (None, None)

    await saved(pool, bound, "work")
    enrolled = (await joining.standing(pool, bound.lab.lab_id, ADA.account_id, ADA.login)).enrolled
    assert enrolled is not None
    assert enrolled.first_push is not None
    assert enrolled.last is not None
    assert (enrolled.last.outcome, enrolled.last.after_sha) == (Outcome.ACCEPTED, sha("work"))
    assert enrolled.elsewhere is None


async def test_a_preview_is_told_apart(pool: Pool) -> None:
    """A push to another branch is no push to the lab's, but it is known."""
    bound = await bind(pool)
    await saved(pool, bound, "idea", preview=True, ref="refs/heads/idea")
    enrolled = (await joining.standing(pool, bound.lab.lab_id, ADA.account_id, ADA.login)).enrolled
    assert enrolled is not None
    assert (enrolled.first_push, enrolled.last) == (None, None)
    assert enrolled.elsewhere is not None
    assert enrolled.elsewhere.ref == "refs/heads/idea"


async def test_owner_and_pushers_are_told_of_a_refusal(pool: Pool) -> None:
    """The owner, and everybody who pushed, also after the first one; nobody else, and about no other lab."""
    lab, _ = await publish(pool)
    await refuse(pool, lab.lab_id, "NO_SESSION", owner=COURSE.account_id, sender=None)
    for sender in (ADA.account_id, LIN.account_id, ADA.account_id):
        await refuse(pool, lab.lab_id, "NO_SESSION", owner=COURSE.account_id, sender=sender)

    for person in (COURSE, ADA, LIN):
        (refusal,) = (await joining.standing(pool, lab.lab_id, person.account_id, person.login)).refusals
        assert (refusal.code, refusal.owner_id) == (BindingCode.NO_SESSION, COURSE.account_id)
    assert (await joining.standing(pool, lab.lab_id, 1, "x")).refusals == ()
    assert (await joining.standing(pool, lab.lab_id + 1, ADA.account_id, ADA.login)).refusals == ()
    assert await pool.fetchval("SELECT senders FROM rejection_count") == [LIN.account_id, ADA.account_id]


async def test_few_senders_are_kept(pool: Pool) -> None:
    """A refused repository with many contributors does not grow a row without end."""
    lab, _ = await publish(pool)
    for sender in range(1, 13):
        await refuse(pool, lab.lab_id, "NO_SESSION", sender=sender)
    assert await pool.fetchval("SELECT senders FROM rejection_count") == list(range(12, 2, -1))


async def test_the_newest_refusal_of_each_repository_is_told(pool: Pool) -> None:
    """One line for each repository, the latest first, and only a few."""
    lab, _ = await publish(pool)
    await refuse(pool, lab.lab_id, "NO_SESSION", repo_id=501, sender=None)
    for repo_id in (502, 503, 504, 501):
        await refuse(pool, lab.lab_id, "MAPPING_CONFLICT", repo_id=repo_id, sender=None)
    found = (await joining.standing(pool, lab.lab_id, ADA.account_id, ADA.login)).refusals
    assert [(each.repo_id, each.code) for each in found] == [
        (501, BindingCode.MAPPING_CONFLICT),
        (504, BindingCode.MAPPING_CONFLICT),
        (503, BindingCode.MAPPING_CONFLICT),
    ]


async def test_installations_in_force_cover_repositories(pool: Pool) -> None:
    """A suspended installation covers nothing, a deleted one is not told of, and the rest is counted."""
    lab, _ = await publish(pool)
    await install(pool, 71, ADA, *(a_repo(number, ADA, f"r{number}") for number in range(1, 15)))
    await install(pool, 72, LIN, a_repo(99, LIN))
    standing = await joining.standing(pool, lab.lab_id, ADA.account_id, ADA.login)
    (installed,) = standing.installations
    assert (len(installed.names), installed.repo_ids) == (10, frozenset(range(1, 15)))
    assert all(map(standing.covers, range(1, 15)))
    assert not standing.covers(99)
    assert await joining.any_installation(pool) == 71

    await suspend(pool, 71)
    standing = await joining.standing(pool, lab.lab_id, ADA.account_id, ADA.login)
    assert not standing.covers(1)
    assert await joining.any_installation(pool) == 72
    await lifecycle.end_installation(pool, 71)
    assert (await joining.standing(pool, lab.lab_id, ADA.account_id, ADA.login)).installations == ()


async def test_only_ones_own_installation_is_told_of(pool: Pool) -> None:
    """By account, or by a session that is bound under it; what GitHub has shown is theirs, without its repositories."""
    bound = await bind(pool)
    own = await joining.new_installation(pool, 71, ADA.account_id)
    assert own.theirs
    assert [(session.session_id, slug, name) for session, slug, name in own.sessions] == [
        (bound.session.session_id, "closures", bound.repo.full_name)
    ]
    assert own.repositories == (bound.repo.full_name,)
    assert await joining.new_installation(pool, 71, LIN.account_id) == NewInstallation(False, (), ())
    assert await joining.new_installation(pool, 71, LIN.account_id, seen=True) == NewInstallation(True, (), ())
    assert await joining.new_installation(pool, 4242, ADA.account_id) == NewInstallation(False, (), ())
