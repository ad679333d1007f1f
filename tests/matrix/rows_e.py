"""Group E of the matrix (rate limits): which tests show which row."""

from __future__ import annotations

_LIMITS = "tests/github/test_governor_limits.py"
_SHARED = "tests/github/test_governor_shared.py"
_BUDGETS = "tests/storage/test_budgets.py"
_TURNS = "tests/storage/test_turns.py"
_REFUSALS = "tests/github/test_refusals.py"

ROWS: dict[str, tuple[str, ...]] = {
    "E1": (
        "tests/github/test_governor.py::test_a_paused_installation_sends_nothing_and_others_go_on",
        f"{_SHARED}::test_a_paused_installation_asks_nothing_until_then_and_others_go_on",
        f"{_LIMITS}::test_a_reserve_of_the_hourly_budget_is_left_alone",
        "tests/github/test_client.py::test_the_apps_budget_is_not_that_of_its_installations",
        f"{_TURNS}::test_silent_installations_are_passed_over_and_others_are_not_delayed",
    ),
    "E2": (
        f"{_LIMITS}::test_a_secondary_limit_stops_the_installation_in_every_process",
        f"{_LIMITS}::test_retry_after_may_be_a_date",
        f"{_BUDGETS}::test_a_secondary_limit_silences_and_slows_and_quiet_minutes_forgive",
        f"{_REFUSALS}::test_secondary_limit_without_retry_after_waits_a_minute",
        f"{_REFUSALS}::test_retry_after_as_http_date_counts_from_githubs_clock",
    ),
    "E3": (
        f"{_LIMITS}::test_a_reset_in_the_past_ends_at_once",
        f"{_REFUSALS}::test_primary_limit_by_githubs_clock_when_ours_is_wrong",
        f"{_REFUSALS}::test_absurd_resets_are_bounded",
    ),
    "E4": (
        f"{_LIMITS}::test_a_reserve_of_the_hourly_budget_is_left_alone",
        "tests/matrix/test_group_d_answers.py::test_headers_that_are_missing_or_nonsense",
    ),
    "E5": (
        "tests/matrix/test_group_e_limits.py::test_a_class_that_pushes_at_once_is_reported_as_fast_as_allowed",
        f"{_BUDGETS}::test_writes_of_all_processes_queue_without_asking_again",
        f"{_BUDGETS}::test_the_strict_profile_counts_writes_over_all_endpoints",
    ),
    "E6": (
        "tests/storage/test_outbox.py::test_failures_are_told_first",
        f"{_TURNS}::test_with_a_short_budget_check_runs_come_before_statuses",
        f"{_TURNS}::test_with_a_short_budget_heads_that_were_left_behind_are_dropped",
        f"{_TURNS}::test_a_busy_repository_delays_another_by_at_most_two_turns",
    ),
    "E7": ("tests/matrix/test_group_d_answers.py::test_the_rate_limit_is_never_asked_for",),
}
