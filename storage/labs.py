"""Labs, their immutable versions, and the commits that their templates' branches had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from cachetools import LRUCache

from rules.labfile import definition, lab_from_definition
from rules.model import Enrolment, Lab, LabRecord, LabVersion
from storage.database import Pool, storable
from storage.errors import domain_errors

#: Versions kept in memory for each database: they never change, and few are in use at a time.
CACHED_VERSIONS = 256


@dataclass(frozen=True, slots=True)
class TemplateCommit:
    """A commit of a lab's template branch. `ordinal` rises along the branch."""

    commit_sha: str
    tree_sha: str
    ordinal: int


def lab_from_row(row: Any) -> LabRecord:
    """From a row of table `lab`."""
    return LabRecord(
        lab_id=row["lab_id"],
        slug=row["slug"],
        title=row["title"],
        base_repo_id=row["base_repo_id"],
        base_repo_full_name=row["base_repo_full_name"],
        base_installation_id=row["base_installation_id"],
        enrolment=Enrolment(row["enrolment"]),
        deadline=row["deadline"],
    )


def version_from_row(row: Any) -> LabVersion:
    """From a row of table `lab_version`."""
    return LabVersion(
        lab_version_id=row["lab_version_id"],
        lab_id=row["lab_id"],
        number=row["number"],
        commit_sha=row["commit_sha"],
        tree_sha=row["tree_sha"],
        lab=lab_from_definition(row["definition"]),
        digest=row["digest"],
    )


async def add(
    pool: Pool,
    *,
    slug: str,
    title: str,
    base_repo_id: int,
    base_repo_full_name: str,
    base_installation_id: int | None,
    enrolment: Enrolment = Enrolment.OPEN,
    deadline: datetime | None = None,
) -> LabRecord:
    """Register a lab. Raises LabConflict when its slug or its template repository is taken."""
    with domain_errors():
        row = await pool.fetchrow(
            "INSERT INTO lab (slug, title, base_repo_id, base_repo_full_name, base_installation_id, enrolment, "
            "deadline) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *",
            slug,
            storable(title),
            base_repo_id,
            base_repo_full_name,
            base_installation_id,
            enrolment.value,
            deadline,
        )
    return lab_from_row(row)


async def get(pool: Pool, lab_id: int) -> LabRecord | None:
    """The lab with this id."""
    row = await pool.fetchrow("SELECT * FROM lab WHERE lab_id = $1", lab_id)
    return lab_from_row(row) if row is not None else None


async def by_slug(pool: Pool, slug: str) -> LabRecord | None:
    """The lab with this slug."""
    row = await pool.fetchrow("SELECT * FROM lab WHERE slug = $1", slug)
    return lab_from_row(row) if row is not None else None


async def by_base_repos(pool: Pool, repo_ids: Sequence[int]) -> LabRecord | None:
    """The lab whose template is the first of these repositories that is one (parent, template, source)."""
    row = await pool.fetchrow(
        "SELECT lab.* FROM unnest($1::bigint[]) WITH ORDINALITY AS line (repo_id, ordinal) "
        "JOIN lab ON lab.base_repo_id = line.repo_id ORDER BY line.ordinal LIMIT 1",
        list(repo_ids),
    )
    return lab_from_row(row) if row is not None else None


async def list_labs(pool: Pool) -> tuple[LabRecord, ...]:
    """All labs, by slug."""
    return tuple(lab_from_row(row) for row in await pool.fetch("SELECT * FROM lab ORDER BY slug"))


@dataclass(frozen=True, slots=True)
class LabChange:
    """What an operator changes about a lab. `enrolment` None: it stays. `deadline`: applies if `sets_deadline`; None:
    there is no deadline any more.
    """

    enrolment: Enrolment | None = None
    sets_deadline: bool = False
    deadline: datetime | None = None


async def edit(
    pool: Pool, lab_id: int, change: LabChange, *, also_running: bool = False, actor_id: int | None = None
) -> int:
    """Change a lab, audited; a deadline applies to sessions that begin from now on.

    `also_running`: the deadlines of open sessions move too, each audited (an expired session stays closed: staff
    extends it). Returns how many sessions moved. Raises LookupError when there is no such lab.
    """
    changes: dict[str, Any] = {}
    if change.enrolment is not None:
        changes["enrolment"] = change.enrolment.value
    if change.sets_deadline:
        changes["deadline"] = change.deadline
    event = {"detail": {}, **({"actor_id": actor_id} if actor_id is not None else {})}
    moved = await pool.fetchval("SELECT edit_lab($1, $2, $3, $4)", lab_id, changes, also_running, event)
    if moved is None:
        raise LookupError(f"there is no lab {lab_id}")
    return int(moved)


