"""`app.py lab lint`: the problems of a lab file as compilers write them, and the map of the template's files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cli.faults import WRONG_USE, CommandError
from cli.serve import say
from cli.terminal import name, out, out_json, paint, words

if TYPE_CHECKING:
    from cli.lab_source import LabSource
    from rules.lint import Coverage, LintResult
    from rules.model import Lab, Problem


def linted(source: LabSource) -> LintResult:
    """What the linter finds, with the template's files if they are known. CommandError: the author's patterns are too
    much for RE2 when they meet these files."""
    from rules.evidence import MAX_BYTES
    from rules.labfile import parse_lab
    from rules.lint import TemplateFile, lint, needed_contents
    from rules.patterns import PatternError

    files, contents = None, None
    if source.template is not None:
        files = [TemplateFile(entry.path, entry.mode, entry.sha) for entry in source.template.tree.values()]
    try:
        if source.template is not None and files is not None and (lab := parse_lab(source.data).lab) is not None:
            contents = source.template.read(needed_contents(lab, files), MAX_BYTES + 1)
        return lint(source.data, template=files, contents=contents)
    except PatternError as error:
        raise CommandError(f"{source.shown}: {words(str(error))}") from None


def errors(problems: Iterable[Problem]) -> int:
    """How many of the problems keep the file from being published."""
    return sum(problem.severity == "error" for problem in problems)


def is_fine(result: LintResult, *, strict: bool) -> bool:
    """Whether there is nothing to complain about: no error and, if `strict`, no warning."""
    return not (result.problems if strict else errors(result.problems))


def valid_lab(source: LabSource) -> Lab:
    """The lab of a file that has no error; CommandError, after its errors were told on standard error."""
    from rules.labfile import parse_lab

    read = parse_lab(source.data)
    if read.lab is None:
        for problem in read.problems:
            say(problem_line(source.shown, problem))
        raise CommandError(f"{source.shown} has to be corrected first")
    return read.lab


def problem_line(shown: str, problem: Problem) -> str:
    """`file:line:column: CODE sentence (suggestion)`; a warning says that it is one."""
    warning = problem.severity == "warning"
    sentence = words(f"{problem.message} ({problem.suggestion})" if problem.suggestion else problem.message)
    code = paint(problem.code, "yellow" if warning else "red")
    return f"{paint(f'{shown}:{problem.line}:{problem.column}:', 'bold')} {code} {'warning: ' * warning}{sentence}"


def print_result(source: LabSource, result: LintResult, *, with_map: bool) -> None:
    """Print the problems, a line that sums them up and, if wanted, the map."""
    for problem in result.problems:
        out(problem_line(source.shown, problem))
    if with_map:
        if result.coverage is not None:
            _print_map(result.coverage)
        else:
            say(f"There is no map: the errors of {source.shown} come first.")
    out(_summary(source, result))
    if source.note:
        say(source.note)


def print_result_json(source: LabSource, result: LintResult, *, with_map: bool) -> None:
    """Print the same for programs: `as_document`."""
    out_json(as_document(source, result, with_map=with_map))


def as_document(source: LabSource, result: LintResult, *, with_map: bool) -> dict[str, Any]:
    """The result as JSON. Keys: file, errors and warnings (numbers), problems (code, severity, message, suggestion,
    pointer, line, column), note, and with the map also map: none (paths), one (path: step), several (path: steps),
    protected, shared (paths); null if there is none."""
    wrong = errors(result.problems)
    document: dict[str, Any] = {
        "file": source.shown,
        "errors": wrong,
        "warnings": len(result.problems) - wrong,
        "problems": [asdict(problem) for problem in result.problems],
        "note": source.note,
    }
    if with_map:
        document["map"] = None if result.coverage is None else _map(result.coverage)
    return document


def need_map(source: LabSource) -> None:
    """CommandError if a map was asked for where the template's files are not known."""
    if source.template is None:
        raise CommandError(f"a map needs the template's files. {source.note}", status=WRONG_USE)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _summary(source: LabSource, result: LintResult) -> str:
    wrong = errors(result.problems)
    warnings = len(result.problems) - wrong
    if wrong or warnings:
        text = f"{source.shown}: {_counted(wrong, 'error')}, {_counted(warnings, 'warning')}."
        return paint(text, "red" if wrong else "yellow")
    looked = f", looked at with {_counted(len(source.template.tree), 'file')}" if source.template else ""
    steps = _counted(len(result.lab.steps), "step") if result.lab else ""
    return paint(f"{source.shown}: no problems ({steps}{looked}).", "green")


def _map(coverage: Coverage) -> dict[str, Any]:
    return {
        "none": list(coverage.none),
        "one": {path: coverage.owners[path][0] for path in coverage.one},
        "several": {path: list(coverage.owners[path]) for path in coverage.several},
        "protected": list(coverage.protected),
        "shared": list(coverage.shared),
    }


def _print_map(coverage: Coverage) -> None:
    for heading, paths in (
        ("Owned by no step", coverage.none),
        ("Owned by one step", coverage.one),
        ("Owned by several steps", coverage.several),
        ("Protected: only the template changes them", coverage.protected),
        ("Shared: may change at any time", coverage.shared),
    ):
        out(paint(f"{heading}: {_counted(len(paths), 'file')}", "bold"))
        _print_rows({name(path): ", ".join(coverage.owners.get(path, ())) for path in paths})
        out()


def _print_rows(rows: Mapping[str, str]) -> None:
    width = min(max(map(len, rows), default=0), 60)
    for left, right in rows.items():
        out(f"  {left:<{width}}  {right}".rstrip())
