"""docs/privacy.md against the database: no column is stored that nobody has given an end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from settings import Settings
from storage.database import Pool
from storage.retention import KEEP_DEAD_BODIES, KEEP_RESULTS, KEEP_SENDERS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text()


def listed() -> dict[str, tuple[list[str], list[str], str]]:
    """Table -> its columns of a person, its others, and how its rows end, as the document has them."""
    rows = DOCUMENT.partition("## Every column")[2].splitlines()
    found = {}
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if name := re.fullmatch(r"`([a-z_]+)`", cells[0]):
            personal, other = (re.findall(r"`([a-z0-9_]+)`", cell) for cell in cells[1:3])
            found[name[1]] = personal, other, cells[3]
    return found


async def test_every_column_is_in_the_list_once(pool: Pool) -> None:
    """A new column, or table, fails here until docs/privacy.md says whether it is of a person, and how it ends."""
    rows = await pool.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    )
    stored = {f"{row['table_name']}.{row['column_name']}" for row in rows}
    told = [f"{table}.{column}" for table, (personal, other, _) in listed().items() for column in (*personal, *other)]

    assert sorted(stored - set(told)) == [], "not in docs/privacy.md"
    assert sorted(set(told) - stored) == [], "not in the database"
    assert sorted({name for name in told if told.count(name) > 1}) == [], "twice in docs/privacy.md"
    assert all(end for _, _, end in listed().values())


@pytest.mark.parametrize("name", ["login", "repo_full_name", "learner_account_id", "owner_account_id", "sender_id"])
async def test_what_names_somebody_is_never_called_other(name: str) -> None:
    """Columns of these names are of a person wherever they are."""
    assert [table for table, (_, other, _) in listed().items() if name in other] == []
    assert any(name in personal for personal, _, _ in listed().values())


def test_the_times_are_those_of_the_code() -> None:
    """The document names the periods that the scheduled job keeps."""
    days = Settings.model_fields["retention_days"].default
    assert f"**{days} days** after it was last seen" in DOCUMENT
    assert f"**{days} days** after GitHub last told" in DOCUMENT
    assert f"**{KEEP_DEAD_BODIES.days} days** if they could not be processed" in DOCUMENT
    assert f"**{KEEP_SENDERS.days} days** after the last time" in DOCUMENT
    assert f"**{KEEP_RESULTS.days} days**, those of a session's present commits" in DOCUMENT
