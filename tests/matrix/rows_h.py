"""Group H of the matrix (storage): which tests show which row."""

from __future__ import annotations

_HERE = "tests/matrix/test_group_h_storage.py"
_BOUNCER = "tests/matrix/test_group_h_pgbouncer.py"
_DATABASE = "tests/storage/test_database.py"
_MIGRATE = "tests/storage/test_migrate.py"
_LANES = "tests/bot/test_lanes.py"

ROWS: dict[str, tuple[str, ...]] = {
    "H1": (
        f"{_HERE}::test_a_database_that_is_away_at_the_receipt",
        "tests/bot/test_webhook.py::test_a_database_that_is_down_is_503",
        f"{_DATABASE}::TestIsDown::test_nobody_listens",
    ),
    "H2": (
        f"{_HERE}::test_a_database_that_goes_between_claim_and_report",
        f"{_DATABASE}::TestIsDown::test_a_cut_connection",
    ),
    "H3": (
        f"{_HERE}::test_a_failover_to_a_server_that_takes_no_writes",
        f"{_DATABASE}::TestIsDown::test_a_read_only_standby",
    ),
    "H4": (
        f"{_HERE}::test_a_pool_without_a_free_connection",
        f"{_DATABASE}::TestIsDown::test_too_many_connections",
    ),
    "H5": (
        f"{_HERE}::test_a_write_that_the_server_refuses_for_now",
        f"{_DATABASE}::TestIsTransient::test_deadlock",
        f"{_DATABASE}::TestIsTransient::test_serialization",
        "tests/storage/test_guards_lanes.py::test_receivers_with_the_same_redeliveries_never_deadlock",
    ),
    "H6": (
        f"{_HERE}::test_a_write_that_the_server_refuses_for_now",
        "tests/storage/test_embedded_accounts.py::test_a_full_disk_is_named_before_and_while_the_data_is_created",
        "tests/storage/test_embedded_accounts.py::test_a_full_disk_is_named_when_existing_data_cannot_start",
    ),
    "H7": (
        f"{_HERE}::test_a_migration_while_replicas_run",
        f"{_MIGRATE}::TestCheckSchema::test_a_newer_database",
        f"{_MIGRATE}::test_releases_that_start_at_once",
        f"{_MIGRATE}::test_every_migration_survives_rows",
    ),
    "H8": (
        f"{_BOUNCER}::test_session_pooling_works",
        f"{_BOUNCER}::test_transaction_pooling_is_refused_at_the_start",
        f"{_BOUNCER}::test_no_pooler_is_no_complaint",
    ),
    "H9": (
        f"{_LANES}::test_no_wake_up_is_lost_with_the_listening_connection",
        f"{_LANES}::test_a_deaf_worker_finds_everything_by_looking",
        "tests/storage/test_notify.py::test_a_connection_that_fell_silent_is_found_by_asking",
    ),
    "H10": (
        f"{_HERE}::test_old_deliveries_cost_nothing",
        "tests/storage/test_inbox.py::test_bodies_are_forgotten_after_their_time",
    ),
}
