"""Group B of the matrix (delivery semantics): which tests show which row."""

from __future__ import annotations

_HERE = "tests/matrix/test_group_b_deliveries.py"
_REPEATED = "tests/bot/test_repeated_deliveries.py"
_LOG = "tests/bot/test_recovery.py"
_DEADLINES = "tests/bot/test_deadlines.py"

ROWS: dict[str, tuple[str, ...]] = {
    "B1": (
        f"{_REPEATED}::test_a_thousand_duplicates_are_one_row",
        f"{_REPEATED}::test_duplicates_over_http_are_judged_once",
    ),
    "B2": (
        f"{_REPEATED}::test_any_order_of_five_pushes_ends_alike",
        f"{_REPEATED}::test_all_orders_and_groupings_of_five_pushes_end_at_the_branch_head",
    ),
    "B3": (f"{_REPEATED}::test_a_lost_push_is_noticed",),
    "B4": (
        f"{_HERE}::test_what_the_log_has_and_we_have_not_is_processed",
        "tests/bot/test_recovery_line.py::test_a_class_without_a_public_address",
    ),
    "B5": (
        f"{_HERE}::test_what_was_processed_is_not_repeated",
        f"{_LOG}::test_what_the_webhook_brought_is_not_fetched",
    ),
    "B6": (
        f"{_LOG}::test_a_poison_delivery_stops_no_other_and_is_given_up",
        f"{_LOG}::test_a_dead_letter_of_the_log_can_be_asked_for_again",
        "tests/bot/test_hostile_deliveries.py::test_poison_dies_and_others_flow",
        "tests/bot/test_lanes_order.py::test_a_delivery_that_ends_its_worker_each_time_is_buried",
    ),
    "B7": (
        f"{_HERE}::test_a_long_failure_is_worked_through",
        f"{_LOG}::test_the_budget_for_tokens_is_left_alone",
    ),
    "B8": (
        "tests/matrix/test_group_b_outages.py::test_an_outage_leaves_nothing_behind",
        f"{_DEADLINES}::test_a_push_that_is_found_after_the_deadline_counts_by_when_github_sent_it",
    ),
    "B9": (
        f"{_HERE}::test_hooks_that_come_minutes_late",
        f"{_LOG}::test_an_entry_that_comes_late_below_newer_ones_is_found",
    ),
    "B10": (f"{_HERE}::test_pushes_of_which_github_tells_nobody",),
    "B11": (
        f"{_HERE}::test_one_guid_for_two_apps",
        f"{_LOG}::test_what_was_sent_to_another_app_is_not_taken",
        "tests/bot/test_webhook.py::test_what_is_sent_to_another_app_is_refused",
    ),
    "B12": (
        f"{_HERE}::test_a_log_that_changes_while_it_is_read",
        f"{_LOG}::test_a_look_that_broke_off_is_made_up_for",
        f"{_LOG}::test_a_sweep_goes_on_where_it_was_broken_off",
    ),
}
