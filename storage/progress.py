"""Reading what a verdict leans on, and saving it: one query, and one guarded statement."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum, unique
from typing import Any
from uuid import UUID

from prometheus_client import Counter

from rules.model import Facts, Lab, Progress
from storage import labs
from storage.database import Pool
from storage.errors import LeaseLost, domain_errors
from storage.headfacts import SUCCESS
from storage.mappings import mapping_from_row
from storage.saving import JudgingState, SaveRejection, SaveVerdict, Trigger
from storage.sessions import session_from_row

__all__ = [
    "JudgingState",
    "SaveRejection",
    "SaveResult",
    "SaveVerdict",
    "Trigger",
    "facts_from_rows",
    "facts_in_force",
    "judging_state",
    "save",
    "save_rejection",
]


@unique
class SaveResult(StrEnum):
    """What became of a judgement.

    SAVED. DUPLICATE: the delivery has its attempt, or the same head was judged alike; its deliveries are finished.
    Nothing is written for the others: STALE_BINDING (mapping, epoch or status is another one), STALE_ACCEPTED (the
    accepted head is another one), LEASE_LOST (another worker has the lane).
    """

    SAVED = "SAVED"
    DUPLICATE = "DUPLICATE"
    STALE_BINDING = "STALE_BINDING"
    STALE_ACCEPTED = "STALE_ACCEPTED"
    LEASE_LOST = "LEASE_LOST"


# STALE_BINDING and STALE_ACCEPTED are guards that held: the verdict was computed anew.
SAVES = Counter("stepgate_saves_total", "Verdicts handed to the database, by what became of them", ["result"])

# `since`: the newest accepted attempt, after which steps were completed at blocked heads only.
# The blocked heads are looked up from the newest attempt back to the last accepted one, at most 1,000 of them, so that
# the cost does not grow with the ledger.
_JUDGING_STATE = """
SELECT s.*, now() AS read_at,
    lab.slug, lab.title, lab.base_repo_id, lab.base_repo_full_name, lab.base_installation_id,
    lab.enrolment, lab.deadline,
    m.mapping_id, m.provider_repo_id, m.installation_id, m.owner_account_id, m.repo_full_name, m.source, m.private,
    (SELECT coalesce(array_agg(step_id), '{}') FROM step_progress
     WHERE session_id = s.session_id AND state = 'completed') AS done,
    (SELECT coalesce(array_agg(step_id), '{}') FROM step_progress
     WHERE session_id = s.session_id AND state = 'completed' AND attempt_id > since.attempt_id) AS since_accepted,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('fact_id', fact_id, 'kind', kind, 'step_id', step_id,
        'head_sha', head_sha) ORDER BY fact_id), '[]') FROM staff_fact
     WHERE session_id = s.session_id AND revoked_at IS NULL AND (until IS NULL OR until > now())) AS staff_facts,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'name', name, 'app_id', app_id,
        'head_sha', head_sha, 'conclusion', conclusion)), '[]') FROM head_fact
     WHERE repo_id = m.provider_repo_id AND head_sha = ANY (
        $2::text[] || ARRAY[s.accepted_sha, s.head_sha, s.branch_head_seen])) AS head_facts,
    (SELECT coalesce(array_agg(DISTINCT after_sha), '{}') FROM (
        SELECT after_sha FROM push_attempt
        WHERE session_id = s.session_id AND verdict = 'blocked' AND attempt_id > since.attempt_id
        ORDER BY attempt_id DESC LIMIT 1000) AS recent) AS blocked_heads,
    ARRAY(SELECT sha FROM unnest($2::text[]) AS asked (sha) WHERE EXISTS (SELECT FROM push_attempt
        WHERE session_id = s.session_id AND after_sha = sha) OR EXISTS (SELECT FROM push_attempt
        WHERE session_id = s.session_id AND before_sha = sha)) AS known_heads,
    ARRAY(SELECT later.commit_sha FROM template_commit AS later JOIN template_commit AS pinned USING (lab_id)
        WHERE lab_id = s.lab_id AND pinned.commit_sha = coalesce(s.base_commit_sha, v.commit_sha)
            AND later.ordinal > pinned.ordinal
        ORDER BY later.ordinal) AS later_templates
FROM lab_session AS s JOIN lab USING (lab_id) JOIN lab_version AS v USING (lab_version_id)
LEFT JOIN repo_mapping AS m ON m.session_id = s.session_id AND m.state = 'active'
CROSS JOIN LATERAL (SELECT coalesce(max(attempt_id), 0) AS attempt_id FROM push_attempt
    WHERE session_id = s.session_id AND verdict = 'accepted') AS since
