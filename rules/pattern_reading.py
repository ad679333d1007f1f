"""Reading a gitignore pattern: its pieces, what is wrong with it, how closely it names files, and paths it matches.

Decided, and told as an error: what git reads but never matches, or matches by surprise: POSIX classes, a trailing
backslash, an open bracket, a reversed range, empty, `.` and `..` segments, comments, line breaks.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_UNLIKELY = "zqjxkv0_-ZQaA\u00e6"  # what wildcards are filled with in examples: hardly a pattern names it
_NAME = "zq"  # and the name of a folder or a file


class PatternError(ValueError):
    """The author's pattern or expression cannot be used, or all patterns of the lab together are too large for RE2."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a pattern. `kind`: literal (text: the character), star (a run), any (`?`), set (text: RE2), slash.

    `sample`: of a set, a character in it; empty if none is known.
    """

    kind: str
    text: str
    sample: str = ""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as read: without its `!` and without the spaces that git drops from its end."""

    negated: bool
    tokens: tuple[Token, ...]

    @property
    def anchored(self) -> bool:
        """Whether a slash other than the last character ties it to the root."""
        return any(token.kind == "slash" for token in self.tokens[:-1])

    def segments(self) -> list[tuple[Token, ...]]:
        """The tokens between the slashes."""
        found: list[list[Token]] = [[]]
        for token in self.tokens:
            if token.kind == "slash":
                found.append([])
            else:
                found[-1].append(token)
        return [tuple(segment) for segment in found]


def specificity(pattern: str) -> tuple[int, int]:
    """How closely a pattern names its files, larger is closer: length of the literal prefix, then fewest wildcards.

    What matches at any depth starts with a wildcard, written (`**/x`) or not (`x`); a folder's pattern ends with one.
    PatternError if the pattern is not valid.
    """
    read = read_pattern(pattern)
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


def affirmed(pattern: str) -> str:
    """The pattern without its `!`: what it would take if it did not give back."""
    if not pattern.startswith("!"):
        return pattern
    body = pattern[1:]
    return "\\" + body if body.startswith(("!", "#")) else body


def examples_of(pattern: str) -> tuple[str, ...]:
    """Paths that a pattern matches (its `!` aside): near the root, and deeper where it allows.

    Wildcards are filled with names that nobody writes, so that another pattern which matches the examples very likely
    matches whatever this one does. None if a set of the pattern has no character that we know.
    """
    read = read_pattern(pattern)
    if any(token.kind == "set" and not token.sample for token in read.tokens):
        return ()
    segments = read.segments()
    parts = [segment for segment in segments if segment]  # without what stands before and after the outer slashes
    if not read.anchored:
        parts.insert(0, (Token("star", "**"),))
    below = [] if segments[-1] else [_NAME]
    return tuple(dict.fromkeys("/".join((*_example(parts, depth), *below)) for depth in (0, 1)))


def _example(parts: Sequence[Sequence[Token]], depth: int) -> Iterator[str]:
    """The segments of a path that these segments of a pattern match; each `**` stands for `depth` folders."""
    for number, part in enumerate(parts, start=1):
        if star_run(part) > 1:
            yield from [_NAME] * (depth + (number == len(parts)))
        else:
            yield "".join(map(_filled, part))


def _filled(token: Token) -> str:
    """A text that a token inside a segment matches."""
    fillings = {"star": _NAME, "any": _NAME[-1], "set": token.sample}
    return fillings.get(token.kind, token.text)


def _root(pattern: str) -> Iterator[str]:
    """The pattern `/x` for a pattern `x/**`."""
    read = read_pattern(pattern)
    folders, body = read.segments(), _trimmed(pattern)
    while len(folders) > 1 and star_run(folders[-1]) > 1:
        folders.pop()
        body = body.rstrip("*")[:-1]
    if len(folders) < len(read.segments()) and not read.negated and folders[-1] and not star_run(folders[-1]):
        yield body if body.startswith("/") else "/" + body


def star_run(segment: Sequence[Token]) -> int:
    """The length of a segment made of one run of stars; 0 for any other segment."""
    return len(segment[0].text) if len(segment) == 1 and segment[0].kind == "star" else 0


def read_pattern(text: str) -> Pattern:
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
    read = Pattern(negated, tokens)
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


def _check_segments(read: Pattern) -> None:
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


def _tokens(body: str) -> Iterator[Token]:
    at = 0
    while at < len(body):
        char = body[at]
        end = at + 1
        if char == "/":
            yield Token("slash", char)
        elif char == "?":
            yield Token("any", char)
        elif char == "*":
            while body[end : end + 1] == "*":
                end += 1
            yield Token("star", body[at:end])
        elif char == "[":
            end, expression, sample = _bracket(body, at)
            yield Token("set", expression, sample)
        elif char == "\\":
            end += 1
            yield _escaped(body[at + 1 : end])
        else:
            yield Token("literal", char)
        at = end


def _escaped(char: str) -> Token:
    """The token of a backslash and the character after it."""
    if not char:
        raise PatternError("A pattern must not end with a backslash; write two for the sign itself.")
    if char == "/":
        raise PatternError("A slash needs no backslash before it.")
    return Token("literal", char)


def _bracket(body: str, opening: int) -> tuple[int, str, str]:
    """The end of the bracket expression that opens here, the same as RE2 class that never matches a slash, a sample."""
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
    if negated:
        outside = (char for char in _UNLIKELY if not any(low <= char <= high for low, high in ranges))
        return at + 1, f"[^/{inside}]", next(outside, "")
    return at + 1, f"[{inside}]", ranges[0][0]


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
