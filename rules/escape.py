"""Text from outside, made safe: for Markdown that GitHub renders, for plain lines, and for commands to paste.

`escape` is the one way into Markdown. Characters with a meaning become numeric references, which never start a
structure (CommonMark, "Entity and numeric character references"), neither in a paragraph nor in a table. What GitHub
makes of finished text (mentions, issue numbers, bare addresses) is broken by a zero-width space: no reference or
backslash stops those, and prose is not pasted. File names are pasted, so they never get one: they stand in code, where
GitHub links nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

ZERO_WIDTH_SPACE = "&#8203;"

# Format characters that words need: joiners of emoji and of Persian or Indic scripts. They move nothing.
_JOINERS = frozenset("\u200c\u200d")

# Letters and marks by category that show nothing: fillers of Hangul, the blank Braille pattern, the grapheme joiner.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")

_PROSE = str.maketrans(
    {char: f"&#{ord(char)};" for char in "\\`*_[]{}|~$#^"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
)
_INSIDE_CODE = str.maketrans(
    {char: f"&#{ord(char)};" for char in " !\"#$%'()*+,.:;=?@[\\]^_`{|}~"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
)

# What GitHub would link in text: @name, #1 and GH-1, https:// and www. addresses, name@host.
_LINKED = re.compile(r"(@)(?=\w)|(#|\bGH-)(?=\d)|(\w:)(?=//)|(\bwww)(?=\.)", re.IGNORECASE)

# What would start a list or underline the line before, at the start of a line.
_BLOCK_START = re.compile(r"^(?:[-+=]|\d{1,9}[.)])")


def hides(text: str) -> bool:
    """Whether something in the text cannot be seen for what it is: control, bidi and zero-width marks, odd spaces,
    surrogates (what Python calls not printable), and blank letters."""
    return not text.isprintable() or not _BLANK.isdisjoint(text)


def plain(text: str) -> str:
    """One line of plain text, for titles and statuses (which GitHub does not render): nothing in it is hidden.

    White space becomes a space, lone surrogates U+FFFD (they cannot be sent), other hidden characters go; the joiners
    of emoji and scripts stay.
    """
    kept = []
    for char in text:
        if char.isspace():
            kept.append(" ")
        elif unicodedata.category(char) == "Cs":
            kept.append("\ufffd")
        elif char in _JOINERS or not hides(char):
            kept.append(char)
    return "".join(kept).strip()


def shorten(text: str, limit: int) -> str:
    """The text within `limit` characters (at least 2): its middle is left out, since file names differ at both ends."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return text[: limit - 1 - tail] + "…" + text[len(text) - tail :]


def clip(text: str, limit: int) -> str:
    """The text within `limit` characters: its end is left out."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def escape(text: str) -> str:
    """One line of text as Markdown that shows exactly these words: no markup, table cell, HTML, mention or link."""
    return _started(plain(text), _inert)


def _started(line: str, rewrite: Callable[[str], str]) -> str:
    """A rewritten line whose start makes it no list, heading or underline."""
    if start := _BLOCK_START.match(line):
        mark = start.end() - 1
        return f"{line[:mark]}&#{ord(line[mark])};{rewrite(line[mark + 1 :])}"
    return rewrite(line)


def _inert(piece: str) -> str:
    """A piece of a line without markup and links."""
    pieces = []
    end = 0
    for linked in _LINKED.finditer(piece):
        pieces.append(piece[end : linked.end()].translate(_PROSE) + ZERO_WIDTH_SPACE)
        end = linked.end()
    return "".join(pieces) + piece[end:].translate(_PROSE)


def visible(name: str) -> str:
    """A file name in which everything can be seen: like git, in double quotes with escapes when it needs them.

    No two names look alike by this (letters that look alike do).
    """
    odd = name != name.strip(" ") or "  " in name or name.startswith('"') or hides(name)
    return '"' + "".join(_visible_char(char) for char in name) + '"' if odd else name


_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def _visible_char(char: str) -> str:
    if char in _NAMED:
        return _NAMED[char]
    if not hides(char):
        return char
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def code(text: str, limit: int = 200) -> str:
    """A name as Markdown code, in a table as well; hidden characters are spelled, over `limit` the middle is left out.

    Names that code spans cannot hold safely everywhere (pipes and backticks) stand in a `<code>` element.
    """
    return _code(shorten(visible(shorten(text, limit)), limit))


def _code(shown: str) -> str:
    if shown and shown == shown.strip(" ") and "`" not in shown and "|" not in shown:
        return f"`{shown}`"
    return f"<code>{shown.translate(_INSIDE_CODE)}</code>"


# Names to which no shell gives a meaning. (zsh expands a leading `=`, PowerShell splits at `,`.)
_BARE = re.compile(r"[A-Za-z0-9_./-]+")


def shell_quote(text: str) -> str:
    """The text as one word for bash or zsh. Hidden characters are spelled as bytes, so that what runs is what is seen.

    Quoted by ' alone where possible (PowerShell reads that too), else as ANSI-C `$'...'`. ValueError for what no
    command can be given: an empty text, NUL or a lone surrogate.
    """
    if not text or "\0" in text or _has_surrogates(text):
        raise ValueError("no command line can hold this text")
    if _BARE.fullmatch(text):
        return text
    if hides(text):
        return "$'" + "".join(_ansi_c(char) for char in text) + "'"
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _has_surrogates(text: str) -> bool:
    return not text.isprintable() and any(unicodedata.category(char) == "Cs" for char in text)


def _ansi_c(char: str) -> str:
    r"""A character within `$'...'`, where old shells misread \' and expand ! and know no \u: bytes are always right."""
    if char in "'\\!" or hides(char):
        return "".join(f"\\x{byte:02x}" for byte in char.encode())
    return char