WHERE s.session_id = $1
"""


def facts_in_force(lab: Lab, staff: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the staff facts that nobody has revoked (oldest first) those that count: "complete" and "reopen" contradict
    each other, so of these only the newest of each step does, under whichever of its ids they were made.
    """
    names = {old: step.id for step in lab.steps for old in (step.id, *step.aliases)}

    def override(fact: dict[str, Any]) -> str | None:
        known = names.get(fact["step_id"], fact["step_id"])
        return known if fact["kind"] in ("complete", "reopen") else None

    newest = {override(fact): fact["fact_id"] for fact in staff}
    return [fact for fact in staff if override(fact) is None or newest[override(fact)] == fact["fact_id"]]


def facts_from_rows(staff: Sequence[dict[str, Any]], heads: Sequence[dict[str, Any]]) -> Facts:
    """Facts from the staff facts in force and the results on heads, as `_JUDGING_STATE` tells them."""

    def steps(kind: str) -> frozenset[str]:
        return frozenset(fact["step_id"] for fact in staff if fact["kind"] == kind)

    good = [fact for fact in heads if fact["conclusion"] == SUCCESS]
    return Facts(
        approved=steps("approve"),
        completed=steps("complete"),
        reopened=steps("reopen"),
        unlocked=steps("unlock"),
        accepted_heads=frozenset(fact["head_sha"] for fact in staff if fact["kind"] == "accept_head"),
        workflows=frozenset((fact["name"], fact["head_sha"]) for fact in good if fact["kind"] == "workflow"),
        checks=frozenset((fact["name"], fact["app_id"], fact["head_sha"]) for fact in good if fact["kind"] == "check"),
        unsuccessful=frozenset(
            (fact["name"], fact["app_id"], fact["head_sha"], fact["conclusion"])
            for fact in heads
            if fact["conclusion"] != SUCCESS
        ),
    )


async def judging_state(pool: Pool, session_id: UUID, *, heads: Sequence[str] = ()) -> JudgingState | None:
    """All that a verdict leans on beyond git, read at one moment; None: no such session.

    `heads`: shas, besides the session's own, whose workflow runs and checks matter, and of which is told whether the
    ledger has them (an attempt's head, or the head that it left). One query; a lab version that was not used before
    costs another.
    """
    row = await pool.fetchrow(_JUDGING_STATE, session_id, list(heads))
    if row is None:
        return None
    version = await labs.version(pool, row["lab_version_id"])
    staff_facts = facts_in_force(version.lab, row["staff_facts"])
    return JudgingState(
        session=session_from_row(row),
        lab=labs.lab_from_row(row),
        version=version,
        mapping=mapping_from_row(row) if row["mapping_id"] is not None else None,
        progress=Progress(frozenset(row["done"]), frozenset(row["since_accepted"])),
        facts=facts_from_rows(staff_facts, row["head_facts"]),
        fact_ids=tuple(fact["fact_id"] for fact in staff_facts),
        blocked_heads=frozenset(row["blocked_heads"]),
        head_rewrite=row["head_rewrite"],
        branch_head_seen=row["branch_head_seen"],
        read_at=row["read_at"],
        known_heads=frozenset(row["known_heads"]),
        later_templates=tuple(row["later_templates"]),
        base_commit_sha=row["base_commit_sha"],
        asked_for_help=row["help_at"] is not None,
    )


async def save(pool: Pool, judgement: SaveVerdict) -> SaveResult:
    """Save a judgement with everything that follows from it, or nothing (see SaveResult).

    One statement: attempt, progress, session, audit, report, deliveries. Raises IllegalStatusChange for a status that
    the machine does not allow.
    """
    with domain_errors():
        result = SaveResult(await pool.fetchval("SELECT result FROM save_verdict($1)", judgement.to_json()))
    SAVES.labels(result.value).inc()
    return result


async def save_rejection(pool: Pool, rejection: SaveRejection) -> int:
    """Count a rejection, want its report and finish its deliveries, in one statement; returns the audit event's id.

    Raises LeaseLost, with nothing written, when another worker has the lane.
    """
    row = await pool.fetchrow("SELECT result, event_id FROM save_rejection($1)", rejection.to_json())
    if row is None or row["result"] != SaveResult.SAVED:
        raise LeaseLost(f"lane {rejection.lane.lane_id} was taken over")
    return int(row["event_id"])
