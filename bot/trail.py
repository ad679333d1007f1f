"""What the log and /metrics are told of each verdict: the trail from a delivery's GUID to what was decided.

The worker names the delivery in every line that is logged while it is processed (structlog's context variables); here
the session is added. The line "check_run" of bot.publish ends the trail.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import structlog
from prometheus_client import Counter

from rules.model import BindingCode, Push, Session
from storage.saving import SaveVerdict

log = structlog.get_logger(__name__)

VERDICTS = Counter(
    "stepgate_verdicts_total", "Verdicts saved, by what was decided and what woke us", ["outcome", "trigger"]
)
REFUSALS = Counter("stepgate_refusals_total", "Deliveries that are not judged, by the code that says why", ["code"])


def name_session(repo_id: int, session: Session | None) -> None:
    """Let all that this task logs from here on name the repository and, if it is known, the session."""
    structlog.contextvars.bind_contextvars(repo=repo_id)
    if session is not None:
        structlog.contextvars.bind_contextvars(session=str(session.session_id))


def judged(judgement: SaveVerdict, pushes: Iterable[Push]) -> None:
    """A verdict was saved. `pushes`: all that it answers, of which the log names one only until now."""
    outcome = judgement.outcome.value
    VERDICTS.labels(outcome, judgement.trigger).inc()
    answered = [str(push.delivery_id) for push in pushes if isinstance(push.delivery_id, UUID)]
    told = judgement.report is not None
    log.info("judged", verdict=outcome, head=judgement.verdict.head_sha, answers=answered, reported=told)


def refused(code: BindingCode, head: str) -> None:
    """Nothing was judged."""
    REFUSALS.labels(code.value).inc()
    log.info("not_judged", code=code.value, head=head)
