"""The outbox: which report GitHub shall show for a head, and what of it was sent.

Level-triggered: a row holds the wanted report, and whatever differs from what was sent is sent. A claim is fenced by a
token like a lane's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from rules.model import CheckRunReport, Report, StatusReport
from storage.database import Pool, dump_json, storable
from storage.forms import (
    check_run_from_json,
    check_run_to_json,
    status_from_json,
    status_to_json,
)
from storage.turns import AHEAD, CLAIM, CROWD, FRONT, NEXT_DUE, TURNS_OF

NIL = UUID(int=0)


@dataclass(frozen=True, slots=True)
class WantedReport:
    """A report for one head of a repository. `session_id` None: a rejection without session.

    `weak`: a preview or a neutral word; it never takes the place of a verdict on the same head.
    """

    repo_id: int
    installation_id: int
    repo_full_name: str
    session_id: UUID | None
    report: Report
    weak: bool = False

    def to_json(self) -> dict[str, Any]:
        """The report as the database's function takes it: the columns of table `outbox`."""
        check_run, status = self.report.check_run, self.report.status
        return {
            "repo_id": self.repo_id,
            "installation_id": self.installation_id,
            "repo_full_name": self.repo_full_name,
            "session_id": self.session_id,
            "head_sha": check_run.head_sha,
            "name": check_run.name,
            "check_run": check_run_to_json(check_run),
            "status": status_to_json(status) if status is not None else None,
            "conclusion": check_run.conclusion,
            "weak": self.weak,
            "wanted_digest": self.report.digest,
            "wanted_status_digest": status_digest(status),
        }


def status_digest(status: StatusReport | None) -> str:
    """What tells two statuses apart; empty for none. A status is sent only when it differs from the one sent."""
    return hashlib.sha256(dump_json(status_to_json(status))).hexdigest() if status is not None else ""


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """A claimed report. `check_run_due`, `status_due`: which parts differ from what was sent.

    `check_run_id`, `status_id`: of what was sent last, if anything. `attempts`: how often sending this report was
    tried, with this claim. `short`: more waits for this installation than it may write for now. `delivery_id`: of the
    push that the head was judged for, which came `waited` seconds before the claim; None: another reason, or none.
    `status_over`: GitHub takes no more statuses for this head. `due_at`: since when it was due.
    """

    outbox_id: int
    token: int
    repo_id: int
    installation_id: int
    repo_full_name: str
    session_id: UUID | None
    head_sha: str
    name: str
    check_run: CheckRunReport
    status: StatusReport | None
    digest: str
    status_digest: str
    check_run_due: bool
    status_due: bool
    check_run_id: int | None
    status_id: int | None
    weak: bool
    attempts: int
    crowded: bool = False
    short: bool = False
    delivery_id: UUID | None = None
    waited: float = 0.0
    status_over: bool = False
    due_at: datetime | None = None

    @property
    def status_waits(self) -> bool:
        """Whether the status is sent after the check runs of others: the item is given back in between."""
        return self.short and self.check_run_due and self.status_due

    @classmethod
    def from_row(cls, row: Any) -> OutboxItem:
        """From a row of table `outbox`, with `crowded` and `short`, `delivery_id` and `waited`."""
        return cls(
            outbox_id=row["outbox_id"],
            token=row["token"],
            repo_id=row["repo_id"],
            installation_id=row["installation_id"],
            repo_full_name=row["repo_full_name"],
            session_id=None if row["session_id"] == NIL else row["session_id"],
            head_sha=row["head_sha"],
            name=row["name"],
            check_run=_repeated(check_run_from_json(row["check_run"]), row["repeats"]),
            status=status_from_json(row["status"]) if row["status"] is not None else None,
            digest=row["wanted_digest"],
            status_digest=row["wanted_status_digest"],
            check_run_due=row["wanted_digest"] != row["sent_check_digest"],
            status_due=row["wanted_status_digest"] not in ("", row["sent_status_digest"]),
            check_run_id=row["check_run_id"],
            status_id=row["status_id"],
            weak=row["weak"],
            attempts=row["attempts"],
            crowded=row["crowded"],
            short=row["short"],
            delivery_id=row["delivery_id"],
            waited=row["waited"] or 0.0,
            status_over=row["status_over"],
            due_at=row["due_at"],
        )


