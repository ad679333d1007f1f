"""Labs, versions that never change, and the template's commits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rules.model import Enrolment, LabRecord
from storage import labs
from storage.database import Pool
from storage.errors import LabConflict
from storage.labs import TemplateCommit
from tests.support.bindings import a_lab, publish, sha


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
