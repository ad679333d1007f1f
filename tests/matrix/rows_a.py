"""Group A of the matrix (ingest and security): which tests show which row. A4, A5 and A17 are in rows_l.py."""

from __future__ import annotations

_FUZZ = "tests/matrix/test_group_a_fuzz.py"
_WEBHOOK = "tests/bot/test_webhook.py"
_PAYLOADS = "tests/bot/test_hostile_payloads.py"
_DELIVERIES = "tests/bot/test_hostile_deliveries.py"
_REQUESTS = "tests/bot/test_hostile_requests.py"
_GIT = "tests/acceptance/test_hostile_git.py"
_RULES = "tests/acceptance/test_hostile_rules.py"
_STORY = "tests/acceptance/test_acceptance.py"

ROWS: dict[str, tuple[str, ...]] = {
    "A1": (
        f"{_WEBHOOK}::test_the_official_test_vector_is_accepted",
        f"{_WEBHOOK}::test_any_flipped_bit_makes_a_signature_invalid",
        f"{_PAYLOADS}::test_every_single_bit_counts",
    ),
    "A2": (
        f"{_WEBHOOK}::test_sha1_beside_a_wrong_sha256_is_refused",
        f"{_WEBHOOK}::test_a_wrong_signature_is_401_and_stores_nothing",
    ),
    "A3": (
        f"{_WEBHOOK}::test_a_wrong_signature_is_401_and_stores_nothing",
        f"{_REQUESTS}::test_headers_given_twice_count_for_nothing",
    ),
    "A6": (
        f"{_WEBHOOK}::test_a_body_of_25_mb_is_stored",
        f"{_WEBHOOK}::test_a_body_over_26_mib_is_413",
        f"{_REQUESTS}::test_a_body_that_drips_in_is_given_up",
        f"{_REQUESTS}::test_false_lengths_and_broken_chunks",
        f"{_REQUESTS}::test_compressed_bodies_are_not_unpacked",
    ),
    "A7": (
        "tests/bot/test_large_deliveries.py::test_the_largest_deliveries_at_once",
        f"{_REQUESTS}::test_few_large_bodies_are_in_hand_at_a_time",
    ),
    "A8": (
        f"{_WEBHOOK}::test_unknown_events_are_acknowledged_and_not_stored",
        f"{_WEBHOOK}::test_a_missing_header_is_400",
        f"{_WEBHOOK}::test_a_form_encoded_delivery_is_415",
        f"{_REQUESTS}::test_other_methods_and_forms_are_refused",
        "tests/bot/test_github_examples.py::test_every_example_has_the_right_effect_or_none",
    ),
    "A9": (f"{_DELIVERIES}::test_a_body_under_another_event_name_changes_nothing",),
    "A10": (
        f"{_STORY}::test_the_same_push_redelivered_does_nothing_new",
        f"{_DELIVERIES}::test_a_replay_under_a_new_id_has_no_second_effect",
        f"{_DELIVERIES}::test_a_replay_that_fits_the_chain_is_not_believed",
        f"{_DELIVERIES}::test_replays_after_a_new_installation_change_nothing",
    ),
    "A11": (
        f"{_DELIVERIES}::test_odd_json_ends_as_a_dead_letter",
        f"{_WEBHOOK}::test_signed_bodies_of_odd_shape_are_kept_in_quarantine",
    ),
    "A12": (
        f"{_FUZZ}::test_no_signed_delivery_is_a_fault_of_ours",
        f"{_FUZZ}::test_there_is_an_example_of_every_event",
        f"{_PAYLOADS}::test_whatever_is_signed_is_kept",
        f"{_PAYLOADS}::test_what_cannot_be_read_is_said_to_be_so",
        f"{_PAYLOADS}::test_every_single_field_may_be_wrong",
        f"{_PAYLOADS}::test_what_people_do_to_our_reports_may_be_broken_anywhere",
        f"{_DELIVERIES}::test_a_push_with_any_wrong_field_loses_nothing",
    ),
    "A13": (
        "tests/github/test_transport.py::test_nothing_is_sent_outside_of_the_api",
        # its world fails at any request to another address; the examples are full of them
        "tests/bot/test_github_examples.py::test_every_example_has_the_right_effect_or_none",
    ),
    "A14": (
        "tests/web/test_installed.py::test_another_persons_installation_tells_nothing",
        "tests/web/test_installed.py::test_a_made_up_address_changes_nothing",
        "tests/web/test_setup_guard.py::test_a_foreign_state_is_refused",
        "tests/web/test_setup_guard.py::test_a_new_form_makes_the_old_answer_worthless",
        "tests/web/test_auth.py::test_a_sign_in_works_once_and_only_in_its_browser",
        "tests/web/test_security.py::test_no_other_address_is_gone_to",
    ),
    "A15": (
        "tests/bot/test_statuses.py::test_a_forged_status_is_replaced_at_once_and_audited",
        "tests/bot/test_reconciler.py::test_a_status_of_somebody_else_is_replaced",
        f"{_STORY}::test_an_edit_of_the_steps_file_changes_no_rule",
        "tests/acceptance/test_forged_dates.py::test_a_late_push_of_commits_with_early_dates_is_late",
        "tests/acceptance/test_forged_dates.py::test_forged_dates_change_no_verdict",
    ),
    "A16": (
        f"{_RULES}::test_a_pattern_bomb_ends_within_its_budget_and_nobody_waits",
        f"{_RULES}::test_an_expression_bomb_is_refused_before_it_starts",
        "tests/rules/test_patterns.py::test_a_hostile_pattern_is_linear",
        f"{_GIT}::test_a_path_of_4096_bytes",
        f"{_GIT}::test_odd_names_are_told_and_taken_back_harmlessly",
        f"{_GIT}::test_a_twin_of_a_protected_name_does_not_hide",
        f"{_GIT}::test_an_odd_branch_name",
    ),
}