def _repeated(report: CheckRunReport, repeats: int) -> CheckRunReport:
    """The same report as another check run, which is not to be taken for the earlier ones when it is looked for."""
    return replace(report, external_id=f"{report.external_id}:{repeats}") if repeats else report


async def want(pool: Pool, wanted: WantedReport) -> bool:
    """Want a report; False when there is nothing new to send, or the head carries a stronger one."""
    return bool(await pool.fetchval("SELECT want_report($1)", wanted.to_json()))


async def claim(
    pool: Pool,
    holder: str,
    lease: timedelta,
    limit: int,
    *,
    each: int | None = None,
    each_repository: int | None = None,
    not_of: Collection[int] = (),
) -> tuple[OutboxItem, ...]:
    """Take at most `limit` reports that are due, for `lease`; of each installation at most `each`, but none `not_of`.

    The repositories of an installation take turns: one of which much waits delays another by at most two of its turns.
    Of one repository at most `each_repository` are in anybody's hands. Failures come before successes.
    """
    values = (holder, lease, limit, list(not_of), AHEAD, CROWD, TURNS_OF, each_repository, each or limit, FRONT)
    return tuple(OutboxItem.from_row(row) for row in await pool.fetch(CLAIM, *values))


# After the item's last part the lease ends, and the row is done unless something else is wanted by now.
_SENT = """
UPDATE outbox SET {sent}, updated_at = clock_timestamp(),
    state = CASE WHEN {check_sent} = wanted_digest AND wanted_status_digest IN ('', {status_sent})
            THEN 'sent' ELSE 'wanted' END,
    due_at = CASE WHEN $5 THEN clock_timestamp() ELSE due_at END,
    holder = CASE WHEN $5 THEN NULL ELSE holder END,
    leased_until = CASE WHEN $5 THEN NULL ELSE leased_until END,
    attempts = CASE WHEN $5 THEN 0 ELSE attempts END,
    last_error = NULL
WHERE outbox_id = $1 AND token = $2
RETURNING outbox_id
"""
_SENT_CHECK_RUN = _SENT.format(
    sent="sent_check_digest = $3, check_run_id = $4", check_sent="$3", status_sent="sent_status_digest"
)
_SENT_STATUS = _SENT.format(
    sent="sent_status_digest = $3, status_id = $4, sent_status_state = $6",
    check_sent="sent_check_digest",
    status_sent="$3",
)


_LET_OTHERS = """
WITH due AS (
    UPDATE outbox SET due_at = clock_timestamp()
    WHERE repo_id = $1 AND head_sha = $2 AND outbox_id <> $3 AND state = 'wanted' AND holder IS NULL AND attempts <= 1
      AND due_at > clock_timestamp()
    RETURNING outbox_id
)
SELECT pg_notify('outbox_due', '') WHERE EXISTS (SELECT FROM due)
"""


async def _held(pool: Pool, item: OutboxItem, row: object) -> bool:
    """Whether the item was still ours: `row` is it. If not, another session's report may wait until we are through."""
    if row is None:
        await pool.execute(_LET_OTHERS, item.repo_id, item.head_sha, item.outbox_id)
    return row is not None


async def sent_check_run(pool: Pool, item: OutboxItem, check_run_id: int) -> bool:
    """GitHub has the item's check run under this id; False when the claim was taken over.

    The claim stays when the item's status is to be sent now; one that waits makes the item due again.
    """
    last = not item.status_due or item.status_waits
    values = (item.outbox_id, item.token, item.digest, check_run_id, last)
    return await _held(pool, item, await pool.fetchrow(_SENT_CHECK_RUN, *values))


async def sent_status(pool: Pool, item: OutboxItem, status_id: int) -> bool:
    """GitHub has the item's status under this id, and the item is done; False when the claim was taken over.

    A report that was wanted meanwhile is due again.
    """
    state = item.status.state if item.status is not None else ""
    values = (item.outbox_id, item.token, item.status_digest, status_id, True, state)
    return await _held(pool, item, await pool.fetchrow(_SENT_STATUS, *values))


