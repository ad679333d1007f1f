"""`app.py lab test`: the lab's own tests, declared in `.forgea/tests/*.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.faults import FAILED, WRONG_USE, CommandError, one_line
from cli.terminal import name, out, out_json, paint, words

if TYPE_CHECKING:
    from cli.lab_source import Template as LabFiles
    from cli.labtests_format import Fault
    from cli.labtests_play import Mismatch, Template
    from rules.model import Lab

LAB_FILE = ".forgea/steps.json"
TESTS = ".forgea/tests"


@dataclass(frozen=True, slots=True)
class TestResult:
    """What came of one fixture. It passed if it has neither `faults` (of the fixture itself) nor `mismatches`."""

    __test__ = False  # for pytest: not a class of tests

    file: str
    name: str
    faults: tuple[Fault, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything that was expected came out."""
        return not self.faults and not self.mismatches


def lab_test(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The lab's template repository, as it lies here.")
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Run the lab's own tests: each file of .forgea/tests/*.json says what must come of some pushes.

    A test is judged as the App would judge it: from the steps file and the files as they lie in DIR. Learners cannot
    change the tests, for everything below .forgea is protected in their forks.

    \b
    Example, .forgea/tests/too-early.json:
      {
        "name": "The command must wait for the fix",
        "given": {"done": ["report"], "files": {"report/bug.md": "Expected: 2\\nActual: 3\\n"}},
        "push": [{"src/cli.js": "countWords()\\n"}],
        "expect": {
          "verdict": "blocked",
          "done": ["report"],
          "violations": [{"path": "src/cli.js", "code": "OUT_OF_ORDER", "step": "command", "missing": ["fix"]}]
        }
      }

    \b
    name      what the test shows; "description" may say more
    given     the session before: "done" (steps that are complete), "files" (where the accepted head differs from the
              template) and "facts": "approved", "completed", "reopened", "unlocked" (step ids), "accept_head" (true:
              staff accepts the pushed heads), "workflows" (paths) and "checks" ({"name", "app_id"}) that passed on
              every pushed head
    push      the pushes, one after another: each is an object (one commit) or a list of objects (several commits in
              one push); {} is an empty commit. In an object: path -> content, null deletes, and {"file": "answer.js",
              "mode": "executable"} takes the bytes of .forgea/tests/answer.js (or "text"; modes: file, executable,
              link)
    force     true: the pushes are force-pushes that leave what was accepted out of the history
    expect    of the last push, or a list with one for each push: "verdict" (accepted, blocked; closed: the lab was
              complete before), "complete", "done", "gained", "reopened", "open", "waiting", "locked" (step ids, in any
              order) and "violations". What is left out is not compared.

    Exit status: 0 all pass, 1 some do not (or a file has problems), 2 wrong use, such as a folder without tests.

    \b
    Examples:
      python app.py lab test
      python app.py lab test ../closures-lab --json
    """
    with one_line():
        results = run_tests(folder)
        if as_json:
            out_json({"passed": all(result.passed for result in results), "tests": [_row(each) for each in results]})
        else:
            _print(results)
        if not all(result.passed for result in results):
            raise typer.Exit(FAILED)


def run_tests(folder: Path) -> tuple[TestResult, ...]:
    """Run all tests of the lab in a folder. CommandError: there is no lab, none that is valid, or it has no tests."""
    from cli.lab_lint import valid_lab
    from cli.lab_source import lab_source

    if not folder.is_dir():
        raise CommandError(f"{name(str(folder))} is not a folder", status=WRONG_USE)
    with lab_source(folder) as source:
        if source.template is None:
            raise CommandError(f"{name(str(folder))}: {source.note}", status=WRONG_USE)
        template = _template(valid_lab(source), source.template)
        files = [path for path in sorted(template.tree) if _is_test(path)]
        if not files:
            raise CommandError(f"{name(str(folder))} has no tests: there is no {TESTS}/*.json", status=WRONG_USE)
        return tuple(_run(path, template) for path in files)


def _is_test(path: str) -> bool:
    """Whether a path is .forgea/tests/*.json; folders below are for contents."""
    folder, _, file = path.rpartition("/")
    return folder == TESTS and file.endswith(".json")


def _template(lab: Lab, files: LabFiles) -> Template:
    from cli.labtests_format import MAX_BYTES
    from cli.labtests_play import Template

    def read(path: str) -> bytes | None:
        return files.read([path], MAX_BYTES + 1).get(path)

    return Template(lab, files.tree, read, read_beside=lambda path: read(f"{TESTS}/{path}"))


def _run(file: str, template: Template) -> TestResult:
    from cli.labtests_format import Fault, read_fixture
    from cli.labtests_play import FaultyFixtureError, play_fixture
    from rules.patterns import PatternError

    data = template.read(file)
    if data is None:
        return TestResult(file, "", (Fault("This is no regular file that can be read."),))
    fixture = read_fixture(data, template.lab)
    if isinstance(fixture, tuple):
        return TestResult(file, "", faults=fixture)
    try:
        return TestResult(file, fixture.model.name, mismatches=play_fixture(fixture, template))
    except FaultyFixtureError as error:
        return TestResult(file, fixture.model.name, faults=(error.fault,))
    except PatternError as error:
        raise CommandError(f"{LAB_FILE}: {error}") from None


# ------------------------------------------------------------------------------------------------------- printing


def _row(result: TestResult) -> dict[str, object]:
    return {
        "file": result.file,
        "name": result.name,
        "passed": result.passed,
        "problems": [asdict(fault) for fault in result.faults],
        "mismatches": [asdict(mismatch) for mismatch in result.mismatches],
    }


def _print(results: tuple[TestResult, ...]) -> None:
    for result in results:
        label = paint("ok  ", "green") if result.passed else paint("FAIL", "red")
        out(f"{label} {name(result.file)}{': ' if result.name else ''}{words(result.name)}")
        for fault in result.faults:
            out(f"  {name(result.file)}:{fault.line}:{fault.column}: {words(fault.message)}")
        for mismatch in result.mismatches:
            _print_mismatch(mismatch)
    failed = sum(not result.passed for result in results)
    said = f"{failed} failed, {len(results) - failed} passed" if failed else "all passed"
    out(f"{len(results)} test{'s' if len(results) != 1 else ''}: {said}.")


def _print_mismatch(mismatch: Mismatch) -> None:
    where = f"  after push {mismatch.push}, {mismatch.what}"
    if mismatch.what in ("verdict", "complete"):
        out(f"{where}: expected {mismatch.missing[0]}, found {mismatch.unexpected[0]}")
        return
    out(f"{where}:")
    for text in mismatch.missing:
        out(paint(f"    - {words(text)}", "red") + "  (expected, not found)")
    for text in mismatch.unexpected:
        out(paint(f"    + {words(text)}", "green") + "  (found, not expected)")
