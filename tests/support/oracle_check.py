"""Whether the ledger of every session that git alone decides is what the oracle makes of the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox import Sandbox
from storage import labs
from storage.database import Pool
from tests.support.effort import examples
from tests.support.githost import run
from tests.support.oracle import Expected, Objects

# Looking at everything that 500 learners did is for `make soak`.
SESSIONS = examples(6)
OBJECTS = examples(2000)

# Sessions that nothing but pushes has moved: the oracle knows of no facts, staff, later templates or other versions.
_PLAIN = """
    SELECT s.session_id, s.lab_version_id, s.accepted_sha, m.provider_repo_id AS repo_id
    FROM lab_session AS s
    JOIN repo_mapping AS m ON m.session_id = s.session_id AND m.state = 'active'
    JOIN lab_version AS v ON v.lab_version_id = s.lab_version_id
    WHERE NOT v.awaits_results AND s.base_commit_sha IS NULL
      AND (SELECT count(*) FROM repo_mapping AS o WHERE o.session_id = s.session_id) = 1
      AND (SELECT count(*) FROM template_commit AS c WHERE c.lab_id = s.lab_id) <= 1
      AND NOT EXISTS (SELECT FROM staff_fact AS f WHERE f.session_id = s.session_id)
      AND NOT EXISTS (SELECT FROM head_fact AS f WHERE f.repo_id = m.provider_repo_id)
      AND NOT EXISTS (SELECT FROM session_migration AS g WHERE g.session_id = s.session_id)
      AND NOT EXISTS (SELECT FROM push_attempt AS a WHERE a.session_id = s.session_id
                      AND (a.lab_version_id <> s.lab_version_id OR a.trigger IN ('fact', 'staff')))
    ORDER BY s.started_at DESC, s.session_id LIMIT $1
"""


async def disagreements(pool: Pool, sandbox: Sandbox) -> list[str]:
    """Where a ledger, or the last accepted head, differs from what the rules make of git's objects."""
    found: list[str] = []
    known = sandbox._state.repositories
    for session in await pool.fetch(_PLAIN, SESSIONS):
        repository = known.get(session["repo_id"])
        if repository is not None and await _is_small(repository.path):
            found += await _compare(pool, dict(session), repository.path)
    return found


async def _compare(pool: Pool, session: dict[str, Any], path: Path) -> list[str]:
    attempts = await pool.fetch(
        "SELECT verdict, after_sha, steps_after FROM push_attempt"
        " WHERE session_id = $1 AND verdict IN ('accepted', 'blocked') ORDER BY attempt_id",
        session["session_id"],
    )
    if not attempts:
        return []
    version = await labs.version(pool, session["lab_version_id"])
    try:
        objects = await Objects.of(path)
        if not {version.commit_sha, *(attempt["after_sha"] for attempt in attempts)} <= set(objects.known):
            return []  # it was made from the template without its history, or made anew
        expected = Expected(version.lab, version.commit_sha, objects)
        for attempt in attempts:
            verdict = expected.judge_head(attempt["after_sha"])
            word = "blocked" if verdict.blocked else "accepted"
            is_, ought = (attempt["verdict"], attempt["steps_after"]), (word, sorted(verdict.done_after))
            if is_ != ought:
                return [f"{path.name} {attempt['after_sha']}: {is_} is not {ought}"]
    except UnicodeDecodeError:
        return []  # names that are no UTF-8: tests/acceptance/test_hostile_git.py has them
    if session["accepted_sha"] != expected.accepted:
        return [f"{path.name} accepted: {session['accepted_sha']} is not {expected.accepted}"]
    return []


async def _is_small(path: Path) -> bool:
    """Whether the oracle, which reads all objects of a repository and those it borrows, is quick."""
    count = 0
    places = [path / "objects"]
    for place in places:
        lines = (await run("count-objects", "-v", cwd=place.parent)).splitlines()
        told = dict(line.split(": ", 1) for line in lines)
        count += int(told["count"]) + int(told["in-pack"])
        borrowed = place / "info" / "alternates"
        if borrowed.exists():
            places += [Path(line) for line in borrowed.read_text().split() if Path(line) not in places]
    return count <= OBJECTS
