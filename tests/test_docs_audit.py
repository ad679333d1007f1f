"""docs/audit-events.md and docs/audit-event.schema.json are as the code is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from cli.audit_document import audit_document
from rules.audit_chain import NAME_COLUMNS, NAME_KEYS
from rules.audit_schema import COLUMNS, KINDS, schema_text
from storage.actions import FactKind
from storage.audit_export import COLUMNS as EXPORTED

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "audit-events.md").read_text("utf-8")

# Where a kind is named in Python (the first argument of an event, of an action) and in SQL.
_PYTHON = re.compile(
    r"""(?:AuditEvent|_event)\(\s*"(\w+)"|\bact\(\s*pool,\s*session,\s*"(\w+)"|"(rejected|ignored)" if"""
)
_SQL = re.compile(r"""jsonb_build_object\(\s*'kind',\s*'(\w+)'|"kind":\s*"(\w+)\"""")


def test_the_documents_are_up_to_date() -> None:
    """Schema and table are those that the code makes."""
    assert (ROOT / "docs" / "audit-event.schema.json").read_text("utf-8") == schema_text(), "run: make schema"
    assert audit_document(DOCUMENT) == DOCUMENT, "run: make schema"
    assert "| `bound` |" in DOCUMENT


def test_every_column_is_exported_and_described() -> None:
    """What an export writes is what the schema describes, in the same order."""
    assert set(COLUMNS) == set(EXPORTED)


def test_names_are_told() -> None:
    """Every place where a name can stand is in the document's last chapter."""
    chapter = DOCUMENT.partition("\n## Names")[2]
    for name in (*NAME_COLUMNS, *NAME_KEYS):
        assert f"`{name}`" in chapter, name


def test_every_kind_in_the_code_is_published() -> None:
    """Kinds that the code writes are those of the schema, neither more nor less."""
    found = {f"staff_{kind}" for kind in get_args(FactKind)}
    for folder in ("bot", "storage", "web", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= {kind for groups in _PYTHON.findall(path.read_text("utf-8")) for kind in groups if kind}
    for path in (ROOT / "storage" / "migrations").glob("*.sql"):
        found |= {kind for groups in _SQL.findall(path.read_text("utf-8")) for kind in groups if kind}
    assert found | {"ignored"} == set(KINDS)
