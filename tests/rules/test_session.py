"""The status machine of a session."""

from __future__ import annotations

import itertools

import pytest

from rules.model import SessionStatus
from rules.session import STANDINGS, IllegalTransition, SessionEvent, Standing, allowed, event_of, next_status
from tests.support.reports import out_of_order, verdict

PROGRESS = Standing(SessionStatus.IN_PROGRESS)
STUCK = Standing(SessionStatus.STUCK)
PASSED = Standing(SessionStatus.VERIFIED_PASS)
BY_STAFF = Standing(SessionStatus.DEFERRED, "staff")
BY_INSTALLATION = Standing(SessionStatus.DEFERRED, "installation")
EXPIRED = Standing(SessionStatus.EXPIRED)

# Event -> what becomes of (in progress, stuck, passed, deferred by staff, deferred by installation, expired);
# None: it cannot happen. Written out, so that a change of the machine is a change of this table.
TABLE = {
    SessionEvent.ACCEPTED: (PROGRESS, PROGRESS, None, None, None, None),
    SessionEvent.BLOCKED: (PROGRESS, STUCK, None, None, None, None),
    SessionEvent.ALL_DONE: (PASSED, PASSED, None, None, None, None),
    SessionEvent.HELP_REQUESTED: (STUCK, STUCK, None, None, None, None),
    SessionEvent.HELP_WITHDRAWN: (PROGRESS, PROGRESS, None, None, None, None),
    SessionEvent.STAFF_REOPENED: (None, None, PROGRESS, None, None, None),
    SessionEvent.STAFF_DEFERRED: (BY_STAFF, BY_STAFF, None, BY_STAFF, BY_STAFF, None),
    SessionEvent.STAFF_RESUMED: (None, PROGRESS, None, PROGRESS, None, None),
    SessionEvent.STAFF_EXTENDED: (PROGRESS, STUCK, None, BY_STAFF, BY_INSTALLATION, PROGRESS),
    SessionEvent.INSTALLATION_GONE: (BY_INSTALLATION, BY_INSTALLATION, PASSED, BY_STAFF, BY_INSTALLATION, EXPIRED),
    SessionEvent.INSTALLATION_BACK: (PROGRESS, STUCK, PASSED, BY_STAFF, PROGRESS, EXPIRED),
    SessionEvent.DEADLINE_PASSED: (EXPIRED, EXPIRED, PASSED, BY_STAFF, EXPIRED, EXPIRED),
    SessionEvent.TIMELY_PUSH: (PROGRESS, STUCK, PASSED, BY_STAFF, BY_INSTALLATION, PROGRESS),
}
CASES = [
    (event, before, after)
    for event, row in TABLE.items()
    for before, after in zip((PROGRESS, STUCK, PASSED, BY_STAFF, BY_INSTALLATION, EXPIRED), row, strict=True)
]


@pytest.mark.parametrize(("event", "before", "after"), CASES)
def test_each_event_does_to_each_standing_what_the_table_says(
    event: SessionEvent, before: Standing, after: Standing | None
) -> None:
    """Every pair of standing and event has one outcome, or is refused by name."""
    if after is None:
        with pytest.raises(IllegalTransition, match=event.value) as refused:
            next_status(before.status, event, before.deferred_by)

        assert (refused.value.standing, refused.value.event) == (before, event)
    else:
        assert after == next_status(before.status, event, before.deferred_by)


def test_the_table_is_complete() -> None:
    """No event and no standing is left out of the table above."""
    assert set(SessionEvent) == TABLE.keys()
    assert {before for _, before, _ in CASES} == set(STANDINGS)


@pytest.mark.parametrize(("heads", "after"), [(0, PROGRESS), (1, PROGRESS), (2, PROGRESS), (3, STUCK), (4, STUCK)])
def test_a_session_is_stuck_after_so_many_blocked_heads(heads: int, after: Standing) -> None:
    """The third distinct blocked head in a row makes a session stuck by default."""
    assert after == next_status(SessionStatus.IN_PROGRESS, SessionEvent.BLOCKED, blocked_heads=heads)


def test_stuck_after_is_a_setting() -> None:
    """STUCK_AFTER moves the line, down to the first blocked head."""
    status, event = SessionStatus.IN_PROGRESS, SessionEvent.BLOCKED

    assert next_status(status, event, blocked_heads=1, stuck_after=1) == STUCK
    assert next_status(status, event, blocked_heads=9, stuck_after=10) == PROGRESS


def test_a_session_that_asked_for_help_stays_stuck_at_its_first_blocked_head() -> None:
    """Only an accepted push or staff ends STUCK, whatever made the session stuck."""
    assert next_status(SessionStatus.STUCK, SessionEvent.BLOCKED, blocked_heads=1) == STUCK


def test_coming_back_never_undoes_what_staff_deferred() -> None:
    """A learner who was deferred by staff cannot resume by uninstalling the App and installing it again."""
    gone = next_status(SessionStatus.DEFERRED, SessionEvent.INSTALLATION_GONE, "staff")
    back = next_status(gone.status, SessionEvent.INSTALLATION_BACK, gone.deferred_by)

    assert back == BY_STAFF


def test_staff_deferring_while_the_app_is_away_outlasts_its_return() -> None:
    """Staff's word takes the place of the missing installation as the cause."""
    deferred = next_status(SessionStatus.DEFERRED, SessionEvent.STAFF_DEFERRED, "installation")

    assert next_status(deferred.status, SessionEvent.INSTALLATION_BACK, deferred.deferred_by) == BY_STAFF


def test_the_allowed_pairs_are_those_of_the_document() -> None:
    """The pairs that the database's trigger must enforce, written out."""
    expected = {
        ("IN_PROGRESS", "STUCK"),
        ("IN_PROGRESS", "VERIFIED_PASS"),
        ("IN_PROGRESS", "DEFERRED"),
        ("IN_PROGRESS", "EXPIRED"),
        ("STUCK", "IN_PROGRESS"),
        ("STUCK", "VERIFIED_PASS"),
        ("STUCK", "DEFERRED"),
        ("STUCK", "EXPIRED"),
        ("VERIFIED_PASS", "IN_PROGRESS"),
        ("DEFERRED", "IN_PROGRESS"),
        ("DEFERRED", "EXPIRED"),
        ("EXPIRED", "IN_PROGRESS"),
    }

    assert expected == {(old, new) for old, new in itertools.product(SessionStatus, repeat=2) if allowed(old, new)}


def test_every_outcome_is_a_standing_that_the_database_can_hold() -> None:
    """`deferred_by` is set exactly when the status is DEFERRED, also for the third blocked head."""
    reached = {
        next_status(before.status, event, before.deferred_by, blocked_heads=heads)
        for event, before, after in CASES
        for heads in (0, 3)
        if after is not None
    }

    assert set(STANDINGS) == reached
    assert all((each.status is SessionStatus.DEFERRED) == (each.deferred_by is not None) for each in reached)


def test_a_verdict_is_an_event() -> None:
    """Finished comes before blocked: work that is held back does not undo a finished lab."""
    everything = ["report", "fix", "command", "release"]
    blocked = [out_of_order("src/cli.js")]

    assert event_of(verdict()) is SessionEvent.ACCEPTED
    assert event_of(verdict(violations=blocked)) is SessionEvent.BLOCKED
    assert event_of(verdict(done=everything)) is SessionEvent.ALL_DONE
    assert event_of(verdict(done=everything, violations=blocked)) is SessionEvent.ALL_DONE
