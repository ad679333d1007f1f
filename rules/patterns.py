"""The one meaning of a pattern: gitignore patterns as git documents them, matched by RE2 (steps.md section 3).

pathspec turns a pattern into a regular expression; what it reads otherwise than git (bracket expressions, escapes,
runs of stars, white space at the end, `x/**/`) is rewritten before and put back after. Decided differences from git:

- a `!` pattern works also below a folder that an earlier pattern took, and gives back everything below what it names;
- `?` and `[...]` count characters, not bytes, and names that are equal in NFC are one name;
- a run of stars inside a name (`x**/y`) is one star, as git's manual says: git 2.39 lets it span folders;
- case always counts, whatever `core.ignoreCase` says;
- what git reads but never matches, or matches by surprise, is an error: POSIX classes, a trailing backslash, an open
  bracket, a reversed range, empty, `.` and `..` segments, comments, line breaks.
"""

from __future__ import annotations

import functools
import operator
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import re2
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from rules.pattern_reading import Pattern, PatternError, Token, read_pattern, specificity, star_run, with_roots

__all__ = [  # what is said of a pattern without matching is read from here too
    "Matches",
    "PatternError",
    "PatternSet",
    "SinglePatterns",
    "check_pattern",
    "compiled",
    "compiled_expression",
    "specificity",
    "with_roots",
]

MAX_MEMORY = 64 << 20  # bytes of one compiled set, its lazily built automaton included
_EXPRESSION_MEMORY = 4 << 20  # bytes of one compiled expression; past it RE2 is slower, never wrong
_MAX_ANSWERS = 4_000  # distinct sets of matching patterns that one PatternSet remembers
_FIRST_ATOM = 0x100000  # private use plane 16: stand-ins while pathspec works


def check_pattern(text: str) -> str | None:
    """What is wrong with a pattern, as a sentence for the author of the lab file; None if it is fine."""
    try:
        _translate(read_pattern(text))
    except PatternError as error:
        return str(error)
    return None


# ------------------------------------------------------------------------------------------------- translation to RE2


def _translate(read: Pattern) -> str:
    """The RE2 expression of a pattern; to be searched, with dot_nl.

    What git and pathspec could read differently goes through pathspec as a stand-in, a private character that it takes
    for a literal. The rest is what pathspec is for: segments, stars, anchors. Its `^` and `$` are the ends of the text
    to RE2, line feeds or not.
    """
    atoms: dict[str, str] = {}  # stand-in -> expression

    def rewritten(token: Token) -> str:
        if token.kind in ("star", "any") or (token.kind == "literal" and token.text.isalnum()):
            return token.text
        char = chr(_FIRST_ATOM + len(atoms))
        atoms[char] = token.text if token.kind == "set" else f"\\x{{{ord(token.text):x}}}"
        return char

    segments = ["**" if star_run(part) > 1 else "".join(map(rewritten, part)) for part in read.segments()]
    if len(segments) > 2 and segments[-2:] == ["**", ""]:
        segments.insert(-1, "*")  # x/**/ is every folder below x: not what stands directly in x
    regex = cast("str", GitIgnoreSpecPattern.pattern_to_regex("/".join(segments))[0])
    for char, expression in atoms.items():
        regex = regex.replace(char, expression)
    return regex


_AT_ANY_DEPTH = "^(?:.+/)?"  # how pathspec writes that a pattern may begin in any folder
_REST_OF_NAME = "[^/]*"


def _searched(expression: str) -> tuple[str, ...]:
    """The same as expressions that RE2 can share the beginnings of: no path begins with a slash.

    As pathspec writes them, each pattern without a slash is alive at every letter of every path, which makes the states
    of a large lab's automaton large: 2,000 patterns cost seconds before all states were there, and now a fifth of that.
    """
    if not expression.startswith(_AT_ANY_DEPTH):
        return (expression,)
    name = expression[len(_AT_ANY_DEPTH) :]
    if name.startswith(_REST_OF_NAME):  # something may stand before it in the name: found wherever it begins
        return (name[len(_REST_OF_NAME) :],)
    return (f"^{name}", f"/{name}")


# -------------------------------------------------------------------------------------------------------- matching


@dataclass(frozen=True, slots=True)
class Matches:
    """The groups that hold a path. `winners`: group -> index of its last matching pattern, ascending by group."""

    winners: Mapping[int, int]

    @property
    def groups(self) -> tuple[int, ...]:
        """Indexes of the groups that hold the path, ascending."""
        return tuple(self.winners)

    def winner(self, group: int) -> int | None:
        """Index of the pattern that puts the path into the group; None if it is not in the group."""
        return self.winners.get(group)


