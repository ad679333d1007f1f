"""Group D of the matrix (GitHub API faults): which tests show which row."""

from __future__ import annotations

_HERE = "tests/matrix/test_group_d_answers.py"
_LINE = "tests/bot/test_faults_line.py"
_ACCESS = "tests/github/test_access.py"
_TRANSPORT = "tests/github/test_transport.py"
_REFUSALS = "tests/github/test_refusals.py"
_INSTALLATION = "tests/github/test_installation.py"
_SANDBOX = "tests/github/test_against_sandbox.py"

ROWS: dict[str, tuple[str, ...]] = {
    "D1": (
        f"{_HERE}::test_time_outs_at_every_stage",
        f"{_TRANSPORT}::test_without_a_connection_nothing_was_sent",
        f"{_TRANSPORT}::test_unknown_host_is_transient",
    ),
    "D2": (
        f"{_LINE}::test_a_report_whose_answer_was_lost_is_posted_once",
        f"{_SANDBOX}::test_a_write_whose_answer_is_lost_is_found_again",
        "tests/bot/test_publish.py::test_a_limit_between_batches_of_annotations_posts_no_second_run",
        "tests/bot/test_publish.py::test_an_equal_run_from_before_is_not_taken_for_a_lost_one",
    ),
    "D3": (
        f"{_HERE}::test_answers_that_are_none",
        f"{_LINE}::test_a_cut_body_is_read_again",
        f"{_TRANSPORT}::test_nonsense_is_transient_for_reads_and_unknown_for_writes",
        "tests/github/test_totality.py::test_nothing_untyped_is_raised",
    ),
    "D4": (
        f"{_LINE}::test_a_push_that_replicas_do_not_know_yet_is_judged_rightly",
        "tests/bot/test_publish.py::test_a_report_on_a_commit_that_github_does_not_know_yet_is_sent_later",
    ),
    "D5": (
        f"{_ACCESS}::test_a_fresh_token_that_is_not_known_yet_is_retried",
        f"{_ACCESS}::test_a_fresh_token_that_stays_refused_is_given_up_after_ten_seconds",
        f"{_ACCESS}::test_a_fresh_token_without_the_permission_is_not_waited_for",
    ),
    "D6": (
        f"{_HERE}::test_a_token_that_is_refused_in_mid_life_is_replaced",
        f"{_ACCESS}::test_a_revoked_token_is_replaced_once",
        f"{_ACCESS}::test_many_401s_at_once_make_one_new_token",
    ),
    "D7": (
        f"{_HERE}::test_an_installation_that_goes_away_unheard_is_left_alone",
        f"{_HERE}::test_what_another_process_heard_counts",
        f"{_ACCESS}::test_a_suspended_installation_is_left_alone",
    ),
    "D8": (
        f"{_HERE}::test_an_installation_that_goes_away_unheard_is_left_alone",
        f"{_ACCESS}::test_a_deleted_installation_is_recognised",
        f"{_ACCESS}::test_an_installation_deleted_within_seconds_is_recognised",
        "tests/github/test_client.py::test_one_404_ends_no_installation",
    ),
    "D9": (
        f"{_HERE}::test_a_permission_that_is_missing_and_then_accepted",
        f"{_ACCESS}::test_an_installation_without_one_of_them_gets_a_token_with_the_rest",
        f"{_ACCESS}::test_a_permission_that_was_granted_since_is_found",
        f"{_SANDBOX}::test_a_permission_that_lacks",
    ),
    "D10": (
        f"{_SANDBOX}::test_reports_that_github_refuses",
        "tests/bot/test_publish.py::test_a_report_on_a_commit_that_is_not_there_is_given_up",
        "tests/bot/test_statuses.py::test_the_thousandth_status_ends_statuses_not_reports",
        f"{_REFUSALS}::test_every_shape_of_a_422_is_read",
    ),
    "D11": (
        f"{_HERE}::test_redirects_after_a_rename_and_to_another_host",
        f"{_HERE}::test_no_token_goes_to_another_host",
        f"{_TRANSPORT}::test_redirects_on_the_same_host_are_followed_with_verb_and_body",
        f"{_TRANSPORT}::test_nothing_is_sent_outside_of_the_api",
        f"{_TRANSPORT}::test_a_redirected_write_keeps_the_pace_twice",
    ),
    "D12": (f"{_LINE}::test_a_push_that_replicas_do_not_know_yet_is_judged_rightly",),
    "D13": (
        f"{_TRANSPORT}::test_an_answer_that_is_evicted_while_it_is_confirmed_is_given",
        f"{_TRANSPORT}::test_an_evicted_answer_costs_only_a_full_request",
        f"{_TRANSPORT}::test_kept_answers_belong_to_one_installation",
        f"{_TRANSPORT}::test_headers_of_every_request",
    ),
    "D14": (
        f"{_INSTALLATION}::test_repositories_are_read_page_by_page",
        f"{_INSTALLATION}::test_repositories_that_change_between_two_pages_are_read_again",
    ),
    "D15": (
        "tests/github/test_client.py::test_json_of_another_shape_is_transient",
        "tests/github/test_totality.py::test_nothing_untyped_is_raised",
    ),
}
