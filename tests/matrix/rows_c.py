"""Group C of the matrix (concurrency and order): which tests show which row."""

from __future__ import annotations

_HERE = "tests/matrix/test_group_c_order.py"
_BUTTONS = "tests/bot/test_buttons.py"
_LANES = "tests/bot/test_lanes.py"
_RACES = "tests/bot/test_races.py"

ROWS: dict[str, tuple[str, ...]] = {
    "C1": (
        f"{_HERE}::test_a_hundred_pushes_a_second_on_one_ref",
        "tests/bot/test_lanes_order.py::test_waiting_pushes_of_a_ref_are_judged_once_at_the_newest_head",
    ),
    "C2": (
        "tests/matrix/test_group_e_limits.py::test_a_class_that_pushes_at_once_is_reported_as_fast_as_allowed",
        "tests/bot/test_races_pushes.py::test_pushes_at_once_end_in_the_state_that_git_implies",
    ),
    "C3": (
        f"{_HERE}::test_a_forced_push_while_its_predecessor_is_judged",
        "tests/acceptance/test_hostile_git.py::test_many_force_pushes_end_where_the_last_one_did",
    ),
    "C4": (f"{_HERE}::test_a_branch_that_is_deleted_while_it_is_judged",),
    "C5": (
        f"{_RACES}::test_workers_that_enrol_one_fork_at_once_make_one_session",
        "tests/bot/test_special_cases.py::test_one_learner_in_two_labs",
        "tests/storage/test_outbox.py::TestWeakWords::test_a_weak_word_of_another_session_does_not_hide_a_verdict",
        "tests/storage/test_shown_reports.py::test_of_two_sessions_reports_the_newer_is_sent",
        "tests/storage/test_shown_reports.py::test_a_sessions_report_that_comes_back_is_sent_anew",
        "tests/storage/test_guards_bindings.py::test_the_guard_holds",
    ),
    "C6": (
        "tests/acceptance/test_acceptance.py::test_the_same_blocked_head_on_another_branch_stays_red",
        "tests/acceptance/test_acceptance.py::test_a_branch_created_is_a_preview_and_deleted_is_only_noted",
    ),
    "C7": (
        f"{_LANES}::test_a_frozen_worker_that_wakes_after_its_lease_writes_nothing",
        f"{_LANES}::test_a_worker_that_was_frozen_works_on",
        "tests/storage/test_outbox.py::test_a_publisher_that_was_taken_over_cannot_write",
        "tests/bot/test_publish.py::test_who_lost_the_claim_sends_no_status",
    ),
    "C8": (f"{_RACES}::test_a_session_that_changes_between_gather_and_save_gets_no_verdict",),
    "C9": (
        f"{_BUTTONS}::test_a_storm_of_clicks_costs_one_judgement",
        f"{_BUTTONS}::test_a_rerun_storm_costs_one_judgement",
    ),
    "C10": (f"{_BUTTONS}::test_our_own_events_wake_nobody",),
    "C11": (
        f"{_BUTTONS}::test_a_rerun_gets_a_new_run_even_if_nothing_has_changed",
        f"{_BUTTONS}::test_a_rerun_of_an_older_head_repeats_its_verdict",
    ),
    "C12": (
        f"{_BUTTONS}::test_others_press_in_vain",
        f"{_BUTTONS}::test_who_got_the_repository_asks_for_no_help",
        f"{_BUTTONS}::test_staff_may_check_again",
    ),
}
