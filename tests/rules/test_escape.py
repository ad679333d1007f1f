"""Text from outside: nothing in it breaks a document, calls a person, or runs when pasted.

A CommonMark parser (the one that `rich` brings) is the judge of what a document says.
"""

from __future__ import annotations

import re
import subprocess
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rules.escape import clip, code, escape, hides, markdown, plain, shell_quote, shorten, visible, words

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

HOSTILE = [
    "a|b",
    "a\\|b",
    "a\\",
    "`",
    "a`b``c",
    "one\ntwo",
    "one\r\n\r\n# two",
    "<script>alert(1)</script>",
    "</td></table>",
    "<!--",
    "@octo-course/staff",
    "#1 and GH-1 and octo-course/lab#2",
    "https://evil.example and www.evil.example",
    "learner@evil.example",
    "[x](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "&lt;b&gt; &#64;octo-course",
    "*a* _b_ **c** ~~d~~ __init__.py $x$ [^1]",
    "\u202egnp.exe",
    "zero\u200bwidth\ufeff\u2060",
    "\x00\x07\x1b[31m",
    "not utf-8 \ufffd",
    "lone \udc80",
    "$(touch /tmp/owned)",
    "- item",
    "1. item",
    "12) item",
    "=== ",
    "+",
    " leading and trailing ",
    "two  spaces",
    "NFD e\u0301",
    "👩\u200d👩\u200d👧 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "`` ` ``",
    "```",
    "~~~",
    "\\@octo-course \\#1 \\<b>",
    "`code` @octo-course `#1`",
    "\u2028\u2029\x85",
    "\u3164\u00a0\u2800",
]
# Hypothesis finds characters; these find combinations that mean something.
TEXT = st.one_of(
    st.text(),
    st.text(st.sampled_from("|`\\@#<>&[]()!*_~$^:/.-+=1a \n\t'\"")),
    st.lists(st.sampled_from(HOSTILE), max_size=3).map(" ".join),
)
NAME = TEXT.filter(bool)
MENTION = re.compile(r"@\w|#\d|GH-\d|\w://|www\.", re.IGNORECASE)


def in_cell(cell: str) -> Token:
    """The inline content of a cell, after checking that the table around it is whole."""
    tokens = PARSER.parse(f"| First | Second |\n| --- | --- |\n| {cell} | end |\n\nafter\n")
    cells = [token for token in tokens if token.type == "inline"]

    assert [token.type for token in tokens].count("td_open") == 2
    assert [cells[0].content, cells[1].content, cells[3].content, cells[4].content] == [
        "First",
        "Second",
        "end",
        "after",
    ]
    return cells[2]


def text_of(token: Token) -> str:
    """The words of inline content that has no markup at all."""
    children = token.children or []

    assert {child.type for child in children} <= {"text", "text_special"}
    return "".join(child.content for child in children)


@pytest.mark.heavy
@given(TEXT)
def test_escaped_text_says_the_same_words_in_a_table(text: str) -> None:
    """Whatever is escaped comes out as plain words of one cell, and as nothing else."""
    shown = text_of(in_cell(escape(text) or "empty"))

    assert (plain(text) or "empty") == shown.replace("\u200b", "")


@pytest.mark.heavy
@given(TEXT)
def test_escaped_text_says_the_same_words_in_a_paragraph(text: str) -> None:
    """At the start of a line escaped text is no heading, list, quotation, rule or table."""
    tokens = PARSER.parse(f"before\n\n{escape(text) or 'empty'}\n\nafter\n")

    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"] * 3
    assert (plain(text) or "empty") == text_of(tokens[4]).replace("\u200b", "")


@pytest.mark.heavy
@given(TEXT)
def test_escaped_text_has_nothing_raw(text: str) -> None:
    """No raw angle bracket, pipe, backtick or line break, and nothing that GitHub would link."""
    escaped = escape(text)

    assert not set("<>|`\n\r").intersection(escaped)
    assert not MENTION.search(text_of(in_cell(escaped or "empty")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fix the counter", "Fix the counter"),
        ("a|b", "a&#124;b"),
        ("@octo-course", "@&#8203;octo-course"),
        ("see #12 & GH-3", "see &#35;&#8203;12 &amp; GH-&#8203;3"),
        ("https://x.example", "https:&#8203;//x.example"),
        ("www.x.example", "www&#8203;.x.example"),
        ("## 1.0", "&#35;&#35; 1.0"),
        ("- a", "&#45; a"),
        ("1. a", "1&#46; a"),
        ("one\ntwo", "one two"),
    ],
)
def test_escape_by_example(text: str, expected: str) -> None:
    """Ordinary words stay readable in the source; each danger has its own answer."""
    assert expected == escape(text)


