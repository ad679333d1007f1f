"""docs/binding.md against rules, code and database: what engineers trust must be so."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import asyncpg
import pytest

import app
from bot import lag, lookup, pipeline, retry, worker
from bot.webhook import ACKNOWLEDGED, INSTALLATION_EVENTS
from github import tokens
from rules.binding import blocks_report
from rules.lifecycle import LOOKED_AT
from rules.model import BindingCode
from rules.session import STANDINGS, IllegalTransition, SessionEvent, Standing, next_status
from settings import Settings
from storage import cache
from storage.lifecycle import LOOKS_AT_ONCE
from storage.retention import KEEP_DEAD_BODIES
from web.audit_advice import advice

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "binding.md").read_text(encoding="utf-8")
NAME = re.compile(r"`([a-z][a-z_0-9]*)`")


def chapter(title: str) -> str:
    """The text below a heading, up to the next one."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table(title: str, number: int = 0) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a chapter's table, without backticks around a cell that is one word."""
    found = re.findall(r"((?:^\|.*\|\n)+)", chapter(title), re.MULTILINE)[number]
    rows = [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in found.splitlines()]
    return rows[0], rows[2:]


def test_each_code_says_what_the_repository_shows() -> None:
    """Every code is in the table once, in the rules' order, with the conclusion that the rules give it."""
    _, rows = table("Codes")
    told = [(row[0].strip("`"), (re.findall(r"`(\w+)`", row[2]) or ["none"])[0]) for row in rows]

    assert told == [(code.value, blocks_report(code)) for code in BindingCode]
    assert all(row[3] and advice(row[0].strip("`")) for row in rows)


def after(standing: Standing, event: SessionEvent) -> str:
    """A cell of the table of statuses: what an event makes of a standing."""
    try:
        new = next_status(standing.status, event, standing.deferred_by)
    except IllegalTransition:
        return "-"
    return "=" if new == standing else told(new)


def told(standing: Standing) -> str:
    """A standing as the table writes it."""
    return standing.status.value + (f" ({standing.deferred_by})" if standing.deferred_by else "")


def test_the_table_of_statuses_is_the_machine() -> None:
    """Each event and each standing: the table says what `next_status` does."""
    head, rows = table("Status of a session")

    assert head[1:] == [told(standing) for standing in STANDINGS]
    assert rows == [[f"`{event}`", *(after(standing, event) for standing in STANDINGS)] for event in SessionEvent]


def test_each_lifecycle_event_has_its_line() -> None:
    """The events that tell of installations and repositories are all there, and no other."""
    _, rows = table("Lifecycle")

    assert {row[0].strip("`") for row in rows} == INSTALLATION_EVENTS | ACKNOWLEDGED | {"repository", "fork"}


def test_each_special_case_is_a_test() -> None:
    """The table has the tests of the special cases, every one of them."""
    _, rows = table("Special cases")
    tests = (ROOT / "tests" / "bot" / "test_special_cases.py").read_text(encoding="utf-8")

    assert [row[2].strip("`") for row in rows] == re.findall(r"^async def (test_\w+)", tests, re.MULTILINE)


def references() -> list[tuple[str, str]]:
    """The tests that the table of invariants names, as (file, name of a test or of a guard in it)."""
    _, rows = table("Invariants and their guards")
    return [
        (file, name)
        for row in rows
        for file, names in re.findall(r"`(tests/\S+\.py)`: ([^;]+)", row[2])
        for name in re.findall(r'"([^"]+)"', names)
    ]


def test_every_invariant_names_its_tests() -> None:
    """No invariant is without a test."""
    _, rows = table("Invariants and their guards")

    assert len(rows) > 10
    assert all(row[1] and re.search(r"`tests/\S+\.py`: \"", row[2]) for row in rows)


@pytest.mark.parametrize(("file", "name"), references())
def test_the_tests_of_the_invariants_exist(file: str, name: str) -> None:
    """Each is a test function of that file, or a guard that its tests take out."""
    text = (ROOT / file).read_text(encoding="utf-8")

    assert re.search(rf"^\s*(?:async )?def {re.escape(name)}\(|^    \"{re.escape(name)}\": Guard\(", text, re.MULTILINE)


