"""Keeps the table of kinds in `docs/audit-events.md` equal to the code (`make schema`); the rest is written by hand."""

from __future__ import annotations

import re

from rules.audit_schema import kinds_table

_REGION = re.compile(r"(<!-- generated: kinds -->\n).*?(<!-- end -->\n)", re.DOTALL)


def audit_document(text: str) -> str:
    """The document with its table made anew."""
    return _REGION.sub(lambda found: found[1] + kinds_table() + found[2], text)
