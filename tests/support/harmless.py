"""Is what the App tells harmless? Markdown and pages are parsed as a reader's software does, not searched for words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

from markdown_it import MarkdownIt

#: GitHub REST docs, checks: "maximum 65535 characters", 50 annotations a request, 64 KB a message, 255 a title.
SUMMARY_MAX, ANNOTATIONS_MAX, MESSAGE_MAX, TITLE_MAX = 65_535, 50, 64 * 1024, 255
DESCRIPTION_MAX = 140  # GitHub REST docs, commit statuses

_MARKDOWN_TAGS = {
    *("p", "h1", "h2", "h3", "h4", "ul", "ol", "li", "strong", "em", "code", "pre", "a", "br", "hr", "blockquote"),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary", "sub"),
}
_PAGE_TAGS = _MARKDOWN_TAGS | {
    *("html", "head", "meta", "title", "link", "body", "header", "main", "footer", "nav", "section", "div"),
    *("dl", "dt", "dd", "small", "time", "progress", "caption", "span", "script"),
    *("form", "input", "button", "label", "select", "option", "textarea"),
}
# What GitHub makes a mention, a reference or a link of, in text that is not code.
_LIVE = re.compile(r"@\w|#\d|\bGH-\d|\bwww\.")


class _Document(HTMLParser):
    """The tags of a document with their attributes, and its text outside of code."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.prose: list[str] = []
        self.text: list[str] = []
        self.others: list[str] = []
        self._code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._code += tag in ("code", "pre")

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in ("code", "pre")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if not self._code:
            self.prose.append(data)

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_decl(self, decl: str) -> None:
        if decl.lower() != "doctype html":
            self.others.append(decl)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)


def _parsed(document: str) -> _Document:
    parser = _Document()
    parser.feed(document)
    parser.close()
    return parser


def _hidden(text: str) -> Iterator[str]:
    """Characters that show nothing or move others: control characters, bidi marks, surrogates."""
    for char in text:
        if (
            char != "\n" and unicodedata.category(char) in ("Cc", "Cs")
        ) or char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
            yield char


def check_run_is_harmless(run: Mapping[str, Any], *roots: str) -> str:
    """Raise AssertionError if a check-run could do more than be read; returns its text as a reader sees it.

    `roots`: where links may lead.
    """
    output = run["output"]
    title, summary = str(output["title"]), str(output["summary"])
    assert 0 < len(title) <= TITLE_MAX
    assert "\n" not in title
    assert len(summary.encode()) <= SUMMARY_MAX
    assert list(_hidden(title + summary)) == []
    shown = _parsed(MarkdownIt("commonmark", {"html": True}).enable("table").render(summary))
    _only(shown, _MARKDOWN_TAGS, roots)
    assert _LIVE.search("".join(shown.prose)) is None, _LIVE.search("".join(shown.prose))
    annotations = run["annotations"]
    assert len(annotations) <= ANNOTATIONS_MAX
    for note in annotations:
        assert len(note["message"].encode()) <= MESSAGE_MAX
        assert len(note["title"]) <= TITLE_MAX
        assert list(_hidden(note["message"] + note["title"])) == []
        assert "\ufffd" not in note["path"]
    return "".join(shown.text)


def status_is_harmless(status: Mapping[str, Any]) -> None:
    """Raise AssertionError if a commit status is not one short line."""
    description = str(status["description"])
    assert 0 < len(description) <= DESCRIPTION_MAX
    assert "\n" not in description
    assert list(_hidden(description)) == []


def page_is_harmless(page: str, *roots: str) -> str:
    """Raise AssertionError if a page holds more than our own tags; returns its text as a reader sees it."""
    shown = _parsed(page)
    _only(shown, _PAGE_TAGS, (*roots, "/", "#", "?"))
    for tag, attributes in shown.tags:
        if tag == "script":  # our own files only; what stands between the tags would not run, but has no business there
            assert (attributes.get("src") or "").startswith("/static/")
        if tag == "form":
            assert re.fullmatch(r"/[a-z]\S*", attributes.get("action") or "")
    return "".join(shown.text)


def _only(shown: _Document, tags: set[str], roots: tuple[str, ...]) -> None:
    assert {tag for tag, _ in shown.tags} <= tags
    assert shown.others == []
    for tag, attributes in shown.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src"):
                assert (value or "").startswith(roots), (tag, value)
