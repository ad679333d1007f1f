"""Group L of the matrix (operability), and the rows of group A that are about secrets: which tests show them."""

from __future__ import annotations

_LINE = "tests/matrix/test_group_l_operability.py"
_PROBES = "tests/matrix/test_group_l_probes.py"
_ROTATION = "tests/matrix/test_group_l_rotation.py"
_SECRETS = "tests/matrix/test_group_l_secrets.py"
_ENTERPRISE = "tests/matrix/test_group_l_enterprise.py"
_DOCS = "tests/test_docs_monitoring.py"

ROWS: dict[str, tuple[str, ...]] = {
    "A4": (
        f"{_SECRETS}::test_without_a_good_webhook_secret_nothing_starts",
        "tests/test_settings.py::test_each_missing_setting_is_one_line",
        "tests/test_settings.py::test_weak_secrets_are_refused_and_not_repeated",
    ),
    "A5": (
        f"{_ROTATION}::test_the_webhook_secret_with_overlapping_processes",
        f"{_ROTATION}::test_the_webhook_secret_with_restarts",
        f"{_ROTATION}::test_the_private_key",
        f"{_ROTATION}::test_the_client_secret",
        f"{_ROTATION}::test_the_session_key",
    ),
    "A17": (
        f"{_SECRETS}::test_no_secret_is_shown_anywhere",
        f"{_SECRETS}::test_no_error_shows_a_secret",
        "tests/test_settings.py::test_a_password_that_breaks_its_address_is_not_repeated",
        "tests/cli/test_connect.py::test_an_address_that_cannot_be_read_is_not_repeated",
    ),
    "L": (
        f"{_PROBES}::test_when_it_is_ready",
        f"{_LINE}::test_a_push_moves_the_metrics",
        f"{_PROBES}::test_an_old_release_beside_a_newer_database",
        f"{_LINE}::test_a_delivery_is_followed_from_its_guid_to_its_check_run",
        f"{_LINE}::test_pushes_that_are_judged_together_are_all_named",
        f"{_ENTERPRISE}::test_the_story_without_rate_limit_headers",
        f"{_ENTERPRISE}::test_addresses_follow_from_the_api",
        f"{_ENTERPRISE}::test_the_answer_comes_within_the_shorter_time_out",
        f"{_ENTERPRISE}::test_what_is_kept_outlasts_the_server_s_window",
        "tests/bot/test_recovery.py::test_the_log_is_read_as_far_back_as_it_is_kept",
        f"{_DOCS}::test_every_metric_is_described_as_it_is",
        f"{_DOCS}::test_the_dashboard_shows_metrics_that_exist",
        f"{_DOCS}::test_alerts_use_metrics_that_exist",
        f"{_DOCS}::test_every_alert_fires_when_it_must_and_only_then",
        "tests/cli/test_watchdog.py::test_a_blocked_loop_is_told_once_with_its_stack",
        "tests/web/test_metrics.py::test_for_whom_it_is",
        "tests/web/test_metrics.py::test_prometheus_can_read_it",
        "tests/web/test_metrics.py::test_without_the_database_it_still_answers",
    ),
}
