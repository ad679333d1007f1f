"""Every code of the linter: what it means, and a small file without and with the problem. The manual's table is made
from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rules.labfile_problems import ProblemCode
from rules.lint_code import CodeEntry
from rules.lint_codes_meaning import MEANING
from rules.lint_codes_reading import READING


def _registry(entries: Iterable[CodeEntry]) -> Mapping[ProblemCode, CodeEntry]:
    return {entry.code: entry for entry in sorted(entries, key=lambda entry: entry.code)}


#: All codes, in order.
CODES: Mapping[ProblemCode, CodeEntry] = _registry((*READING, *MEANING))
