"""Group J of the matrix (cache and time): which tests show which row.

J1: a stampede at the end of a cached answer's life. J2: negative cache. J3: an invalidation that another replica did
not hear. J4: clocks that are off or jump, leap seconds, daylight saving. J5: JWTs with a wrong clock.
"""

from __future__ import annotations

_HERE = "tests/matrix/test_group_j_time.py"
_CACHE = "tests/storage/test_cache.py"
_CLIENT = "tests/github/test_client.py"

ROWS: dict[str, tuple[str, ...]] = {
    "J1": (
        f"{_CACHE}::test_a_thousand_misses_at_once_are_one_query",
        f"{_CACHE}::test_a_thousand_misses_at_once_are_one_query_of_the_database",
        f"{_CLIENT}::test_many_at_once_make_one_token_even_if_the_first_is_cancelled",
    ),
    "J2": (f"{_CACHE}::test_found_and_absent_live_for_their_own_time",),
    "J3": (
        f"{_CACHE}::test_an_answer_that_was_on_its_way_is_not_kept",
        f"{_CACHE}::test_who_asks_after_a_change_does_not_wait_for_the_old_answer",
        "tests/github/test_access.py::test_a_permission_that_was_granted_since_is_found",
        "tests/matrix/test_group_d_answers.py::test_what_another_process_heard_counts",
    ),
    "J4": (
        f"{_HERE}::test_a_push_is_judged_whatever_the_clocks_say",
        f"{_HERE}::test_no_zone_and_no_change_of_the_hour_moves_a_wait",
        f"{_HERE}::test_a_leap_second_in_a_date_is_no_defect",
        f"{_CLIENT}::test_a_tokens_end_is_reckoned_by_githubs_clock",
        "tests/bot/test_recovery.py::test_a_clock_that_was_set_back_stops_no_sweep",
        "tests/github/test_access.py::test_a_clock_that_is_set_back_does_not_prolong_the_silence",
        "tests/github/test_governor.py::test_a_clock_that_jumps_back_does_not_stop_writing",
        "tests/storage/test_budgets.py::test_a_clock_that_was_set_back_does_not_stop_writing",
    ),
    "J5": (
        f"{_CLIENT}::test_a_clock_within_a_minute_of_githubs_works_at_once",
        f"{_CLIENT}::test_a_wrong_clock_is_corrected_by_githubs",
        f"{_HERE}::test_a_push_is_judged_whatever_the_clocks_say",
    ),
}