async def rename_template(pool: Pool, lab_id: int, full_name: str) -> None:
    """The lab's template has this name now; its id stays."""
    await pool.execute(
        "UPDATE lab SET base_repo_full_name = $2 WHERE lab_id = $1 AND base_repo_full_name <> $2", lab_id, full_name
    )


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A version with the time of its publication."""

    version: LabVersion
    published_at: datetime


async def versions(pool: Pool, lab_id: int) -> tuple[PublishedVersion, ...]:
    """All versions of the lab, the newest first."""
    rows = await pool.fetch("SELECT * FROM lab_version WHERE lab_id = $1 ORDER BY number DESC", lab_id)
    return tuple(PublishedVersion(version_from_row(row), row["published_at"]) for row in rows)


@dataclass(frozen=True, slots=True)
class LabCounts:
    """How many people a lab has. `invited`: on the class list; `not_started`: those of them without a session;
    `started`: sessions; `open`, `finished`, `expired`, `deferred`: those of that status.
    """

    invited: int
    not_started: int
    started: int
    open: int
    finished: int
    expired: int
    deferred: int


_COUNTS = """
SELECT invited.*, sessions.* FROM (
    SELECT count(*) AS invited, count(*) FILTER (WHERE session_id IS NULL) AS not_started
    FROM (SELECT DISTINCT ON (coalesce('a' || account_id, 'r' || repo_id, lower(login))) session_id
          FROM invitation WHERE lab_id = $1
          ORDER BY coalesce('a' || account_id, 'r' || repo_id, lower(login)), session_id) AS person
) AS invited CROSS JOIN (
    SELECT count(*) AS started, count(*) FILTER (WHERE status IN ('IN_PROGRESS', 'STUCK')) AS open,
        count(*) FILTER (WHERE status = 'VERIFIED_PASS') AS finished,
        count(*) FILTER (WHERE status = 'EXPIRED') AS expired,
        count(*) FILTER (WHERE status = 'DEFERRED') AS deferred
    FROM lab_session WHERE lab_id = $1
) AS sessions
"""


async def counts(pool: Pool, lab_id: int) -> LabCounts:
    """How many people are invited to the lab, have started and have finished. A person invited twice counts once."""
    row = await pool.fetchrow(_COUNTS, lab_id)
    assert row is not None  # noqa: S101 (counts are always one row)
    return LabCounts(**dict(row))


async def publish(
    pool: Pool, lab_id: int, *, commit_sha: str, tree_sha: str, lab: Lab, digest: str, title: str | None = None
) -> LabVersion:
    """Publish the rules at a commit of the template as the lab's next version, and record the commit.

    Rules that are those of the newest version (equal `digest`) make no new one: the newest is returned. It is for a
    commit that came before the newest version's, too; of a commit that was published before, its version is. `title`:
    the lab's new title; None: it stays.
    """
    row = await pool.fetchrow(
        "SELECT * FROM publish_lab_version($1, $2, $3, $4, $5, $6)",
        lab_id,
        commit_sha,
        tree_sha,
        definition(lab),
        digest,
        None if title is None else storable(title),
    )
    return version_from_row(row)


async def latest_version(pool: Pool, lab_id: int) -> LabVersion | None:
    """The newest published version of the lab."""
    row = await pool.fetchrow("SELECT * FROM lab_version WHERE lab_id = $1 ORDER BY number DESC LIMIT 1", lab_id)
    return version_from_row(row) if row is not None else None


_versions: WeakKeyDictionary[Pool, LRUCache[int, LabVersion]] = WeakKeyDictionary()


async def version(pool: Pool, lab_version_id: int) -> LabVersion:
    """The version with this id, from memory when it was read before. Raises LookupError when there is none."""
    known = _versions.setdefault(pool, LRUCache(CACHED_VERSIONS))
    if (cached := known.get(lab_version_id)) is not None:
        return cached
    row = await pool.fetchrow("SELECT * FROM lab_version WHERE lab_version_id = $1", lab_version_id)
    if row is None:
        raise LookupError(f"there is no lab version {lab_version_id}")
    known[lab_version_id] = version_from_row(row)
    return known[lab_version_id]


async def record_template_commits(pool: Pool, lab_id: int, commits: Sequence[TemplateCommit]) -> None:
    """Record commits of the template's branch, oldest first, after those known; known ones keep their place."""
    await pool.execute("SELECT record_template_commits($1, $2)", lab_id, [asdict(commit) for commit in commits])


async def record_template_commit(pool: Pool, lab_id: int, commit_sha: str, tree_sha: str) -> None:
    """Record the newest commit of the template's branch; nothing changes when it is known."""
    await record_template_commits(pool, lab_id, [TemplateCommit(commit_sha, tree_sha, 0)])


async def template_commits(pool: Pool, lab_id: int, after: str | None = None) -> tuple[TemplateCommit, ...]:
    """The recorded commits of the template's branch, oldest first; with `after`, those that came after that one."""
    rows = await pool.fetch(
        "SELECT commit_sha, tree_sha, ordinal FROM template_commit WHERE lab_id = $1 AND ordinal > coalesce("
        "(SELECT ordinal FROM template_commit WHERE lab_id = $1 AND commit_sha = $2), 0) ORDER BY ordinal",
        lab_id,
        after,
    )
    return tuple(TemplateCommit(row["commit_sha"], row["tree_sha"], row["ordinal"]) for row in rows)


# The lab's own reader stays while it covers the template; else the newest active installation that does takes its
# place, or none: then a public template is read with any installation.
_FOLLOW = """
WITH concerned AS (
    SELECT lab_id, base_installation_id AS reader, ARRAY(
        SELECT i.installation_id FROM installation_repository AS r JOIN installation AS i USING (installation_id)
        WHERE r.repo_id = lab.base_repo_id AND i.state = 'active' ORDER BY i.installation_id DESC) AS readers
    FROM lab WHERE base_installation_id = $1 OR base_repo_id IN (
        SELECT repo_id FROM installation_repository WHERE installation_id = $1)
)
UPDATE lab SET base_installation_id = concerned.readers[1] FROM concerned
WHERE lab.lab_id = concerned.lab_id AND concerned.reader IS DISTINCT FROM concerned.readers[1]
  AND (concerned.reader IS NULL OR (concerned.reader = $1 AND NOT $1 = ANY (concerned.readers)))
RETURNING slug, base_installation_id
"""


async def follow_installation(pool: Pool, installation_id: int) -> dict[str, int | None]:
    """After all of an installation was read: let it read the templates that it covers and that nobody reads, and leave
    those that it does not cover any more. Returns the labs that changed: slug -> installation (None: none of its own).
    """
    rows = await pool.fetch(_FOLLOW, installation_id)
    return {row["slug"]: row["base_installation_id"] for row in rows}
