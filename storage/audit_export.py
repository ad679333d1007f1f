"""Audit events as text for other programs: CSV for spreadsheets, JSON Lines for scripts. No SQL here."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import orjson

from storage.audit import AuditEvent, RecordedEvent

#: Columns of the CSV form and keys of the JSON form, in their order.
COLUMNS = ("event_id", "at", "count", "last_at", *(field.name for field in fields(AuditEvent)))

# A spreadsheet takes a cell that begins like this for a formula (OWASP, "CSV Injection"); a learner chooses the names
# of repositories and branches.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_json(recorded: RecordedEvent) -> dict[str, Any]:
    """The event as one flat object: what is unknown is left out; times and ids as `orjson` writes them."""
    own = {"event_id": recorded.event_id, "at": recorded.at, "count": recorded.count, "last_at": recorded.last_at}
    # (`to_json` makes a deep copy, which takes most of the time.)
    known = ((name, getattr(recorded.event, name)) for name in AuditEvent.__slots__)
    return own | {name: value for name, value in known if value is not None}


async def json_lines(events: AsyncIterable[RecordedEvent]) -> AsyncIterator[str]:
    """One line of JSON for each event, times in ISO 8601 (UTC)."""
    async for recorded in events:
        yield orjson.dumps(as_json(recorded), option=orjson.OPT_UTC_Z).decode() + "\n"


async def csv_lines(events: AsyncIterable[RecordedEvent]) -> AsyncIterator[str]:
    """A heading, then one record for each event (RFC 4180; a record may span lines). `detail` is JSON in its cell.

    A text that a spreadsheet would calculate has an apostrophe in front.
    """
    yield _record(COLUMNS)
    async for recorded in events:
        known = as_json(recorded)
        known["detail"] = orjson.dumps(known["detail"]).decode()
        yield _record([_cell(known.get(name)) for name in COLUMNS])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _record(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
