"""Group K of the matrix (load): which tests show which row.

The tests run at a small size; `make bench ARGS=load` measures the whole one, and docs/performance.md has the figures.
K1: 50 deliveries a second, for long. K2: 500 repositories of one installation push within a minute. K3: 2,000
deliveries in 10 s.
"""

from __future__ import annotations

_LOAD = "tests/bench/test_load.py"
_ONCE = f"{_LOAD}::test_nothing_is_lost_doubled_or_over_the_budget"
_BENCH = f"{_LOAD}::test_what_is_lost_or_doubled_is_counted"

ROWS: dict[str, tuple[str, ...]] = {
    "K1": (_ONCE, _BENCH),
    "K2": (
        _ONCE,
        "tests/matrix/test_group_e_limits.py::test_a_class_that_pushes_at_once_is_reported_as_fast_as_allowed",
    ),
    "K3": (_ONCE, "tests/matrix/test_group_c_order.py::test_a_hundred_pushes_a_second_on_one_ref"),
}
