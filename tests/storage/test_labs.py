"""Labs, versions that never change, and the template's commits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from rules.model import Enrolment, LabRecord, Session, SessionStatus
from storage import audit, labs, sessions
from storage.database import Pool
from storage.errors import LabConflict
from storage.labs import LabChange, TemplateCommit
from tests.support.bindings import LIN, a_lab, bind, publish, sha


async def add(pool: Pool, slug: str = "hooks", base_repo_id: int = 6000) -> LabRecord:
    """A registered lab without a version."""
    return await labs.add(
        pool,
        slug=slug,
        title="Hooks",
        base_repo_id=base_repo_id,
        base_repo_full_name="octo-course/hooks",
        base_installation_id=7,
        enrolment=Enrolment.INVITED,
        deadline=datetime(2030, 1, 1, tzinfo=UTC),
    )


async def test_a_lab_is_found_by_id_slug_and_template(pool: Pool) -> None:
    """Each way leads to the same record; the first of a line of ancestors that is a template wins."""
    lab = await add(pool)
    other = await add(pool, "closures", 6001)
    assert await labs.get(pool, lab.lab_id) == lab
    assert await labs.by_slug(pool, "hooks") == lab
    assert await labs.list_labs(pool) == (other, lab)
    assert await labs.by_base_repos(pool, [1, 6001, 6000]) == other
    assert await labs.by_base_repos(pool, [6000, 6001]) == lab
    for missing in (await labs.get(pool, 99), await labs.by_slug(pool, "x"), await labs.by_base_repos(pool, [])):
        assert missing is None


async def test_a_slug_and_a_template_belong_to_one_lab(pool: Pool) -> None:
    """A second lab with the same slug or template is refused in the domain's words."""
    await add(pool)
    with pytest.raises(LabConflict, match="slug"):
        await add(pool, base_repo_id=6001)
    with pytest.raises(LabConflict, match="template"):
        await add(pool, slug="other")


async def test_publishing(pool: Pool) -> None:
    """New rules make the next version; equal rules, or a commit that was published, make none but record the commit."""
    lab, first = await publish(pool)
    assert (first.number, first.commit_sha, first.lab) == (1, sha("closures v1"), a_lab())
    same = await labs.publish(
        pool, lab.lab_id, commit_sha=sha("c2"), tree_sha=sha("t2"), lab=a_lab(), digest="digest 1", title="New title"
    )
    assert same == first
    second = await labs.publish(
        pool, lab.lab_id, commit_sha=sha("c3"), tree_sha=sha("t3"), lab=a_lab("a", "b"), digest="d2"
    )
    assert (second.number, second.lab.steps[1].id) == (2, "b")
    again = await labs.publish(
        pool, lab.lab_id, commit_sha=first.commit_sha, tree_sha=first.tree_sha, lab=a_lab(), digest="digest 1"
    )
    assert again == first
    assert await labs.latest_version(pool, lab.lab_id) == second
    stored = await labs.get(pool, lab.lab_id)
    assert stored == replace(lab, title="New title")
    assert await labs.latest_version(pool, 99) is None


async def test_publishing_at_once_numbers_without_gaps(pool: Pool) -> None:
    """Operators who publish at the same moment get versions in a row."""
    lab = await add(pool)
    versions = await asyncio.gather(
        *(
            labs.publish(pool, lab.lab_id, commit_sha=sha(f"c{n}"), tree_sha=sha(f"t{n}"), lab=a_lab(), digest=f"d{n}")
            for n in range(6)
        )
    )
    assert sorted(version.number for version in versions) == [1, 2, 3, 4, 5, 6]


async def test_a_version_is_read_once(pool: Pool) -> None:
    """A version never changes, so the second reading asks nobody; an unknown id is an error."""
    _, first = await publish(pool)
    read = await labs.version(pool, first.lab_version_id)
    assert read == first
    assert await labs.version(pool, first.lab_version_id) is read
    with pytest.raises(LookupError):
        await labs.version(pool, 999)


async def test_template_commits_keep_their_order(pool: Pool) -> None:
    """Commits are recorded in the branch's order, known ones keep their place, each lab has its own."""
    lab, first = await publish(pool)
    other, _ = await publish(pool, "other", 7000)
    commits = [TemplateCommit(sha(f"c{number}"), sha(f"t{number}"), 0) for number in range(3)]
    await labs.record_template_commits(pool, lab.lab_id, commits[:2])
    await labs.record_template_commits(pool, lab.lab_id, commits)
    await labs.record_template_commit(pool, lab.lab_id, sha("c1"), sha("t1"))
    stored = await labs.template_commits(pool, lab.lab_id)
    assert [commit.commit_sha for commit in stored] == [first.commit_sha, *(commit.commit_sha for commit in commits)]
    assert [commit.ordinal for commit in stored] == [1, 2, 3, 4]
    assert await labs.template_commits(pool, lab.lab_id, sha("c1")) == stored[3:]
    assert len(await labs.template_commits(pool, other.lab_id)) == 1


async def test_recording_the_same_commits_at_once(pool: Pool) -> None:
    """Two workers that hear of the same push record it once."""
    lab, _ = await publish(pool)
    commits = [TemplateCommit(sha(f"c{number}"), sha(f"t{number}"), 0) for number in range(30)]
    await asyncio.gather(*(labs.record_template_commits(pool, lab.lab_id, commits) for _ in range(4)))
    stored = await labs.template_commits(pool, lab.lab_id)
    assert [commit.ordinal for commit in stored] == list(range(1, 32))


