"""Results of GitHub that steps wait for, by head: workflow runs, and check-runs of other Apps (table head_fact)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rules.model import Facts
from storage.database import Pool, storable
from storage.saving import SaveVerdict

SUCCESS = "success"


@dataclass(frozen=True, slots=True)
class HeadFact:
    """How the newest run of a workflow file, or of another App's check, ended on a head.

    `name`: path of the workflow file, or name of the check. `app_id`: the App that made the check; 0 for a workflow.
    `run_id`: GitHub's id, which rises. `conclusion`: GitHub's word ("success", "failure", "cancelled" ...).
    """

    kind: Literal["workflow", "check"]
    name: str
    app_id: int
    run_id: int
    conclusion: str


def with_results(facts: Facts, head_sha: str, results: Collection[HeadFact]) -> Facts:
    """The facts, in which what was known of these results on this head is replaced by what they are now."""
    told = {(result.name, result.app_id) for result in results}
    good = [result for result in results if result.conclusion == SUCCESS]
    return replace(
        facts,
        workflows=frozenset(known for known in facts.workflows if known[1] != head_sha or (known[0], 0) not in told)
        | {(result.name, head_sha) for result in good if result.kind == "workflow"},
        checks=frozenset(known for known in facts.checks if known[2] != head_sha or known[:2] not in told)
        | {(result.name, result.app_id, head_sha) for result in good if result.kind == "check"},
        unsuccessful=frozenset(known for known in facts.unsuccessful if known[2] != head_sha or known[:2] not in told)
        | {
            (result.name, result.app_id, head_sha, result.conclusion)
            for result in results
            if result.conclusion != SUCCESS
        },
    )


# A re-run keeps its id and may end otherwise; an answer that is older than what is known changes nothing.
_RECORD = """
INSERT INTO head_fact AS known (repo_id, head_sha, kind, name, app_id, run_id, conclusion)
SELECT $1, $2, kind, name, app_id, run_id, conclusion
FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[])
    AS told (kind, name, app_id, run_id, conclusion)
ORDER BY kind, name, app_id
ON CONFLICT (repo_id, head_sha, kind, name, app_id)
DO UPDATE SET run_id = excluded.run_id, conclusion = excluded.conclusion, seen_at = now()
WHERE known.run_id <= excluded.run_id AND (known.run_id, known.conclusion) <> (excluded.run_id, excluded.conclusion)
"""


async def record(pool: Pool, repo_id: int, head_sha: str, results: Sequence[HeadFact]) -> None:
    """Store how results stand on a head; at most one for each kind, name and App. Doing it twice changes nothing."""
    await pool.execute(
        _RECORD,
        repo_id,
        head_sha,
        [result.kind for result in results],
        [storable(result.name) for result in results],
        [result.app_id for result in results],
        [result.run_id for result in results],
        [storable(result.conclusion) for result in results],
    )


_AWAITED = """
SELECT EXISTS (
    SELECT FROM repo_mapping AS m
    JOIN lab_session AS s ON s.session_id = m.session_id
    JOIN lab_version AS v ON v.lab_version_id = s.lab_version_id
    WHERE m.provider_repo_id = $1 AND m.state = 'active' AND s.status IN ('IN_PROGRESS', 'STUCK') AND v.awaits_results)
"""


async def awaited(pool: Pool, repo_id: int) -> bool:
    """Whether the repository is bound to an open session of which some step waits, or may wait, for a result."""
    return bool(await pool.fetchval(_AWAITED, repo_id))


_JUDGED_ALIKE = """
SELECT (after_sha, lab_version_id, facts_digest, verdict) = ($2, $3, $4, $5)
    AND EXISTS (SELECT FROM outbox WHERE repo_id = $6 AND head_sha = $2 AND session_id = $1)
FROM push_attempt WHERE session_id = $1 AND verdict NOT IN ('preview', 'superseded') ORDER BY attempt_id DESC LIMIT 1
"""


async def judged_alike(pool: Pool, judgement: SaveVerdict) -> bool:
    """Whether the session's newest judgement was of the same head, with the same facts, and said the same, and the
    repository has a report of it (another one, made anew with the same commits, has none).
    """
    state = judgement.state
    if state.mapping is None:
        return False
    return bool(
        await pool.fetchval(
            _JUDGED_ALIKE,
            state.session.session_id,
            judgement.verdict.head_sha,
            state.version.lab_version_id,
            judgement.facts_digest,
            judgement.outcome.value,
            state.mapping.repo_id,
        )
    )


_WAKE = """
SELECT count(*) FILTER (WHERE wake_session(s.session_id, 'fact'))
FROM repo_mapping AS m
JOIN lab_session AS s ON s.session_id = m.session_id
JOIN lab_version AS v ON v.lab_version_id = s.lab_version_id
WHERE m.installation_id = $1 AND m.state = 'active' AND s.status IN ('IN_PROGRESS', 'STUCK') AND v.awaits_results
"""


async def wake_awaiting(pool: Pool, installation_id: int) -> int:
    """Let the heads of the installation's open sessions that may wait for results be judged again; how many."""
    return int(await pool.fetchval(_WAKE, installation_id))