async def without_status(pool: Pool, item: OutboxItem) -> bool:
    """GitHub takes no more statuses for the item's head and context; False when the claim was taken over.

    The last one that it took stays. The check run says what is so.
    """
    row = await pool.fetchrow(
        "UPDATE outbox SET sent_status_digest = $3, status_over = true, holder = NULL, leased_until = NULL, "
        "attempts = 0, last_error = NULL, updated_at = clock_timestamp(), due_at = clock_timestamp(), "
        "state = CASE WHEN sent_check_digest = wanted_digest AND wanted_status_digest IN ('', $3) THEN 'sent' "
        "ELSE 'wanted' END WHERE outbox_id = $1 AND token = $2 RETURNING outbox_id",
        item.outbox_id,
        item.token,
        item.status_digest,
    )
    return await _held(pool, item, row)


# A report that is asked for within this time of a judgement that was asked for is answered by that one.
ASKED_BEFORE = timedelta(seconds=10)
# An equal report is sent anew at the latest after this, if the judgement that it waits for does not come to an end.
GRACE = timedelta(seconds=30)


async def ask_again(pool: Pool, repo_id: int, head_sha: str, inbox_id: int, *, anew: bool) -> bool:
    """Somebody asks, by this delivery, for the report on a head again; whether the head is to be judged again.

    `anew`: GitHub waits for a check run, also for an equal one. It is sent when `hurry` is called, at most once for a
    delivery, and ever more slowly when it is asked for again and again.
    """
    return bool(
        await pool.fetchval(
            "SELECT ask_again($1, $2, $3, $4, $5, $6)", repo_id, head_sha, inbox_id, anew, ASKED_BEFORE, GRACE
        )
    )


async def hurry(pool: Pool, repo_id: int, head_sha: str, inbox_id: int) -> None:
    """What was asked for by this delivery may be sent: the head was judged."""
    await pool.execute("SELECT hurry_report($1, $2, $3)", repo_id, head_sha, inbox_id)


async def retry_later(pool: Pool, item: OutboxItem, error: str, delay: timedelta, *, counts: bool = True) -> bool:
    """Try the item again after `delay`; False when the claim was taken over.

    `counts` False: waiting for a rate limit is no failed attempt.
    """
    row = await pool.fetchrow(
        "UPDATE outbox SET due_at = now() + $3::interval, last_error = $4, holder = NULL, leased_until = NULL, "
        "attempts = CASE WHEN $5 THEN attempts ELSE greatest(attempts - 1, 0) END, updated_at = now() "
        "WHERE outbox_id = $1 AND token = $2 RETURNING outbox_id",
        item.outbox_id,
        item.token,
        delay,
        storable(error),
        counts,
    )
    return await _held(pool, item, row)


async def give_up(pool: Pool, item: OutboxItem, error: str) -> bool:
    """Send this report no more; False when the claim was taken over.

    What is wanted or asked for meanwhile (storage.lifecycle.send_again) is due all the same.
    """
    row = await pool.fetchrow(
        "UPDATE outbox SET state = CASE WHEN (wanted_digest, wanted_status_digest) = ($3, $4) "
        "AND due_at IS NOT DISTINCT FROM $6 THEN 'failed' ELSE state END, last_error = $5, holder = NULL, "
        "leased_until = NULL, updated_at = now() "
        "WHERE outbox_id = $1 AND token = $2 RETURNING outbox_id",
        item.outbox_id,
        item.token,
        item.digest,
        item.status_digest,
        storable(error),
        item.due_at,
    )
    return await _held(pool, item, row)


async def next_due(pool: Pool, *, not_of: Collection[int] = ()) -> float | None:
    """Seconds until a report can be claimed (0 or less: now), as far as is known; None when nothing is wanted.

    `not_of`: installations that do not count.
    """
    seconds = await pool.fetchval(NEXT_DUE, list(not_of), AHEAD)
    return float(seconds) if seconds is not None else None


async def carries_failure(pool: Pool, repo_id: int, head_sha: str) -> bool:
    """Whether this head carries a commit status that is no success, or is about to: then a success must replace it."""
    return bool(
        await pool.fetchval(
            "SELECT EXISTS (SELECT FROM outbox WHERE repo_id = $1 AND head_sha = $2 "
            "AND (sent_status_state NOT IN ('', 'success') OR status->>'state' <> 'success'))",
            repo_id,
            head_sha,
        )
    )