# ------------------------------------------------------------------------------------------------------------- names


class _CodeElement(HTMLParser):
    """Reads `<code>...</code>`: its text, and the names of all tags."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag opens."""
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Words between tags."""
        self.text += data


@pytest.mark.heavy
@given(NAME)
@example("a|b`c")
@example(" ")
def test_code_shows_exactly_the_visible_name(name: str) -> None:
    """A name in a table is one piece of code, which says the name in visible characters."""
    cell = in_cell(code(name, limit=10_000))
    read = _CodeElement()
    read.feed(PARSER.renderer.render([cell], PARSER.options, {}))

    assert read.tags == ["code"]
    assert visible(name) == read.text


@given(NAME)
def test_visible_names_hide_nothing(name: str) -> None:
    """No control, bidi or zero-width character, odd space or lone surrogate is shown as it is."""
    assert not hides(visible(name))
    visible(name).encode()


@given(NAME)
def test_visible_names_tell_names_apart(name: str) -> None:
    """A file that is named as another one is spelled out is shown otherwise."""
    spelled = visible(name)

    assert (visible(spelled) == spelled) == (spelled == name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("src/cli.js", "`src/cli.js`"),
        ("größe/__init__.py", "`größe/__init__.py`"),
        ("a|b", "<code>a&#124;b</code>"),
        ("a`b", "<code>a&#96;b</code>"),
        ("a\nb", '`"a\\nb"`'),
        ("a\tb\r", '`"a\\tb\\r"`'),
        ("\u202egnp", '`"\\u202egnp"`'),
        ("\x1b", '`"\\x1b"`'),
        ("\U000e0001", '`"\\U000e0001"`'),
        (' "\\', '`" \\"\\\\"`'),
        ("@octo-course", "`@octo-course`"),
        ("$(id)", "`$(id)`"),
        ("x" * 300, f"`{'x' * 100}…{'x' * 99}`"),
    ],
)
def test_code_by_example(name: str, expected: str) -> None:
    """Ordinary names are ordinary code spans."""
    assert expected == code(name)


@pytest.mark.parametrize(("limit", "expected"), [(5, "abcde"), (4, "ab…e"), (3, "a…e"), (2, "a…")])
def test_shorten_keeps_both_ends(limit: int, expected: str) -> None:
    """A text that is too long loses its middle, to exactly the limit."""
    assert expected == shorten("abcde", limit)


@pytest.mark.parametrize(("limit", "expected"), [(7, "ab cdef"), (6, "ab cd…"), (4, "ab…")])
def test_clip_keeps_the_beginning(limit: int, expected: str) -> None:
    """A text that is too long loses its end."""
    assert expected == clip("ab cdef", limit)


def test_plain_text_by_example() -> None:
    """White space becomes spaces, what cannot be sent a replacement character; other hidden characters go."""
    assert plain("\ta\nb\ud800c\u202ed\u200d\x1b ") == "a b\ufffdcd\u200d"


@given(TEXT)
def test_plain_text_is_one_line_that_can_be_sent(text: str) -> None:
    """Titles and statuses have no line breaks, hidden characters or lone surrogates; joiners of scripts stay."""
    line = plain(text)

    assert not hides(line.replace("\u200c", "").replace("\u200d", ""))
    line.encode()


# ------------------------------------------------------------------------------------------------------------- shells

SPEAKABLE = NAME.filter(lambda name: "\0" not in name and not re.search("[\ud800-\udfff]", name))


@given(st.lists(SPEAKABLE, min_size=20, max_size=40))
@pytest.mark.heavy
def test_bash_reads_quoted_words_as_they_are(names: list[str]) -> None:
    """Each quoted word is one argument of exactly its bytes, and nothing in it is run."""
    command = "printf '%s\\0' " + " ".join(shell_quote(name) for name in names)
    answer = subprocess.run(
        ["bash", "--norc", "-c", command], capture_output=True, check=True, timeout=20, env={"LC_ALL": "C.UTF-8"}
    )

    assert [name.encode() for name in names] == answer.stdout.split(b"\0")[:-1]
    assert answer.stderr == b""


@pytest.mark.heavy
@given(SPEAKABLE)
def test_quoted_words_hide_nothing(name: str) -> None:
    """What is pasted is what is seen: one line, without controls, bidi or zero-width marks."""
    assert not hides(shell_quote(name))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("src/cli.js", "src/cli.js"),
        ("-rf", "-rf"),
        ("a b", "'a b'"),
        ("=ls", "'=ls'"),
        ("~", "'~'"),
        ("a,b", "'a,b'"),
        ("it's", "'it'\"'\"'s'"),
        ("$(id)!", "'$(id)!'"),
        ("a\nb'!\\", "$'a\\x0ab\\x27\\x21\\x5c'"),
        ("\u202e", "$'\\xe2\\x80\\xae'"),
    ],
)
def test_shell_quote_by_example(name: str, expected: str) -> None:
    """As few quotes as all shells allow; bytes where something would not be seen."""
    assert expected == shell_quote(name)


@pytest.mark.parametrize("name", ["", "a\0b", "\udc80"])
def test_what_no_command_can_name_is_refused(name: str) -> None:
    """An empty name, NUL and lone surrogates have no word."""
    with pytest.raises(ValueError, match="no command line"):
        shell_quote(name)


# ------------------------------------------------------------------------------------------------- the author's words

MARKDOWN = st.one_of(
    TEXT,
    st.lists(
        st.sampled_from(
            [
                "```",
                "````",
                "~~~",
                "```js",
                "   ```",
                "  - a",
                "1. b",
                "",
                "<b>",
                "@octo-course",
                "`x <b>`",
                "    code",
                "> q",
            ]
        ),
        max_size=12,
    ).map("\n".join),
)


def inline_tokens(tokens: list[Token]) -> list[Token]:
    """All tokens inside of paragraphs, headings and cells."""
    return [child for token in tokens for child in token.children or []]


@pytest.mark.heavy
@given(TEXT)
def test_words_keep_code_and_nothing_else(text: str) -> None:
    """An author's line may have code in backticks; everything else is as escaped."""
    cell = in_cell(words(text) or "empty")
    kinds = {child.type for child in cell.children or []}
    outside = "".join(child.content for child in cell.children or [] if child.type == "text")
    tags = {child.content for child in cell.children or [] if child.type == "html_inline"}

    assert kinds <= {"text", "text_special", "code_inline", "html_inline"}
    assert tags <= {"<code>", "</code>"}
    if "<code>" not in tags:
        assert not MENTION.search(outside)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Use `useRef`, not *state*", "Use `useRef`, not &#42;state&#42;"),
        ('`split(" ")` and ``a`b``', '`split(" ")` and <code>a&#96;b</code>'),
        ("an `open end", "an &#96;open end"),
        ("`two  spaces`", "`two  spaces`"),
        ("- `a`", "&#45; `a`"),
    ],
)
def test_words_by_example(text: str, expected: str) -> None:
    """Titles and hints as authors write them."""
    assert expected == words(text)


