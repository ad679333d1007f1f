"""Strict JSON with positions: the value, and where each part of it stands in the text.

The standard library's parser keeps the last of two equal keys, reads NaN, and forgets where things stood. An author's
file deserves better: everything doubtful is refused, once, at its exact place.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import NoReturn

MAX_DEPTH = 64  # open brackets at once; a lab file needs about ten
MAX_NUMBER = 100  # characters of a number

# These patterns are ours and linear; they run on the author's text, so they must stay free of nested repetition.
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[-+.]?[0-9A-Za-z_$][-+.0-9A-Za-z_$]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]*')
_HEX = re.compile(r"[0-9A-Fa-f]{4}")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LITERALS: dict[str, object] = {"true": True, "false": False, "null": None}
_OTHER_LANGUAGES = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"} | dict.fromkeys(
    ("None", "NULL", "Null", "nil", "undefined"), "null"
)

Path = Sequence[str | int]  # keys and indexes from the root


@unique
class Fault(StrEnum):
    """What is wrong with a JSON text."""

    SYNTAX = "syntax"
    DUPLICATE_KEY = "duplicate key"
    NUMBER = "number"
    DEPTH = "depth"
    TEXT = "text"
    BOM = "byte order mark"


class JsonError(ValueError):
    """The author's text is no strict JSON. Line and column (in characters) count from 1."""

    def __init__(self, fault: Fault, message: str, suggestion: str, line: int, column: int) -> None:
        super().__init__(f"{line}:{column}: {message}")
        self.fault = fault
        self.message = message
        self.suggestion = suggestion
        self.line = line
        self.column = column


def pointer(path: Path) -> str:
    """The JSON pointer (RFC 6901) of a path: `("steps", 0, "a/b")` -> `/steps/0/a~1b`; the root is empty."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


@dataclass(slots=True)
class _Node:
    """Offsets of a value, of its key if it has one, and the same of its children."""

    start: int
    key: int | None = None
    children: dict[str, _Node] | list[_Node] | None = None

    def child(self, part: str | int) -> _Node | None:
        """The child under a key or index, or None."""
        if isinstance(self.children, dict):
            return self.children.get(part) if isinstance(part, str) else None
        if isinstance(self.children, list) and isinstance(part, int) and 0 <= part < len(self.children):
            return self.children[part]
        return None


class _Lines:
    """Offsets to lines and columns. A line ends at a line feed, a carriage return, or both, as editors count."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in re.finditer("\r\n?|\n", text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


