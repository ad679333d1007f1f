"""What is wrong with a lab file beyond its single values: ids, needs, conditions and limits over several of them.

The checks read the parsed JSON, not the models, so that they report beside other problems of the same file. They pass
over whatever has a wrong type: the models report that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rules.labfile_models import ID_PATTERN, MAX_PATTERNS
from rules.labfile_problems import CONDITION_MODELS, ProblemCode, Problems, quoted
from rules.positions import Path

FACT_CONDITIONS = frozenset({"approval", "none", "workflow", "check"})  # not decided by a tree: never under `not`
_ID = re.compile(ID_PATTERN)


@dataclass(frozen=True, slots=True)
class _RawStep:
    """A step as far as it can be read. `needs` None: the default."""

    path: tuple[str | int, ...]
    raw: Mapping[str, object]
    id: str | None
    optional: bool
    needs: Sequence[object] | None


def check_whole(value: object, problems: Problems) -> None:
    """Add the problems that show only when the values of a file are seen together."""
    if not isinstance(value, dict):
        return
    steps = [_raw_step(index, raw) for index, raw in enumerate(_list(value.get("steps"))) if isinstance(raw, dict)]
    _check_ids(steps, problems)
    _check_needs(steps, problems)
    _check_cycles(steps, problems)
    _check_conditions(steps, problems)
    _check_total(value, steps, problems)
    if steps and all(step.optional for step in steps):
        message = "Every step is optional, so the lab would be finished before it starts."
        problems.add(ProblemCode.ALL_OPTIONAL, ("steps",), message)


def default_needs(earlier: Sequence[tuple[str, bool]]) -> tuple[str, ...]:
    """What a step without `needs` needs: the nearest earlier step (id, optional) that is not optional, if any."""
    return next(((step_id,) for step_id, optional in reversed(earlier) if not optional), ())


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _raw_step(index: int, raw: dict[str, object]) -> _RawStep:
    name, needs = raw.get("id"), raw.get("needs")
    return _RawStep(
        path=("steps", index),
        raw=raw,
        id=name if isinstance(name, str) else None,
        optional=raw.get("optional") is True,
        needs=needs if isinstance(needs, list) else None,
    )


def _check_ids(steps: Sequence[_RawStep], problems: Problems) -> None:
    """Ids and aliases are one namespace: progress is stored under them."""
    first: dict[str, Path] = {}
    named: list[tuple[Path, object]] = [((*step.path, "id"), step.id) for step in steps if step.id is not None]
    for step in steps:
        named += [((*step.path, "aliases", at), alias) for at, alias in enumerate(_list(step.raw.get("aliases")))]
    for path, name in named:
        if not isinstance(name, str):
            continue
        if name in first:
            message = f"{quoted(name)} names a step already; see line {problems.line(first[name])}."
            problems.add(ProblemCode.DUPLICATE_ID, path, message, "Every id and every alias is used once.")
        first.setdefault(name, path)


def _check_needs(steps: Sequence[_RawStep], problems: Problems) -> None:
    known = {step.id for step in steps if step.id is not None}
    renamed = {alias: step.id for step in steps for alias in _list(step.raw.get("aliases")) if isinstance(alias, str)}
    for step in steps:
        seen: set[str] = set()
        for at, need in enumerate(step.needs or ()):
            if not isinstance(need, str) or not _ID.search(need):
                continue
            path = (*step.path, "needs", at)
            if need == step.id:
                problems.add(ProblemCode.CYCLE, path, "A step cannot need itself.", "Remove it.")
            elif need in seen:
                problems.add(ProblemCode.REPEATED_NEED, path, f"{quoted(need)} is needed twice.", "Remove one.")
            elif need not in known:
                suggestion = f"The step is now called {quoted(str(renamed[need]))}." if need in renamed else ""
                message = f"No step has the id {quoted(need)}."
                problems.add(ProblemCode.UNKNOWN_NEED, path, message, suggestion, near=(need, known))
            seen.add(need)


def _check_cycles(steps: Sequence[_RawStep], problems: Problems) -> None:
    """Report each ring of steps that wait for each other once, at its first step of the file."""
    graph: dict[str, list[str]] = {}
    earlier: list[tuple[str, bool]] = []
    for step in steps:
        if step.id is not None and step.id not in graph:
            needs = default_needs(earlier) if step.needs is None else step.needs
            graph[step.id] = [need for need in needs if isinstance(need, str) and need != step.id]
            earlier.append((step.id, step.optional))
    reported: set[str] = set()
    for step in steps:
        ring = _ring(graph, step.id) if step.id is not None else ()
        if ring and reported.isdisjoint(ring):
            message = f"These steps wait for each other: {' -> '.join(quoted(name) for name in ring)}."
            path = step.path if step.needs is None else (*step.path, "needs")
            problems.add(ProblemCode.CYCLE, path, message, "Remove one of these needs.")
        reported.update(ring)


def _ring(graph: Mapping[str, Sequence[str]], start: str) -> tuple[str, ...]:
    """The shortest way from a step over what it needs back to itself; empty if there is none."""
    ways: dict[str, tuple[str, ...]] = {start: (start,)}
    queue = [start]
    for name in queue:  # grows while it is walked: breadth first
        for need in graph.get(name, ()):
            if need == start:
                return (*ways[name], start)
            if need not in ways:
                ways[need] = (*ways[name], need)
                queue.append(need)
    return ()


def conditions(condition: object, path: Path, *, negated: bool = False) -> Iterator[tuple[str, Path, bool]]:
    """Type and path of a raw condition and of all its parts that have a known type, and whether a `not` is above."""
    kind = condition.get("type") if isinstance(condition, dict) else None
    if not isinstance(condition, dict) or not isinstance(kind, str) or kind not in CONDITION_MODELS:
        return
    yield kind, path, negated
    part = condition.get("of")
    if kind == "not":
        yield from conditions(part, (*path, "of"), negated=True)
    elif kind in ("all", "any"):
        for at, item in enumerate(_list(part)):
            yield from conditions(item, (*path, "of", at), negated=negated)


def _check_conditions(steps: Sequence[_RawStep], problems: Problems) -> None:
    for step in steps:
        default = {"type": "changed"}
        parts = list(conditions(step.raw.get("complete", default), (*step.path, "complete")))
        for kind, path, negated in parts:
            if negated and kind in FACT_CONDITIONS:
                message = f'"not" can stand over conditions on files only, not over "{kind}".'
                problems.add(ProblemCode.NOT_OVER_FACTS, (*path, "type"), message)
        if step.raw.get("files", []) == [] and any(kind == "changed" for kind, _, _ in parts):
            message = 'The step has no files, so its condition "changed" can never hold.'
            suggestion = 'Name its files in "files", or give it another condition in "complete".'
            problems.add(ProblemCode.NO_FILES, step.path, message, suggestion)


def _check_total(value: Mapping[str, object], steps: Sequence[_RawStep], problems: Problems) -> None:
    """Count the patterns of the whole file; those of conditions are matched in the same set."""
    total = len(_list(value.get("protected"))) + len(_list(value.get("shared")))
    for step in steps:
        total += len(_list(step.raw.get("files"))) + _condition_patterns(step.raw.get("complete"))
    if total > MAX_PATTERNS:
        message = f"The file has {total} patterns; all its lists together may have {MAX_PATTERNS}."
        problems.add(ProblemCode.LIMIT, (), message)


def _condition_patterns(condition: object) -> int:
    """The number of paths and patterns that a raw condition names."""
    if not isinstance(condition, dict):
        return 0
    parts = condition.get("of")
    inside = sum(_condition_patterns(part) for part in (parts if isinstance(parts, list) else [parts]))
    return inside + len(_list(condition.get("paths"))) + isinstance(condition.get("path"), str)