@pytest.mark.heavy
@given(MARKDOWN)
def test_an_authors_markdown_stays_in_its_quotation(text: str) -> None:
    """Whatever an author writes: one quotation, no HTML, nobody is called, and what follows is as before."""
    tokens = PARSER.parse(f"before\n\n{markdown(text)}\n\n| after |\n| --- |\n| x |\n")
    top = [token.type for token in tokens if token.level == 0]
    quoted = ["blockquote_open", "blockquote_close"] if text.strip() else []
    inline = inline_tokens(tokens)

    assert top == ["paragraph_open", "paragraph_close", *quoted, "table_open", "table_close"]
    assert not [token for token in tokens if token.type == "html_block"]
    assert {token.content for token in inline if token.type == "html_inline"} <= {"<code>", "</code>"}
    if not any(token.type == "html_inline" for token in inline):
        assert not re.search(r"@\w", " ".join(token.content for token in inline if token.type == "text"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Write **two** lines:\n\n- one\n  - deeper", "> Write **two** lines:\n>\n> - one\n>   - deeper"),
        ("Read [MDN](https://developer.mozilla.org).", "> Read [MDN](https://developer.mozilla.org)."),
        ("<b>bold</b> & `<b>`", "> &lt;b>bold&lt;/b> &amp; `<b>`"),
        ("ask @octo-course about #1", "> ask @&#8203;octo-course about #&#8203;1"),
        ("\\*star\\* \\@octo-course", "> &#42;star&#42; &#64;&#8203;octo-course"),
        ("[x](javascript:alert(1))", "> [x](javascript&#8203;:alert(1))"),
        ("```js\na < b\n```\nafter", "> ````js\n> a < b\n> ````\n> after"),
        ("~~~\n```\n~~~", "> ````\n> ```\n> ````"),
        ("a\n  ```\nopen\n    end", "> a\n>   ````\n>   open\n>     end\n>   ````"),
        ("```\n\tx\u202ey\n```", "> ````\n> \txy\n> ````"),
        ("x" * 2_000, "> " + "x" * 1_499 + "…"),
    ],
)
def test_markdown_by_example(text: str, expected: str) -> None:
    """Descriptions as authors write them."""
    assert expected == markdown(text)
