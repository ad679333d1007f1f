"""The one meaning of a pattern: gitignore patterns as git documents them, matched by RE2 (steps.md section 3).

pathspec turns a pattern into a regular expression; what it reads otherwise than git (bracket expressions, escapes,
runs of stars, white space at the end, `x/**/`) is rewritten before and put back after. Decided differences from git:

- a `!` pattern works also below a folder that an earlier pattern took, and gives back everything below what it names;
- `?` and `[...]` count characters, not bytes;
- what git reads but never matches, or matches by surprise, is an error: POSIX classes, a trailing backslash, an open
  bracket, a reversed range, empty, `.` and `..` segments, comments, line breaks.
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import re2
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

MAX_MEMORY = 64 << 20  # bytes of one compiled set, its lazily built automaton included
_EXPRESSION_MEMORY = 4 << 20  # bytes of one compiled expression; past it RE2 is slower, never wrong
_MAX_ANSWERS = 4_000  # distinct sets of matching patterns that one PatternSet remembers
_FIRST_ATOM = 0x100000  # private use plane 16: stand-ins while pathspec works


class PatternError(ValueError):
    """The author's pattern or expression cannot be used, or all patterns of the lab together are too large for RE2."""


# ------------------------------------------------------------------------------------------------- reading one pattern


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of a pattern. `kind`: literal (text: the character), star (a run), any (`?`), set (text: RE2), slash."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A pattern as read: without its `!` and without the spaces that git drops from its end."""

    negated: bool
    tokens: tuple[_Token, ...]

    @property
    def anchored(self) -> bool:
        """Whether a slash other than the last character ties it to the root."""
        return any(token.kind == "slash" for token in self.tokens[:-1])

    def segments(self) -> list[tuple[_Token, ...]]:
        """The tokens between the slashes."""
        found: list[list[_Token]] = [[]]
        for token in self.tokens:
            if token.kind == "slash":
                found.append([])
            else:
                found[-1].append(token)
        return [tuple(segment) for segment in found]


def check_pattern(text: str) -> str | None:
    """What is wrong with a pattern, as a sentence for the author of the lab file; None if it is fine."""
    try:
        _translate(_read(text))
    except PatternError as error:
        return str(error)
    return None


def specificity(pattern: str) -> tuple[int, int]:
    """How closely a pattern names its files, larger is closer: length of the literal prefix, then fewest wildcards.

    What matches at any depth starts with a wildcard, written (`**/x`) or not (`x`); a folder's pattern ends with one.
    PatternError if the pattern is not valid.
    """
    read = _read(pattern)
    tokens = read.tokens[1:] if read.tokens[0].kind == "slash" else read.tokens
    wild = sum(token.kind in ("star", "any", "set") for token in tokens) + (tokens[-1].kind == "slash")
    if not read.anchored:
        return 0, -wild - 1
    prefix = itertools.takewhile(lambda token: token.kind in ("literal", "slash"), tokens)
    return sum(len(token.text) for token in prefix), -wild


def with_roots(patterns: Iterable[str]) -> tuple[str, ...]:
    """The patterns, with `/x` before each `x/**`: a file, link or submodule put at x itself is meant too.

    For protected patterns only. A folder named by stars alone (`*/**`) gets none: its root would be every file.
    """
    return tuple(itertools.chain.from_iterable((*_root(pattern), pattern) for pattern in patterns))


def _root(pattern: str) -> Iterator[str]:
    """The pattern `/x` for a pattern `x/**`."""
    read = _read(pattern)
    folders, body = read.segments(), _trimmed(pattern)
    while len(folders) > 1 and _stars(folders[-1]) > 1:
        folders.pop()
        body = body.rstrip("*")[:-1]
    if len(folders) < len(read.segments()) and not read.negated and folders[-1] and not _stars(folders[-1]):
        yield body if body.startswith("/") else "/" + body


def _stars(segment: Sequence[_Token]) -> int:
    """The length of a segment made of one run of stars; 0 for any other segment."""
    return len(segment[0].text) if len(segment) == 1 and segment[0].kind == "star" else 0


def _read(text: str) -> _Pattern:
    """Take a pattern apart; PatternError says what is wrong with it."""
    if any(char in "\0\r\n" for char in text):
        raise PatternError("A pattern is one line: it must not hold a line break or U+0000.")
    if text.startswith("#"):
        raise PatternError(
            "A pattern that starts with # is a comment to git and matches nothing; write \\# for the sign."
        )
    body = _trimmed(text)
    negated = body.startswith("!")
    tokens = tuple(_tokens(body[1:] if negated else body))
    if not tokens:
        raise PatternError("A pattern must name something.")
    read = _Pattern(negated, tokens)
    _check_segments(read)
    return read


def _trimmed(text: str) -> str:
    """The pattern in NFC, without the spaces at its end that no backslash keeps: git drops them."""
    body = unicodedata.normalize("NFC", text)
    at = end = 0
    while at < len(body):
        kept = body[at] != " "
        at += 2 if body[at] == "\\" else 1
        end = at if kept else end
    return body[:end]


def _check_segments(read: _Pattern) -> None:
    """Refuse segments that no path of a tree has, so that the pattern could never match."""
    segments = read.segments()
    if len(segments) > 1 and not segments[0]:
        del segments[0]  # the slash that anchors
    if len(segments) > 1 and not segments[-1]:
        del segments[-1]  # the slash of a folder
    for segment in segments:
        name = "".join(token.text for token in segment)
        if not segment:
            raise PatternError(
                "Between two slashes, or beside a single one, a name is missing: this pattern never matches."
            )
        if name in (".", ".."):
            raise PatternError(f'Paths start at the root of the repository and have no "{name}" in them.')