# --------------------------------------------------------------------------------------------- the author's Markdown

_FENCE = re.compile(r"( {0,3})(`{3,}|~{3,})[ \t]*([\w+-]*)[^`]*")
_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_BACKSLASHED = re.compile(r"\\([!-/:-@\[-`{-~])")
_LIVE = re.compile(r"(@)(?=\w)|(#|\bGH-)(?=\d)|((?:java|vb)script)(?=\s*:)", re.IGNORECASE)
_NO_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", "`": "&#96;"})


def words(text: str) -> str:
    """One line of an author's text (a title, a hint): as `escape`, except that `code` in backticks is code."""
    return _started(plain(text), lambda line: _spans(line, _inert))


def markdown(text: str, limit: int = 1_500) -> str:
    """An author's description as a quotation, from at most `limit` characters of it. "" if there is nothing.

    Markdown keeps its meaning, except what reaches out of the quotation: HTML, mentions and issue numbers are words,
    and a block of code that is not closed ends with the text. Code blocks are fenced: in an indented one `<` would be
    spelled `&lt;`.
    """
    lines: list[str] = []
    fence = re.compile("")  # closes the block of code that is open
    indent: str | None = None  # of that block; None: none is open
    clipped = clip(text.strip(), limit)
    mark = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", clipped))])
    for line in clipped.splitlines():
        if indent is not None:
            closed = fence.fullmatch(line)
            lines.append(indent + mark if closed else _inside_block(line, indent))
            indent = None if closed else indent
        elif opened := _FENCE.fullmatch(line):
            indent = opened[1]
            fence = re.compile(rf" *{re.escape(opened[2])}{opened[2][0]}*[ \t]*")
            lines.append(indent + mark + opened[3])
        else:
            lines.append(line[: len(line) - len(line.lstrip(" "))] + _spans(plain(line), _tamed))
    if indent is not None:
        lines.append(indent + mark)
    return "\n".join(f"> {line}".rstrip() for line in lines)


def _inside_block(line: str, indent: str) -> str:
    """A line within a block of code: indented enough to stay in it, without hidden characters but tabs."""
    kept = "".join(char for char in line if char == "\t" or char in _JOINERS or not hides(char))
    return kept if kept.startswith(indent) else indent + kept


def _spans(line: str, rest: Callable[[str], str]) -> str:
    """The line with its code spans as `code`, and what is between them rewritten."""
    pieces: list[str] = []
    end = 0
    for span in _SPAN.finditer(line):
        pieces += rest(line[end : span.start()]), _code(span[2].strip())
        end = span.end()
    return "".join(pieces) + rest(line[end:])


def _tamed(piece: str) -> str:
    """A piece of the author's Markdown that keeps its markup, without HTML, mentions, issue numbers and scripts."""
    pieces: list[str] = []
    end = 0
    for escaped in _BACKSLASHED.finditer(piece):
        pieces += _without_links(piece[end : escaped.start()]), f"&#{ord(escaped[1])};"
        if escaped[1] in "@#":
            pieces.append(ZERO_WIDTH_SPACE)
        end = escaped.end()
    return "".join(pieces) + _without_links(piece[end:])


def _without_links(piece: str) -> str:
    return _LIVE.sub(lambda found: found[0] + ZERO_WIDTH_SPACE, piece.translate(_NO_HTML))
