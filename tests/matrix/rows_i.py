"""Group I of the matrix (process): which tests show which of its parts."""

from __future__ import annotations

_HERE = "tests/matrix/test_group_i_process.py"
_CRASHES = "tests/bot/test_crash_points.py"
_LANES = "tests/bot/test_lanes.py"

ROWS: dict[str, tuple[str, ...]] = {
    "I kill -9": (
        f"{_CRASHES}::test_a_killed_worker_leaves_nothing_undone_and_nothing_twice",
        f"{_CRASHES}::test_the_points_cover_the_way_from_receipt_to_the_stored_report",
        f"{_LANES}::test_a_killed_workers_lane_is_taken_over_after_its_lease",
    ),
    "I SIGTERM": (
        f"{_LANES}::test_a_stop_under_load_loses_nothing_and_does_nothing_twice",
        "tests/cli/test_serve.py::test_requests_in_hand_are_finished",
        "tests/cli/test_serve.py::test_work_that_does_not_end_is_cancelled_after_the_grace",
    ),
    "I rolling deploy": (
        f"{_HERE}::test_releases_that_follow_each_other_under_load",
        "tests/matrix/test_group_h_storage.py::test_a_migration_while_replicas_run",
        "tests/storage/test_migrate.py::test_releases_that_start_at_once",
    ),
    "I GitHub down": (f"{_HERE}::test_a_start_while_github_is_away",),
    "I suspended": (f"{_HERE}::test_a_start_with_one_suspended_installation",),
    "I watchdog": (
        "tests/cli/test_watchdog.py::test_a_blocked_loop_is_told_once_with_its_stack",
        "tests/cli/test_watchdog.py::test_processes_that_log_are_watched",
    ),
    "I memory": ("tests/bench/test_bench.py::test_each_bench_prints_its_lines",),  # `make bench ARGS=memory` measures
}
