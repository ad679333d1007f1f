"""The linter: everything that is wrong or doubtful about a lab file, before a learner meets it.

`parse_lab` says whether a file can be read; the linter also looks at what its rules mean together and, with the
template's files, at what they mean there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rules.conditions import needed
from rules.effort import Tick, unlimited
from rules.labfile import lab_of_document, read_document
from rules.labfile_problems import ProblemCode, Problems
from rules.lint_conditions import check_conditions
from rules.lint_lists import check_lists
from rules.lint_survey import Survey
from rules.lint_template import check_template
from rules.model import Lab, Problem, Tree, TreeEntry
from rules.patterns import PatternError


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """A file of the template as git has it: path, mode ("100644", ...) and object id."""

    path: str
    mode: str
    sha: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """Where the template's files belong. Every path is in exactly one of `owners`, `protected` and `shared`.

    `owners`: path -> ids of the steps that own it, in the order of the file; in path order.
    """

    owners: Mapping[str, tuple[str, ...]]
    protected: tuple[str, ...]
    shared: tuple[str, ...]

    @property
    def none(self) -> tuple[str, ...]:
        """The paths that no step owns."""
        return tuple(path for path, owners in self.owners.items() if not owners)

    @property
    def one(self) -> tuple[str, ...]:
        """The paths that exactly one step owns."""
        return tuple(path for path, owners in self.owners.items() if len(owners) == 1)

    @property
    def several(self) -> tuple[str, ...]:
        """The paths that several steps own."""
        return tuple(path for path, owners in self.owners.items() if len(owners) > 1)

    def of_step(self, step_id: str) -> tuple[str, ...]:
        """The paths that a step owns."""
        return tuple(path for path, owners in self.owners.items() if step_id in owners)


@dataclass(frozen=True, slots=True)
class LintResult:
    """What the linter found. `lab`: None if there is an error; warnings leave it there.

    `problems`: in the order of the file. `coverage`: None without a template, or if the file cannot be read.
    """

    lab: Lab | None
    problems: tuple[Problem, ...]
    coverage: Coverage | None


def lint(
    data: bytes,
    *,
    template: Sequence[TemplateFile] | None = None,
    contents: Mapping[str, bytes] | None = None,
    tick: Tick = unlimited,
) -> LintResult:
    """Look at the bytes of `.forgea/steps.json`. All problems are the author's.

    `template`: the files of the template at the commit of the file, which allows to say more. `contents`: of its files
    by path, those that `needed_contents` names; what a missing one would tell is not told. `tick`: told of the work
    before it is done (rules.effort); what it raises is not caught.
    """
    document = read_document(data)
    if isinstance(document, Problem):
        return LintResult(None, (document,), None)
    read = lab_of_document(document)
    if read.lab is None:
        return LintResult(None, read.problems, None)
    problems = Problems(document)
    tree = None if template is None else tree_of(template, contents or {})
    coverage = None
    try:
        survey = Survey(read.lab, document, tree, tick)
        hopeless = check_conditions(survey, contents or {}, problems)
        check_lists(survey, hopeless, problems)
        if tree is not None:
            check_template(survey, tree, contents or {}, hopeless, problems)
            coverage = _coverage(survey, tree)
    except PatternError as error:  # RE2 builds its automaton while it matches
        problems.add(ProblemCode.PATTERNS_TOO_LARGE, ("steps",), str(error), "Use fewer wildcards in a pattern.")
    return LintResult(None if problems.has_errors() else read.lab, problems.all(), coverage)


def needed_contents(lab: Lab, template: Sequence[TemplateFile]) -> frozenset[str]:
    """The paths of the template whose contents the linter wants: those that `contains` and `lacks` conditions read."""
    tree = tree_of(template, {})
    wanted = needed(lab, frozenset(), tree)
    return frozenset(path for path, entry in tree.items() if entry.sha in wanted)


def tree_of(template: Sequence[TemplateFile], contents: Mapping[str, bytes]) -> Tree:
    """The tree of these files, with the sizes of those whose content is there."""
    sizes = {path: len(content) for path, content in contents.items()}
    return {file.path: TreeEntry(file.path, file.mode, file.sha, sizes.get(file.path)) for file in template}


def _coverage(survey: Survey, template: Tree) -> Coverage:
    owners: dict[str, tuple[str, ...]] = {}
    protected, shared = [], []
    for path in sorted(template):
        place = survey.paths.place(path)
        if place.protected:
            protected.append(path)
        elif place.shared:
            shared.append(path)
        else:
            owners[path] = tuple(survey.lab.steps[owner].id for owner in place.owners)
    return Coverage(owners, tuple(protected), tuple(shared))
