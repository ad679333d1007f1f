"""Lab files for tests: valid ones to change, one that uses the whole language, and any JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from rules.labfile import LabFile, parse_lab

EXAMPLE = """{
  "$schema": "https://example.org/steps.schema.json",
  "version": 1,
  "title": "React stale closure",
  "branch": "main",
  "protected": ["tests/**"],
  "shared":    ["README.md", "notes/"],
  "policy": {
    "out_of_order": "warn", "protected": "warn", "unmapped": "block", "rework": "warn", "reopen": "never"
  },
  "steps": [
    { "id": "reproduce", "title": "Reproduce the bug", "description": "See *it*.",
      "files": ["src/hooks/**", "!**/*.md"],
      "complete": { "type": "changed", "match": "all" } },
    { "id": "fix", "title": "Fix the closure", "needs": ["reproduce"], "aliases": ["repair"],
      "files": ["src/hooks/useTimer.ts"],
      "complete": { "type": "all", "of": [
          { "type": "contains", "path": "src/hooks/useTimer.ts", "pattern": "useRef\\\\(" },
          { "type": "workflow", "path": ".github/workflows/test.yml" } ] },
      "hints": ["Look at which render the callback closes over."] },
    { "id": "explain", "title": "Explain it", "files": ["ANSWER.md"], "optional": true,
      "complete": { "type": "approval" } }
  ]
}"""

KEYS = ["version", "title", "steps", "id", "files", "needs", "aliases", "complete"]
KEYS += ["type", "of", "paths", "path", "pattern", "policy"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "a", "not", "changed", "all", "../x", "!", "("]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=25,
)


def step(step_id: str = "one", **fields: Any) -> dict[str, Any]:
    """A valid step of a file, with some fields set; a field given as `...` is left out."""
    whole = {"id": step_id, "title": f"Step {step_id}", "files": [f"{step_id}.txt"], **fields}
    return {key: value for key, value in whole.items() if value is not ...}


def content(*steps: Any, **fields: Any) -> dict[str, Any]:
    """A valid file with these steps (default: one), with some fields set; a field given as `...` is left out."""
    whole = {"version": 1, "title": "A lab", "steps": list(steps) or [step()], **fields}
    return {key: value for key, value in whole.items() if value is not ...}


def read(value: Any) -> LabFile:
    """What parsing a JSON value gives."""
    return parse_lab(json.dumps(value).encode())
