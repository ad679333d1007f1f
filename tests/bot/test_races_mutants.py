"""Each test that says which line it guards fails without that line. Tries it in a copy of the tree, in `make soak`.

Most guards need no copy: tests/storage/test_guards_*.py and tests/bot/test_races.py take their lines out by themselves,
each time they run. Those here are of several processes, or of one that a test does not drive step by step.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: What a run of tests needs of the tree.
PARTS = ("app.py", "settings.py", "app.yml", "pyproject.toml", "bot", "cli", "examples", "github", "rules", "sandbox",
         "storage", "tests", "web")  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A `line` of a file, what it becomes, and the test that must fail then."""

    file: str
    line: str
    instead: str
    test: str


LANES, ORDER = "tests/bot/test_lanes.py", "tests/bot/test_lanes_order.py"
CACHE, NOTIFY = "tests/storage/test_cache.py", "tests/storage/test_notify.py"
MUTANTS = {
    "held lanes are claimed": Mutant(
        "storage/lanes.py", "WHERE leased_until IS NULL AND due_at <= now() AND", "WHERE due_at <= now() AND",
        "tests/bot/test_lanes_processes.py",
    ),
    "expired leases are not": Mutant(
        "storage/lanes.py", "WHERE leased_until < now() ORDER", "WHERE false ORDER",
        f"{LANES}::test_a_killed_workers_lane_is_taken_over_after_its_lease",
    ),
    "a report is sent out of time": Mutant(
        "bot/publish.py", "if time.monotonic() > send_until", "if send_until == 0",
        f"{LANES}::test_a_frozen_worker_that_wakes_after_its_lease_writes_nothing",
    ),
    "no heartbeat": Mutant(
        "bot/worker.py", "heart = asyncio.create_task(self._beat(lane, asyncio.current_task()))",
        "heart = asyncio.create_task(asyncio.sleep(0))",
        f"{LANES}::test_a_slow_worker_keeps_its_lane_by_its_heartbeat",
    ),
    "another branch's pushes are superseded": Mutant(
        "bot/handlers.py", "and later.ref == push.ref", "",
        f"{ORDER}::test_waiting_pushes_of_a_ref_are_judged_once_at_the_newest_head",
    ),
    "deadly deliveries are tried for ever": Mutant(
        "bot/worker.py", "if first.attempts >= ATTEMPTS", "if False",
        f"{ORDER}::test_a_delivery_that_ends_its_worker_each_time_is_buried",
    ),
    "a head that was left is believed": Mutant(
        "storage/progress.py", "AND before_sha = sha)", "AND false)",
        f"{ORDER}::test_a_push_that_comes_after_its_successor_does_not_bring_the_old_head_back",
    ),
    "receivers lock in any order": Mutant(
        "storage/inbox.py", "FROM numbered ORDER BY guid, event", "FROM numbered ORDER BY ordinal",
        "tests/storage/test_guards_lanes.py::test_receivers_with_the_same_redeliveries_never_deadlock",
    ),
    "the first listening tells nobody": Mutant(
        "storage/notify.py", "or fresh & set(self._callbacks)", "",
        f"{NOTIFY}::test_what_was_learned_before_the_first_listening_is_told_to_be_uncertain",
    ),
    "a lost connection tells nobody": Mutant(
        "storage/notify.py", "            heard_before = True\n            self._tell_lost()",
        "            heard_before = True", f"{NOTIFY}::test_a_lost_connection_is_told_and_comes_back",
    ),
    "an old answer is kept": Mutant(
        "storage/cache.py", "if self._loading.get(repo_id) is this:  # else", "if True:  # else",
        f"{CACHE}::test_an_answer_that_was_on_its_way_is_not_kept",
    ),
    "each miss asks": Mutant(
        "storage/cache.py", "if task is None:", "if True:",
        f"{CACHE}::test_a_thousand_misses_at_once_are_one_query_of_the_database",
    ),
    "absent ones live as long": Mutant(
        "storage/cache.py", "miss_ttl if entry.mapping is None else ttl", "ttl if True else ttl",
        f"{CACHE}::test_found_and_absent_live_for_their_own_time",
    ),
    "no jitter": Mutant(
        "storage/cache.py", "(1 + JITTER * (2 * chance() - 1))", "1", f"{CACHE}::test_times_are_spread"
    ),
    "settings are not used": Mutant(
        "app.py", ", ttl=settings.mapping_ttl, miss_ttl=settings.mapping_miss_ttl", "",
        f"{CACHE}::test_settings_say_how_long_mappings_are_believed",
    ),
}  # fmt: skip


@pytest.fixture(name="tree", scope="module")
def _tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree."""
    copy = tmp_path_factory.mktemp("mutants")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, copy)
    return copy


@contextmanager
def changed(tree: Path, mutant: Mutant) -> Iterator[None]:
    """The copy with the mutation, until the end of the block."""
    file = tree / mutant.file
    text = file.read_text(encoding="utf-8")
    assert text.count(mutant.line) == 1, f"{mutant.file} has no one line {mutant.line!r}"
    file.write_text(text.replace(mutant.line, mutant.instead), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(text, encoding="utf-8")


def run(tree: Path, test: str) -> str:
    """Run a test in the copy; the last line of what pytest says."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "COV_")) and name not in ("SOAK", "TEST_RUN_FOLDER")
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr


@pytest.mark.skipif(os.environ.get("SOAK") != "1", reason="some minutes; in `make soak`")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_the_named_test_fails_without_the_named_line(tree: Path, name: str) -> None:
    """It passes in the copy as it is, and fails (by what it asserts, not by an error) with the line changed."""
    mutant = MUTANTS[name]
    assert "passed" in (as_is := run(tree, mutant.test)), as_is
    with changed(tree, mutant):
        spoilt = run(tree, mutant.test)
    assert "1 failed" in spoilt, spoilt
    assert "error" not in spoilt, spoilt
