"""Whether what the audit holds is as docs/audit-event.schema.json publishes it."""

from __future__ import annotations

import json
from functools import cache

from jsonschema import Draft202012Validator, FormatChecker

from rules.audit_schema import KINDS, kind_schema
from storage.audit import stream
from storage.audit_export import json_lines
from storage.database import Pool


@cache
def _validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(kind_schema(kind), format_checker=FormatChecker())


async def check_events(pool: Pool) -> None:
    """Every event in the database is of a published kind, and valid as such."""
    async for line in json_lines(stream(pool)):
        event = json.loads(line)
        assert event["kind"] in KINDS, f"rules/audit_schema.py does not know this kind: {line}"
        problems = [problem.message for problem in _validator(event["kind"]).iter_errors(event)]
        assert not problems, f"{problems}: {line}"