async def names_in(dsn: str) -> set[str]:
    """Names of tables, columns, indexes, constraints, triggers, functions and settings of a database."""
    link = await asyncpg.connect(dsn)
    try:
        rows = await link.fetch(
            "SELECT relname AS name FROM pg_class UNION SELECT conname FROM pg_constraint "
            "UNION SELECT tgname FROM pg_trigger UNION SELECT proname FROM pg_proc "
            "UNION SELECT attname FROM pg_attribute UNION SELECT name FROM pg_settings"
        )
        return {row["name"] for row in rows}
    finally:
        await link.close()


async def test_tables_and_guards_exist(fresh_database: str) -> None:
    """Whatever the tables name as kept by, or guarded by, the database, it has."""
    known = await names_in(fresh_database)
    named = {name for row in table("Tables")[1] for cell in (row[0], row[2]) for name in NAME.findall(cell)}
    named |= {name for row in table("Invariants and their guards")[1] for name in NAME.findall(row[1])}
    for part in ("Look-up", "Codes", "Lifecycle", "Status of a session"):
        named |= {
            name
            for name in NAME.findall(chapter(part))
            if name.startswith(("lab_", "store_", "settle_", "take_", "want_"))
        }

    assert len(named) > 40
    assert sorted(named - known) == []


def test_guards_in_the_code_exist() -> None:
    """A guard with dots is a function of ours."""
    named = {
        name for row in table("Invariants and their guards")[1] for name in re.findall(r"`(\w+(?:\.\w+)+)`", row[1])
    }

    assert named
    for name in named:
        module, _, function = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), function))


def test_figures_are_those_of_the_code() -> None:
    """Rounds, times and sizes."""
    fields = Settings.model_fields
    longest = [retry.delay_before_retry(number, None, lambda: 1.0) for number in range(1, retry.ATTEMPTS)]
    *most, last = (f"{seconds:.0f}" for seconds in longest)

    assert f"after {lookup.ROUNDS} rounds" in TEXT
    assert f"from the look-up, {pipeline.ROUNDS}\ntimes" in TEXT
    assert (
        f"| {fields['mapping_ttl'].default:.0f} s, spread by {cache.JITTER:.0%} | `MAPPING_TTL` |".replace("%", " %")
        in TEXT
    )
    assert f"| {fields['mapping_miss_ttl'].default:.0f} s | `MAPPING_MISS_TTL` |" in TEXT
    assert "size: int = 50_000" in (ROOT / "storage" / "cache.py").read_text(encoding="utf-8")
    assert "| 50,000, the least" in TEXT
    assert f"fit into {app.TREE_CACHE_BYTES >> 20} MiB a worker" in TEXT
    assert f"until {tokens.EXPIRY_MARGIN / 60:.0f} minutes before it ends" in TEXT
    assert f"{retry.ATTEMPTS} attempts, after at most {', '.join(most)} and {last} s" in TEXT
    assert f"{sum(longest) // 3600:.0f} h {sum(longest) % 3600 / 60:.0f} min at most" in TEXT
    assert f"its lease of {worker.LEASE.seconds} s ends" in TEXT
    assert f"ended its worker {retry.ATTEMPTS} times" in TEXT
    assert f"a delivery younger than {lag.REPLICATION.seconds} s" in TEXT
    assert lag.ASK_EVERY == 1.0
    assert f"newest {LOOKED_AT} of its other repositories" in TEXT
    assert f"turns {LOOKS_AT_ONCE} at a time" in TEXT
    assert f"for {KEEP_DEAD_BODIES.days} days. It holds up nobody" in TEXT
    assert fields["stuck_after"].default == 3
    assert "third distinct blocked head in a row (`STUCK_AFTER`)" in TEXT


def test_nothing_is_looked_up_by_address_yet() -> None:
    """As long as no code reads BINDING_MODE, the document says that it has no effect."""
    used = any(
        "settings.binding_mode" in path.read_text(encoding="utf-8")
        for path in [ROOT / "app.py", *(path for name in ("bot", "cli") for path in (ROOT / name).glob("*.py"))]
    )

    assert used != ("whatever `BINDING_MODE` says" in TEXT)


def test_links_within_and_between_the_documents_lead_somewhere() -> None:
    """Each `#anchor`, of this page or of another one, is a heading's."""
    links = re.findall(r"\]\(([\w/.-]*)#([^)]+)\)", TEXT)

    assert links
    for file, anchor in links:
        text = (ROOT / "docs" / file).read_text(encoding="utf-8") if file else TEXT
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, (file, anchor)
