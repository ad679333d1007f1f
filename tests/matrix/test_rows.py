"""Every row of the matrix of failures is named in a rows_*.py of this folder, by tests that there are.

K is load: tests show it at a small size, and `make bench ARGS=load` measures the whole one (docs/performance.md).
"""

from __future__ import annotations

import ast
import importlib.util
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

_NUMBERED = {"A": 17, "B": 12, "C": 12, "D": 15, "E": 7, "F": 10, "H": 10, "J": 5, "K": 3}
#: Groups without numbers of their own are as many rows as they have parts.
_PARTS = {
    "G": ("",),
    "I": (" kill -9", " SIGTERM", " rolling deploy", " GitHub down", " suspended", " watchdog", " memory"),
    "L": ("",),
}
MATRIX = frozenset(
    {f"{group}{number}" for group, last in _NUMBERED.items() for number in range(1, last + 1)}
    | {f"{group}{part}" for group, parts in _PARTS.items() for part in parts}
)


def rows_of(path: Path) -> dict[str, tuple[str, ...]]:
    """What a module names: row to the ids of tests."""
    spec = importlib.util.spec_from_file_location(f"matrix_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows: dict[str, tuple[str, ...]] = module.ROWS
    return rows


def named() -> dict[str, dict[str, tuple[str, ...]]]:
    """All of them: module to its rows."""
    return {path.name: rows_of(path) for path in sorted(HERE.glob("rows_*.py"))}


@cache
def found_in(file: str) -> frozenset[str]:
    """Ids of the tests that a file defines, read without importing it; none if there is no such file."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    found = set()
    for node in ast.parse(path.read_text()).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        owner = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for each in inner:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name.startswith("test_"):
                found.add(f"{file}::{owner}{each.name}")
    return frozenset(found)


def test_every_row_is_named_once() -> None:
    """No row of the matrix is without tests, none is named in two modules, and none is made up."""
    count = Counter(row for rows in named().values() for row in rows)
    assert sorted(MATRIX - set(count)) == []
    assert sorted(set(count) - MATRIX) == []
    assert [row for row, times in count.items() if times > 1] == []


@pytest.mark.parametrize("module", [path.name for path in sorted(HERE.glob("rows_*.py"))])
def test_every_named_test_exists(module: str) -> None:
    """Each row has a test at least, and each id is a test's, as `pytest ID` takes it."""
    rows = rows_of(HERE / module)
    assert all(rows.values())
    ids = {each for several in rows.values() for each in several}
    assert sorted(each for each in ids if each not in found_in(each.partition("::")[0])) == []


def test_every_module_here_is_named() -> None:
    """A test of this folder that no row names is forgotten, or shows nothing of the matrix."""
    ids = {each for rows in named().values() for several in rows.values() for each in several}
    here = {each for path in HERE.glob("test_group_*.py") for each in found_in(f"tests/matrix/{path.name}")}
    assert sorted(here - ids) == []