async def test_editing_a_lab_is_audited(pool: Pool) -> None:
    """What is named changes, what is not stays, and the audit says from what to what; no change leaves no trace."""
    lab = await add(pool)
    until = datetime(2031, 5, 1, 12, tzinfo=UTC)

    assert await labs.edit(pool, lab.lab_id, LabChange(enrolment=Enrolment.CLOSED), actor_id=900) == 0
    assert await labs.edit(pool, lab.lab_id, LabChange(enrolment=Enrolment.CLOSED)) == 0
    closed = await labs.get(pool, lab.lab_id)
    await labs.edit(pool, lab.lab_id, LabChange(sets_deadline=True, deadline=until))
    later = await labs.get(pool, lab.lab_id)
    await labs.edit(pool, lab.lab_id, LabChange(sets_deadline=True))
    endless = await labs.get(pool, lab.lab_id)

    assert closed == replace(lab, enrolment=Enrolment.CLOSED)
    assert later == replace(lab, enrolment=Enrolment.CLOSED, deadline=until)
    assert endless == replace(lab, enrolment=Enrolment.CLOSED, deadline=None)
    *_, first = events = await audit.list_events(pool)
    assert [event.event.kind for event in events] == ["lab_edited"] * 3
    assert (first.event.actor_id, first.event.detail["enrolment"]) == (900, ["invited", "closed"])


async def test_editing_what_is_not_there(pool: Pool) -> None:
    """A lab that does not exist is told apart from one in which nothing moved."""
    with pytest.raises(LookupError, match="no lab 99"):
        await labs.edit(pool, 99, LabChange(enrolment=Enrolment.OPEN))


async def test_a_deadline_moves_running_sessions_only_when_asked(pool: Pool) -> None:
    """With `also_running` the open sessions move, each audited and with a new epoch; expired ones stay closed."""
    bound = await bind(pool)
    done = await bind(pool, owner=LIN, repo_id=502, installation_id=72, published=(bound.lab, bound.version))
    await pool.execute(
        "UPDATE lab_session SET status = 'EXPIRED', expires_at = now() WHERE session_id = $1", done.session.session_id
    )
    until = datetime(2031, 5, 1, tzinfo=UTC)
    change = LabChange(sets_deadline=True, deadline=until)

    assert await labs.edit(pool, bound.lab.lab_id, change) == 0
    assert (await session(pool, bound.session.session_id)).expires_at is None
    assert await labs.edit(pool, bound.lab.lab_id, change, also_running=True) == 1
    assert await labs.edit(pool, bound.lab.lab_id, change, also_running=True) == 0

    moved = await session(pool, bound.session.session_id)
    assert (moved.expires_at, moved.epoch) == (until, bound.session.epoch + 1)
    assert (await session(pool, done.session.session_id)).expires_at != until
    (event,) = [event.event for event in await audit.list_events(pool) if event.event.kind == "deadline_moved"]
    assert event.session_id == bound.session.session_id
    assert event.detail["deadline"][0] is None


async def test_a_session_expires_only_past_its_deadline(pool: Pool) -> None:
    """The database's clock decides; a session of a status that no deadline ends stays as it is."""
    bound = await bind(pool)
    ident = bound.session.session_id

    assert not await sessions.expire(pool, ident)
    await pool.execute("UPDATE lab_session SET expires_at = now() + interval '1 hour'")
    assert not await sessions.expire(pool, ident)
    await pool.execute("UPDATE lab_session SET expires_at = now() - interval '1 second'")
    await pool.execute("UPDATE lab_session SET status = 'DEFERRED', deferred_by = 'staff'")
    assert not await sessions.expire(pool, ident)
    await pool.execute("UPDATE lab_session SET status = 'IN_PROGRESS', deferred_by = NULL")
    assert await sessions.expire(pool, ident)
    assert not await sessions.expire(pool, ident)

    assert (await session(pool, ident)).status is SessionStatus.EXPIRED
    (event, *_) = await audit.list_events(pool)
    assert (event.event.kind, event.event.detail["to"]) == ("status_changed", "EXPIRED")


async def test_versions_and_the_name_of_the_template(pool: Pool) -> None:
    """Versions are listed the newest first with their dates; the template's name follows a rename, its id stays."""
    lab, first = await publish(pool)
    second = await labs.publish(
        pool, lab.lab_id, commit_sha=sha("c2"), tree_sha=sha("t2"), lab=a_lab("one"), digest="digest 2"
    )

    listed = await labs.versions(pool, lab.lab_id)
    await labs.rename_template(pool, lab.lab_id, "octo-course/closures-2")

    assert [each.version for each in listed] == [second, first]
    assert listed[0].published_at >= listed[1].published_at
    renamed = await labs.get(pool, lab.lab_id)
    assert renamed is not None
    assert (renamed.base_repo_full_name, renamed.base_repo_id) == ("octo-course/closures-2", lab.base_repo_id)


async def session(pool: Pool, session_id: UUID) -> Session:
    """The session as it is stored now."""
    found = await sessions.get(pool, session_id)
    assert found is not None
    return found