class PatternSet:
    """All patterns of a lab as one RE2 set. `groups`: lists of patterns; in each the last match wins.

    PatternError if a pattern is not valid or RE2 cannot hold the set in MAX_MEMORY. Safe to share between threads.
    """

    def __init__(self, groups: Sequence[Sequence[str]]) -> None:
        uses: dict[str, list[tuple[int, int]]] = {}  # expression -> (group, index) of the patterns that mean it
        self._negated: set[tuple[int, int]] = set()
        for group, patterns in enumerate(groups):
            for index, pattern in enumerate(patterns):
                read = read_pattern(pattern)
                for expression in _searched(_translate(read)):
                    uses.setdefault(expression, []).append((group, index))
                if read.negated:
                    self._negated.add((group, index))
        self._uses = list(uses.values())
        self._set = _build([*uses, ""])  # the empty expression matches every path: an answer without it is a failure
        self._answers: dict[tuple[int, ...], Matches] = {}

    def match(self, path: str) -> Matches:
        """The groups that a path belongs to. One pass over the path, whatever the number of patterns.

        PatternError if RE2 runs out of memory.
        """
        return self.match_all((path,))[0]

    def match_all(self, paths: Iterable[str]) -> list[Matches]:
        """`match` of each path, in order."""
        known, matching, one_set = self._answers, _matching, self._set
        found: list[Matches] = []
        for path in paths:
            key = matching(one_set, path)
            answer = known.get(key)
            if answer is None:
                answer = self._resolve(key)
                if len(known) >= _MAX_ANSWERS:
                    known.clear()
                known[key] = answer
            found.append(answer)
        return found

    def _resolve(self, found: tuple[int, ...]) -> Matches:
        """Let the last match of each group win."""
        winners: dict[int, int] = {}
        for number in found:
            for group, index in self._uses[number] if number < len(self._uses) else ():
                winners[group] = max(index, winners.get(group, index))
        return Matches(
            {group: winners[group] for group in sorted(winners) if (group, winners[group]) not in self._negated}
        )


class SinglePatterns:
    """Patterns of which each is asked about alone, whatever list it comes from; its `!` aside.

    PatternError as of PatternSet.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        uses: dict[str, int] = {}  # expression -> bits of the patterns that mean it
        for number, pattern in enumerate(patterns):
            for expression in _searched(_translate(read_pattern(pattern))):
                uses[expression] = uses.get(expression, 0) | 1 << number
        self._uses = [*uses.values(), 0]  # and the empty expression's, which means no pattern
        self._set = _build([*uses, ""])
        self._answers: dict[tuple[int, ...], int] = {}

    def match(self, path: str) -> int:
        """Which patterns match the path: bit n of the answer stands for pattern n."""
        key = _matching(self._set, path)
        answer = self._answers.get(key)
        if answer is None:
            answer = functools.reduce(operator.or_, (self._uses[number] for number in key))
            if len(self._answers) >= _MAX_ANSWERS:
                self._answers.clear()
            self._answers[key] = answer
        return answer


def _matching(compiled_set: re2.Set, path: str) -> tuple[int, ...]:
    """Numbers of the expressions of a set that match a path; PatternError if RE2 runs out of memory."""
    normal = path if path.isascii() else unicodedata.normalize("NFC", path)
    # A lone surrogate (a byte of git's that is no UTF-8, read by Python) is matched as a question mark.
    found = compiled_set.Match(normal.encode("utf-8", "replace"))
    if not found:  # not even the empty expression, which every set here holds
        raise PatternError("The patterns of the lab together are too large for RE2.")
    return tuple(found)


@functools.lru_cache(maxsize=16)
def compiled(groups: tuple[tuple[str, ...], ...]) -> PatternSet:
    """The PatternSet of these groups, remembered: building costs milliseconds, and one lab judges many pushes."""
    return PatternSet(groups)


def _build(expressions: Sequence[str]) -> re2.Set:
    options = _options(MAX_MEMORY)
    options.dot_nl = True  # a path may hold line feeds
    options.never_capture = True
    built = re2.Set.SearchSet(options)
    try:
        for expression in expressions:
            built.Add(expression)
        built.Compile()
    except re2.error:
        raise PatternError("The patterns of the lab together are too large for RE2.") from None
    return built


def _options(max_mem: int) -> re2.Options:
    options = re2.Options()
    options.max_mem = max_mem
    options.log_errors = False  # the author is told, not standard error
    return options


# ----------------------------------------------------------------------------------- regular expressions of conditions


@functools.lru_cache(maxsize=256)
def compiled_expression(text: str) -> re2._Regexp:
    """The RE2 of a `contains` or `lacks` condition, with `(?m)`; PatternError with RE2's words if it is not valid."""
    try:
        return re2.compile("(?m)" + text, _options(_EXPRESSION_MEMORY))
    except re2.error as error:
        words = error.args[0].decode("utf-8", "replace").replace("(?m)", "", 1)
        raise PatternError(f"RE2 cannot read the expression: {words}.") from None
