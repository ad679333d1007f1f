"""Group F of the matrix (size and truncation): which tests show which row."""

from __future__ import annotations

_HERE = "tests/matrix/test_group_f_size.py"
_GIT = "tests/acceptance/test_hostile_git.py"
_STORY = "tests/acceptance/test_acceptance.py"
_TREES = "tests/github/test_trees.py"

ROWS: dict[str, tuple[str, ...]] = {
    "F1": (f"{_HERE}::test_pushes_of_any_number_of_commits",),
    "F2": (f"{_HERE}::test_commits_of_any_number_of_files", f"{_STORY}::test_five_thousand_changed_files"),
    "F3": (f"{_HERE}::test_what_a_payload_says_of_files_decides_nothing",),
    "F4": (
        f"{_HERE}::test_comparisons_of_any_number_of_files",
        f"{_HERE}::test_a_merge_of_more_commits_than_a_comparison_lists",
        "tests/github/test_installation.py::test_compare_tells_when_commits_are_left_out",
    ),
    "F5": (
        f"{_HERE}::test_trees_of_as_many_entries_as_github_lists",
        f"{_HERE}::test_a_tree_of_more_than_seven_megabytes",
        f"{_HERE}::test_a_sub_tree_that_is_not_to_be_had",
        f"{_GIT}::test_a_tree_that_github_truncates_is_walked",
        f"{_TREES}::test_the_bound_itself",
        f"{_TREES}::test_the_next_commit_reads_only_the_folders_that_differ",
    ),
    "F6": (
        f"{_STORY}::test_a_rename_is_judged_at_both_ends",
        f"{_STORY}::test_a_deletion_is_no_work_and_no_escape",
        f"{_STORY}::test_a_submodule_and_a_symlink",
        f"{_GIT}::test_a_protected_file_of_another_kind",
        f"{_GIT}::test_a_mode_change_of_a_steps_file_is_no_work",
        "tests/rules/test_snapshot.py::test_each_kind_of_change_is_told",
        "tests/rules/test_snapshot.py::test_renames_of_one_object_keep_file_names_together",
    ),
    "F7": (
        f"{_HERE}::test_a_revert_a_squash_and_a_cherry_pick",
        f"{_STORY}::test_a_merge_commit_is_judged_by_what_it_brings",
        f"{_STORY}::test_an_empty_commit_gets_an_answer",
        f"{_GIT}::test_an_octopus_is_judged_like_any_head",
        f"{_GIT}::test_an_orphan_branch_in_place_of_the_lab_hides_nothing",
        f"{_GIT}::test_an_orphan_with_the_same_files_keeps_everything",
    ),
    "F8": (
        f"{_STORY}::test_a_branch_created_is_a_preview_and_deleted_is_only_noted",
        f"{_STORY}::test_a_tag_is_answered_on_the_page_only",
        f"{_STORY}::test_force_pushes_a_b_a_are_three_attempts",
        f"{_HERE}::test_a_merge_queue_gets_its_answer",
    ),
    "F9": (
        f"{_HERE}::test_reports_as_long_as_github_takes_them",
        "tests/rules/test_report.py::test_the_largest_report_is_within_the_limits",
        "tests/rules/test_report.py::test_one_request_takes_fifty_notes",
        "tests/rules/test_report.py::test_a_long_title_is_cut_for_the_status",
        f"{_GIT}::test_five_thousand_violations_stay_within_the_limits",
    ),
    "F10": (
        f"{_HERE}::test_a_doubt_that_lasts_is_told_kindly_and_replaced_by_the_verdict",
        f"{_HERE}::test_a_doubt_takes_no_verdict_away",
        f"{_HERE}::test_a_template_that_cannot_be_read_is_waited_for",
        f"{_HERE}::test_what_github_does_not_list_is_judged_when_it_does",
        f"{_HERE}::test_an_api_that_is_older_than_the_webhook",
        f"{_HERE}::test_an_old_head_seen_by_a_result_takes_nothing_away",
        f"{_HERE}::test_a_comparison_that_does_not_know_the_head_yet",
        f"{_HERE}::test_a_head_that_is_gone_before_it_was_read",
        f"{_HERE}::test_a_branch_that_is_not_visible_yet_is_not_believed_to_be_deleted",
        f"{_GIT}::test_a_folder_that_github_does_not_list_is_no_success",
        f"{_GIT}::test_names_that_are_not_utf8",
        "tests/rules/test_report.py::test_what_cannot_be_verified_is_nobodys_failure",
    ),
}