class Document:
    """A parsed text: its `value`, and the place of every part.

    Places are a tree beside the value, not a table of pointers: pointers of a deep file with long keys would take
    memory quadratic in its size.
    """

    def __init__(self, value: object, root: _Node, lines: _Lines) -> None:
        self.value = value
        self._root = root
        self._lines = lines

    def place(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at a path, or of its key; of the nearest enclosing value if it is not there."""
        node, complete = self._root, True
        for part in path:
            child = node.child(part)
            if child is None:
                complete = False
                break
            node = child
        offset = node.key if key and complete and node.key is not None else node.start
        return self._lines.place(offset)


def parse(text: str) -> Document:
    """Parse strict JSON; JsonError at the first fault. Linear in the length of the text."""
    return _Scanner(text).document()


class _Scanner:
    """Recursive descent over the text; MAX_DEPTH bounds the recursion."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.opened: list[int] = []  # offsets of the brackets that are open
        self._lines = _Lines(text)

    def document(self) -> Document:
        if self.text.startswith("\ufeff"):
            self.fail(Fault.BOM, "The file starts with a byte order mark.", 'Save it as "UTF-8" without BOM.')
        self.space()
        if self.at == len(self.text):
            self.fail(Fault.SYNTAX, "The file is empty.", "A lab file is one JSON object: { ... }.")
        value, root = self.value()
        self.space()
        if self.at < len(self.text):
            self.fail(Fault.SYNTAX, "There is more text after the end of the JSON value.", "Remove it.")
        return Document(value, root, self._lines)

    def fail(self, fault: Fault, message: str, suggestion: str = "", offset: int | None = None) -> NoReturn:
        line, column = self._lines.place(self.at if offset is None else offset)
        raise JsonError(fault, message, suggestion, line, column)

    def space(self) -> None:
        """Skip white space; a comment is refused here, since it may stand wherever white space may."""
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        if self.text.startswith(("//", "/*", "#"), self.at):
            self.fail(Fault.SYNTAX, "JSON has no comments.", "Remove the comment.")

    def value(self) -> tuple[object, _Node]:
        start, char = self.at, self.text[self.at : self.at + 1]
        if char in ("{", "["):
            if len(self.opened) == MAX_DEPTH:
                self.fail(Fault.DEPTH, f"Brackets are nested more than {MAX_DEPTH} deep.")
            self.opened.append(start)
            self.at += 1
            value, node = self.members(start) if char == "{" else self.items(start)
            self.opened.pop()
            return value, node
        if char == '"':
            return self.string(), _Node(start)
        return self.scalar(), _Node(start)

    def members(self, start: int) -> tuple[dict[str, object], _Node]:
        members: dict[str, object] = {}
        nodes: dict[str, _Node] = {}
        while self.more("}", first=not members):
            key_at = self.at
            key = self.key()
            if key in members:
                line = self._lines.place(nodes[key].key or 0)[0]
                message = f"The key {_shown(key)} is here a second time; the first is on line {line}."
                self.fail(Fault.DUPLICATE_KEY, message, "Keep one of them.", key_at)
            members[key], node = self.value()
            node.key = key_at
            nodes[key] = node
        return members, _Node(start, None, nodes)

    def items(self, start: int) -> tuple[list[object], _Node]:
        items: list[object] = []
        nodes: list[_Node] = []
        while self.more("]", first=not items):
            item, node = self.value()
            items.append(item)
            nodes.append(node)
        return items, _Node(start, None, nodes)

    def more(self, closing: str, *, first: bool) -> bool:
        """Step over a comma (if not `first`) to the next member, or over the closing bracket."""
        self.space()
        self.expect_rest()
        char = self.text[self.at]
        if char == closing:
            self.at += 1
            return False
        if first:
            return True
        if char != ",":
            if char in "}]":
                other = self._lines.place(self.opened[-1])
                message = f"Expected {closing} for the bracket opened at line {other[0]}, column {other[1]}."
                self.fail(Fault.SYNTAX, message)
            if char in ":=":
                self.fail(Fault.SYNTAX, f"{_shown(char)} does not belong here.")
            self.fail(Fault.SYNTAX, f"Expected a comma or {closing} here.", "Put a comma between the two values.")
        comma = self.at
        self.at += 1
        self.space()
        self.expect_rest()
        if self.text[self.at] in "}]":
            self.fail(Fault.SYNTAX, "A comma stands before the closing bracket.", "Remove the comma.", comma)
        return True

    def expect_rest(self) -> None:
        """Refuse the end of the file inside a bracket."""
        if self.at == len(self.text):
            line, column = self._lines.place(self.opened[-1])
            bracket = self.text[self.opened[-1]]
            message = f"The file ends before the {bracket} opened at line {line}, column {column} is closed."
            self.fail(Fault.SYNTAX, message)

    def key(self) -> str:
        """Read a key and its colon, up to the value."""
        if self.text[self.at] != '"':
            self.fail(Fault.SYNTAX, "Expected a key.", 'Keys stand in double quotes: "id".')
        key = self.string()
        self.space()
        self.expect_rest()
        if self.text[self.at] != ":":
            self.fail(Fault.SYNTAX, f"Expected a colon after the key {_shown(key)}.")
        self.at += 1
        self.space()
        self.expect_rest()
        return key

    def scalar(self) -> object:
        """Read a number or true, false, null."""
        found = _WORD.match(self.text, self.at)
        word = found.group() if found else ""
        if word in _LITERALS:
            self.at += len(word)
            return _LITERALS[word]
        if not _NUMBER.fullmatch(word):
            self.no_value(word)
        return self.number(word)

    def no_value(self, word: str) -> NoReturn:
        """Say why neither the word nor the character here is a value."""
        char = self.text[self.at]
        if word in _OTHER_LANGUAGES:
            self.fail(Fault.SYNTAX, f"JSON has no {word}.", f"Write {_OTHER_LANGUAGES[word]}.")
        if word.lstrip("+-").casefold() in ("nan", "infinity", "inf"):
            self.fail(Fault.NUMBER, f"{word} is not a number of JSON.")
        if word and char in "+-.0123456789":
            self.fail(Fault.SYNTAX, f"{_shown(word)} is not a number of JSON.")
        if char == "'":
            self.fail(Fault.SYNTAX, "JSON has no single quotes.", "Use double quotes.")
        suggestion = "Text stands in double quotes." if word else ""
        self.fail(Fault.SYNTAX, f"Expected a value, not {_shown(word or char)}.", suggestion)

    def number(self, word: str) -> int | float:
        if len(word) > MAX_NUMBER:
            self.fail(Fault.NUMBER, f"This number has more than {MAX_NUMBER} characters.")
        value: int | float
        try:
            value = int(word)
        except ValueError:
            value = float(word)
            if value in (float("inf"), float("-inf")):
                self.fail(Fault.NUMBER, f"The number {word} is too large.")
        self.at += len(word)
        return value

    def string(self) -> str:
        """Read a string from its opening quote to after its closing quote."""
        opening = self.at
        self.at += 1
        parts: list[str] = []
        while True:
            plain = _PLAIN.match(self.text, self.at)
            if plain and plain.group():
                parts.append(plain.group())
                self.at = plain.end()
            char = self.text[self.at : self.at + 1]
            if char == '"':
                self.at += 1
                return "".join(parts)
            if char == "\\":
                parts.append(self.escape())
            elif char in ("", "\n", "\r"):
                message = "This text has no closing quote on its line."
                self.fail(Fault.SYNTAX, message, 'Close it with ", and write a line break as \\n.', opening)
            elif char < " ":
                self.fail(Fault.SYNTAX, "A control character stands in a text.", f"Write \\u{ord(char):04x}.")
            else:
                self.fail(Fault.TEXT, "Half a character (a lone surrogate) stands in a text.")

    def escape(self) -> str:
        """Read one escape, or the two that make a surrogate pair."""
        start, char = self.at, self.text[self.at + 1 : self.at + 2]
        if char in _ESCAPES:
            self.at += 2
            return _ESCAPES[char]
        unit = self.unit(start)
        if unit is None:
            suggestion = "Write a backslash as two: \\\\."
            self.fail(Fault.SYNTAX, f"{_shown(self.text[start : start + 2])} is not an escape of JSON.", suggestion)
        self.at += 6
        if 0xD800 <= unit <= 0xDBFF:
            low = self.unit(self.at)
            if low is not None and 0xDC00 <= low <= 0xDFFF:
                self.at += 6
                return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        if 0xD800 <= unit <= 0xDFFF:
            message = f"\\u{unit:04x} is half a character (a lone surrogate)."
            self.fail(Fault.TEXT, message, "Write the character itself.", start)
        if unit == 0:
            self.fail(Fault.TEXT, "A text must not hold the character U+0000: no database stores it.", "", start)
        return chr(unit)

    def unit(self, offset: int) -> int | None:
        """The UTF-16 unit of a `\\uXXXX` at an offset, or None if there is none."""
        found = _HEX.match(self.text, offset + 2) if self.text.startswith("\\u", offset) else None
        return int(found.group(), 16) if found else None


def _shown(text: str) -> str:
    """A short piece of the author's text for a sentence."""
    short = text if len(text) <= 40 else text[:40] + "..."
    return f'"{short}"' if short.isprintable() else ascii(short)