def _tokens(body: str) -> Iterator[_Token]:
    at = 0
    while at < len(body):
        char = body[at]
        end = at + 1
        if char == "/":
            yield _Token("slash", char)
        elif char == "?":
            yield _Token("any", char)
        elif char == "*":
            while body[end : end + 1] == "*":
                end += 1
            yield _Token("star", body[at:end])
        elif char == "[":
            end, expression = _bracket(body, at)
            yield _Token("set", expression)
        elif char == "\\":
            end += 1
            yield _escaped(body[at + 1 : end])
        else:
            yield _Token("literal", char)
        at = end


def _escaped(char: str) -> _Token:
    """The token of a backslash and the character after it."""
    if not char:
        raise PatternError("A pattern must not end with a backslash; write two for the sign itself.")
    if char == "/":
        raise PatternError("A slash needs no backslash before it.")
    return _Token("literal", char)


def _bracket(body: str, opening: int) -> tuple[int, str]:
    """The end of the bracket expression that opens here, and the same as RE2 class that never matches a slash."""
    at = opening + 1
    negated = body[at : at + 1] in ("!", "^")
    at += negated
    ranges: list[tuple[str, str]] = []
    first = True
    previous: str | None = None  # what a following "-" would start a range from
    while first or body[at : at + 1] != "]":
        first = False
        if body.startswith("[:", at):
            raise PatternError("POSIX classes such as [:alpha:] are not supported; write the range: [a-z].")
        dash = body[at : at + 1] == "-" and previous is not None and body[at + 1 : at + 2] not in ("", "]")
        at, char = _member(body, at + dash)
        if dash and previous is not None:
            if char < previous:
                raise PatternError(f"The range {previous}-{char} is reversed.")
            ranges[-1] = (previous, char)
            previous = None
        else:
            ranges.append((char, char))
            previous = char
    inside = "".join(_re2_range(low, high) for low, high in ranges)
    return at + 1, f"[^/{inside}]" if negated else f"[{inside}]"


def _member(body: str, at: int) -> tuple[int, str]:
    """The next character inside a bracket expression, and where to go on."""
    if body[at : at + 1] == "\\":
        at += 1
    char = body[at : at + 1]
    if not char:
        raise PatternError("A bracket [ is never closed; write \\[ for the sign itself.")
    if char == "/":
        raise PatternError("A bracket expression [...] never matches a slash.")
    return at + 1, char


def _re2_range(low: str, high: str) -> str:
    """A range of an RE2 class, without the slash."""
    start, end, slash = ord(low), ord(high), ord("/")
    if start < slash < end:
        return f"\\x{{{start:x}}}-\\x{{{slash - 1:x}}}\\x{{{slash + 1:x}}}-\\x{{{end:x}}}"
    return f"\\x{{{start:x}}}-\\x{{{end:x}}}"


# ------------------------------------------------------------------------------------------------- translation to RE2


def _translate(read: _Pattern) -> str:
    """The RE2 expression of a pattern; to be searched, with dot_nl.

    What git and pathspec could read differently goes through pathspec as a stand-in, a private character that it takes
    for a literal. The rest is what pathspec is for: segments, stars, anchors. Its `^` and `$` are the ends of the text
    to RE2, line feeds or not.
    """
    atoms: dict[str, str] = {}  # stand-in -> expression

    def rewritten(token: _Token) -> str:
        if token.kind in ("star", "any") or (token.kind == "literal" and token.text.isalnum()):
            return token.text
        char = chr(_FIRST_ATOM + len(atoms))
        atoms[char] = token.text if token.kind == "set" else f"\\x{{{ord(token.text):x}}}"
        return char

    segments = ["**" if _stars(part) > 1 else "".join(map(rewritten, part)) for part in read.segments()]
    if len(segments) > 2 and segments[-2:] == ["**", ""]:
        segments.insert(-1, "*")  # x/**/ is every folder below x: not what stands directly in x
    regex = cast("str", GitIgnoreSpecPattern.pattern_to_regex("/".join(segments))[0])
    for char, expression in atoms.items():
        regex = regex.replace(char, expression)
    return regex


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
                read = _read(pattern)
                uses.setdefault(_translate(read), []).append((group, index))
                if read.negated:
                    self._negated.add((group, index))
        self._uses = list(uses.values())
        self._set = _build([*uses, ""])  # the empty expression matches every path: an answer without it is a failure
        self._answers: dict[tuple[int, ...], Matches] = {}

    def match(self, path: str) -> Matches:
        """The groups that a path belongs to. One pass over the path, whatever the number of patterns.

        PatternError if RE2 runs out of memory.
        """
        normal = path if path.isascii() else unicodedata.normalize("NFC", path)
        # A lone surrogate (a byte of git's that is no UTF-8, read by Python) is matched as a question mark.
        found = self._set.Match(normal.encode("utf-8", "replace"))
        if not found:
            raise PatternError("The patterns of the lab together are too large for RE2.")
        key = tuple(found)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._resolve(key)
            if len(self._answers) >= _MAX_ANSWERS:
                self._answers.clear()
            self._answers[key] = answer
        return answer

    def _resolve(self, found: tuple[int, ...]) -> Matches:
        """Let the last match of each group win."""
        winners: dict[int, int] = {}
        for number in found:
            for group, index in self._uses[number] if number < len(self._uses) else ():
                winners[group] = max(index, winners.get(group, index))
        return Matches(
            {group: winners[group] for group in sorted(winners) if (group, winners[group]) not in self._negated}
        )


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
