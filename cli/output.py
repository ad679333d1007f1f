"""How commands answer: a table for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID


def _plain(value: object) -> object:
    """Values that JSON does not know, as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")


def print_json(value: Any) -> None:
    """Print `value` as one JSON document."""
    print(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))  # noqa: T201 (a command's answer)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S %Z")
    return clean(str(value))


def clean(text: str) -> str:
    """`text` for a terminal: names come from outside, and no control character may move the cursor or recolour it."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def print_rows(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str], *, empty: str) -> None:
    """Print `rows` as a table with `columns` (key -> heading), or the sentence `empty` when there are none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not rows:
        console.print(empty, markup=False)
        return
    table = Table(box=None, pad_edge=False)
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row[key])) for key in columns))
    if not sys.stdout.isatty():
        console = Console(highlight=False, width=200)
    console.print(table)
