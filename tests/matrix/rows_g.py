"""Group G of the matrix (lifecycle): which tests show it."""

from __future__ import annotations

_CASES = "tests/bot/test_special_cases.py"
_LIFECYCLE = "tests/bot/test_lifecycle.py"

ROWS: dict[str, tuple[str, ...]] = {
    "G": (
        "tests/matrix/test_group_g_lifecycle.py::test_the_state_ends_as_github_has_it",
        "tests/matrix/test_group_g_lifecycle.py::test_each_pair_is_played",
        f"{_CASES}::test_a_deleted_and_re_created_fork",
        f"{_CASES}::test_a_re_used_name",
        f"{_CASES}::test_a_re_used_login",
        f"{_CASES}::test_a_transfer_and_back",
        f"{_CASES}::test_an_installation_of_another_account_claims_a_repository",
        f"{_CASES}::test_a_second_installation_after_a_reinstall",
        f"{_LIFECYCLE}::test_what_was_pushed_while_the_app_was_away_is_judged_when_it_is_back",
        f"{_LIFECYCLE}::test_a_new_name_behind_an_old_one_is_never_judged_for_the_old_session",
        f"{_LIFECYCLE}::test_an_overtaken_reading_is_made_again",
        "tests/github/test_access.py::test_a_suspended_installation_is_left_alone",
        "tests/github/test_access.py::test_a_deleted_installation_is_recognised",
    ),
}
