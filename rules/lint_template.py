"""What a lab file means for the files of its template: patterns that match nothing, conditions that hold at once."""

from __future__ import annotations

import difflib
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rules.conditions import holds
from rules.evidence import MAX_BYTES, MAX_FILES, MissingBlob, View
from rules.labfile_problems import ProblemCode, Problems, quoted
from rules.lint_conditions import evidence_of
from rules.lint_survey import PatternList, Survey, condition_pattern
from rules.mapping import is_literal, leaves
from rules.model import Absent, AllOf, AnyOf, Condition, Contains, Exists, Lacks, Not, Nothing, Tree
from rules.pattern_reading import affirmed
from rules.patterns import SinglePatterns, check_pattern
from rules.positions import Path
from rules.snapshot import entry_kind

_ALIKE = 0.8  # of difflib's ratio: a name that differs by a slip of the pen
_MAX_NAMES = 1_000  # names that a literal one is compared with


def check_template(
    survey: Survey, template: Tree, contents: Mapping[str, bytes], hopeless: frozenset[int], problems: Problems
) -> None:
    """Add what the template's files show. `hopeless`: steps of which it is told that they can never complete."""
    check = _Check(survey, template, hopeless, problems)
    for each in survey.lists:
        for number, pattern in enumerate(each.patterns):
            check.listed(each, (*each.at, number), pattern)
    for asked in check.asked:
        check.named(asked)
        check.read(asked)
    check.steps(contents)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A path that a condition of a step names: where, and whether it is wanted to be there, and read."""

    at: Path
    step: int
    path: str
    wanted: bool
    is_read: bool


def _asked(condition: Condition, at: Path, step: int, *, wanted: bool = True) -> Iterator[_Asked]:
    """All paths that a condition names."""
    match condition:
        case AllOf(of) | AnyOf(of):
            for number, part in enumerate(of):
                yield from _asked(part, (*at, "of", number), step, wanted=wanted)
        case Not(of):
            yield from _asked(of, (*at, "of"), step, wanted=False)
        case Exists(paths) | Absent(paths):
            for number, path in enumerate(paths):
                there = wanted and isinstance(condition, Exists)
                yield _Asked((*at, "paths", number), step, path, there, is_read=False)
        case Contains(path) | Lacks(path):
            yield _Asked((*at, "path"), step, path, wanted, is_read=True)
        case _:
            return


class _Check:
    """One look at a lab and its template."""

    def __init__(self, survey: Survey, template: Tree, hopeless: frozenset[int], problems: Problems) -> None:
        self._survey = survey
        self._template = template
        self._hopeless = hopeless
        self._problems = problems
        self.asked = [
            asked
            for at, step in enumerate(survey.lab.steps)
            for asked in _asked(step.complete, ("steps", at, "complete"), at)
        ]
        self._names = _Names(template)
        patterns = [pattern for each in survey.lists for pattern in each.patterns]
        patterns += [condition_pattern(asked.path) for asked in self.asked]
        self._other_case = _other_case(survey, template, patterns)
        self._created = self._to_be_created()

    def _to_be_created(self) -> int:
        """The patterns (bits) that match a path which some condition wants to be there."""
        wanted = created = 0
        for asked in self.asked:
            wanted |= self._survey.bit(condition_pattern(asked.path)) if asked.wanted else 0
        for kind in self._survey.kinds:
            created |= kind.matching if kind.matching & wanted else 0
        return created

    def listed(self, each: PatternList, at: Path, pattern: str) -> None:
        """A pattern of a list that matches no file of the template."""
        bit = self._survey.bit(pattern)
        if self._survey.known_matching & bit:
            return
        if pattern in self._other_case:
            self._add_case(at, pattern, self._other_case[pattern])
            return
        if pattern.startswith("!") or self._created & bit or each.at == ("shared",):
            return  # what gives back, what is to be created, and what may come at any time needs no file today
        like = self._names.like(pattern) if is_literal(pattern) else ""
        if is_literal(pattern) and each.step is not None and not like:
            return  # a file that learners create: it is named
        suggestion = f'Did you mean "{like}"?' if like else ""
        if each.step is not None and not suggestion:
            suggestion = 'If learners are to create such a file, ask for it with an "exists" condition.'
        self._problems.add(
            ProblemCode.DEAD_PATTERN, at, f"{quoted(pattern)} matches no file of the template.", suggestion
        )

    def _add_case(self, at: Path, pattern: str, path: str) -> None:
        message = f"{quoted(pattern)} matches no file of the template; {quoted(path)} differs in upper and lower case."
        self._problems.add(ProblemCode.CASE_ONLY, at, message, "Case counts: write the name as the template does.")

    def named(self, asked: _Asked) -> None:
        """A path of a condition that the template lacks."""
        pattern = condition_pattern(asked.path)
        if self._survey.known_matching & self._survey.bit(pattern):
            return
        if pattern in self._other_case:
            self._add_case(asked.at, asked.path, self._other_case[pattern])
            return
        if not asked.wanted or asked.step in self._hopeless:
            return
        if not self._survey.some_named(asked.path, lambda kind: bool(kind.place.owners) or kind.place.shared):
            like = self._names.like(asked.path) if is_literal(asked.path) else ""
            message = f"The template has no {quoted(asked.path)}, and no step has it among its files."
            suggestion = f'Did you mean "{like}"?' if like else 'Add it to the "files" of the step that creates it.'
            self._problems.add(ProblemCode.NOTHING_CREATES, asked.at, message, suggestion)

    def read(self, asked: _Asked) -> None:
        """Files that a condition names and that are not read, so that it may stay undecided."""
        if not asked.is_read:
            return
        files = [name for name in self._survey.paths.named(asked.path) if entry_kind(self._template[name]) == "file"]
        large = [name for name in files if (self._template[name].size or 0) > MAX_BYTES]
        if len(files) > MAX_FILES:
            words = f"{quoted(asked.path)} matches {len(files)} files of the template; only {MAX_FILES} are read."
            self._problems.add(ProblemCode.NOT_READ, asked.at, words, "Name fewer files.")
        elif large:
            words = f"{quoted(large[0])} is larger than 1 MiB and is not read."
            self._problems.add(ProblemCode.NOT_READ, asked.at, words, "Look for the text in a smaller file.")

    def steps(self, contents: Mapping[str, bytes]) -> None:
        """Conditions that the untouched template satisfies."""
        evidence = evidence_of(self._survey, self._template, contents)
        for at, step in enumerate(self._survey.lab.steps):
            if at in self._hopeless or any(isinstance(leaf, Nothing) for leaf in leaves(step.complete)):
                continue
            try:
                already = holds(step, View(self._template, None), evidence)
            except MissingBlob:  # the caller has not read it
                continue
            if already:
                message = "The untouched template satisfies this condition: the first push would complete the step."
                suggestion = 'Ask for what is not there yet, or for "changed" as well.'
                self._problems.add(ProblemCode.ALREADY_HOLDS, ("steps", at, "complete"), message, suggestion)


class _Names:
    """The template's names, to find the one that was meant."""

    def __init__(self, template: Tree) -> None:
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        self._by_folder: defaultdict[str, list[str]] = defaultdict(list)
        for path in sorted(template):
            folder, _, name = path.rpartition("/")
            self._by_name[name].append(path)
            self._by_folder[folder].append(path)

    def like(self, path: str) -> str:
        """The path of the template that is most like a literal one: of its folder or of its name; empty if none is."""
        wanted = unicodedata.normalize("NFC", path.strip(" ").strip("/"))
        folder, _, name = wanted.rpartition("/")
        known = (self._by_folder[folder] + self._by_name[name])[:_MAX_NAMES]
        close = difflib.get_close_matches(wanted, known, 3, _ALIKE)
        return next((found for found in close if _letters(found) != _letters(wanted)), "")


def _letters(text: str) -> str:
    """The text without digits: `step1.md` and `step2.md` are two files, and no slip of the pen."""
    return "".join(char for char in text if not char.isdigit())


def _other_case(survey: Survey, template: Tree, wanted: list[str]) -> Mapping[str, str]:
    """Patterns that match no path of the template but for upper and lower case -> such a path."""
    missing = [pattern for pattern in dict.fromkeys(wanted) if not survey.known_matching & survey.bit(pattern)]
    lowered = {pattern: affirmed(pattern).lower() for pattern in missing}
    usable = [pattern for pattern in missing if check_pattern(lowered[pattern]) is None]
    single = SinglePatterns([lowered[pattern] for pattern in usable])
    found: dict[str, str] = {}
    seen = 0
    for path in sorted(template) if usable else ():
        survey.paths.tick(len(path))
        new = single.match(path.lower()) & ~seen
        seen |= new
        while new:
            number = new.bit_length() - 1
            new ^= 1 << number
            found[usable[number]] = path
    return found
