"""rules.patterns: one meaning of a pattern, bounded work, errors that say why. Beside git: test_pattern_oracle."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import patterns
from rules.pattern_reading import affirmed, examples_of
from rules.patterns import (
    PatternError,
    PatternSet,
    SinglePatterns,
    check_pattern,
    compiled,
    compiled_expression,
    specificity,
    with_roots,
)


def matches(path: str, *group: str) -> bool:
    """Whether a list of patterns holds a path."""
    return PatternSet([group]).match(path).winner(0) is not None


# -------------------------------------------------------------------------------------- what each kind of pattern means


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("a", ["a", "x/a", "a/b/c", "x/a/b"], ["A", "ab", "b/ab"]),
        ("/a", ["a", "a/b"], ["x/a"]),
        ("a/", ["a/b", "x/a/b"], ["a", "x/a"]),
        ("a/b", ["a/b", "a/b/c"], ["x/a/b"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "x/a/b"]),
        ("a/**/", ["a/b/c"], ["a", "a/b"]),
        ("a/***", ["a/b"], ["a"]),
        ("**/a", ["a", "x/a", "x/y/a/z"], ["xa"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b/z"], ["ab", "a/xb"]),
        ("*.md", ["x.md", "a/x.md", ".md"], ["x.mdx"]),
        ("/*.md", ["x.md"], ["a/x.md"]),
        ("a/*", ["a/b", "a/b/c"], ["a"]),
        ("*", ["a", "a/b"], []),
        ("*/", ["a/b"], ["a"]),
        ("**", ["a", "a/b"], []),
        ("/**", ["a", "a/b"], []),
        ("a?c", ["abc", "aéc", "a😀c", "a\nc"], ["a/c", "ac", "abbc"]),
        ("[!a]", ["b", "é", "x/b", "a/b"], ["a"]),
        ("a[!x]b", ["ayb", "a\nb"], ["a/b", "axb"]),
        ("a[^x]b", ["ayb"], ["a/b", "axb"]),
        ("a[--0]b", ["a.b", "a-b", "a0b"], ["a/b", "a1b"]),
        ("[é-ï]", ["é", "ê"], ["e", "ð"]),
        ("\\!a", ["!a"], ["a"]),
        ("\\#a", ["#a"], ["a"]),
        ("a\\*", ["a*"], ["ab"]),
        ("a  ", ["a"], ["a  "]),
        ("a\\  ", ["a "], ["a", "a  "]),
        ("a\t", ["a\t"], ["a"]),
        ("a.b+(c)|d", ["a.b+(c)|d"], ["axb+(c)|d", "a.bb(c)|d", "d"]),
        ("$a^", ["$a^"], ["a"]),
        ("\U00100000\U00100001é", ["\U00100000\U00100001é"], ["\U00100001\U00100001é"]),
    ],
)
def test_a_pattern_means_what_gitignore_says(pattern: str, inside: list[str], outside: list[str]) -> None:
    """Anchors, stars, sets, folders, escapes: as gitignore documents them."""
    assert [path for path in inside + outside if matches(path, pattern)] == inside


def test_a_line_feed_is_an_ordinary_character_of_a_path() -> None:
    """A name with line feeds cannot hide from a pattern, nor pass for another name."""
    assert matches("src/a\nb.ts", "src/*.ts")
    assert matches("src/\n/b.ts", "src/**/*.ts")
    assert not matches("a\n", "a")
    assert not matches("x\na", "/a")


def test_the_last_match_wins() -> None:
    """A later pattern overrules an earlier one, in both directions."""
    assert not matches("a.md", "*.md", "!a.md")
    assert matches("a.md", "!a.md", "*.md")
    assert matches("a.md", "*.md", "!a.md", "a.*")


def test_a_re_include_works_below_an_excluded_folder() -> None:
    """Decided difference: `!` patterns reach below a folder that is taken, as authors of path filters expect."""
    group = ["src/**", "docs", "!**/*.md", "!docs/free/"]

    assert [
        path for path in ["src/a.ts", "src/a.md", "docs/a", "docs/x.md", "docs/free/a"] if matches(path, *group)
    ] == [
        "src/a.ts",
        "docs/a",
    ]


def test_a_re_included_folder_gives_back_what_an_earlier_pattern_named_in_it() -> None:
    """Decided difference: `!a/` owns everything below a, also what an earlier pattern named on its own."""
    assert not matches("a/b.txt", "a/b.txt", "!a/")


def test_composed_and_decomposed_names_are_the_same_name() -> None:
    """Matching normalises to NFC on both sides, so that a decomposed twin cannot hide from a protected pattern."""
    assert matches("cafe\u0301/a", "caf\u00e9/**")
    assert matches("caf\u00e9/a", "cafe\u0301/**")
    assert matches("cafe\u0301", "caf?")


def test_a_path_with_lone_surrogates_is_matched() -> None:
    """Bytes that are no UTF-8, as Python reads them from git, do not hide a file."""
    assert matches("tests/\udcff.py", "tests/**")
    assert not matches("\udcff", "tests/**")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("", "must name something"),
        ("   ", "must name something"),
        ("!", "must name something"),
        ("/", "a name is missing"),
        ("!/", "a name is missing"),
        ("//", "a name is missing"),
        ("a//b", "a name is missing"),
        ("a//", "a name is missing"),
        ("#a", "comment"),
        ("./a", 'have no "."'),
        ("a/../b", 'have no ".."'),
        ("a\\", "must not end with a backslash"),
        ("a\\/b", "needs no backslash"),
        ("[a", "never closed"),
        ("[]", "never closed"),
        ("[!", "never closed"),
        ("[a-", "never closed"),
        ("[a\\", "never closed"),
        ("[a/b]", "never matches a slash"),
        ("[z-a]", "range z-a is reversed"),
        ("[[:alpha:]]", "POSIX"),
        ("a\nb", "one line"),
        ("a\rb", "one line"),
        ("a\0b", "U+0000"),
    ],
)
def test_what_could_never_match_or_surprises_is_an_error(pattern: str, words: str) -> None:
    """Each pattern that is refused is refused with its reason, and by the matcher too."""
    assert words in (check_pattern(pattern) or "")
    with pytest.raises(PatternError, match=re.escape(words)):
        PatternSet([[pattern]])


@given(st.text(st.sampled_from("ab/*?[]!^-\\\\ #.:\t\u0301é\U00100000"), max_size=12))
def test_any_text_is_a_pattern_that_works_or_has_a_problem(text: str) -> None:
    """Reading a pattern is total: it has a problem, or it matches, ranks and has its root without one."""
    if check_pattern(text) is None:
        PatternSet([[text], with_roots([text])]).match("a/b")
        specificity(text)


# ------------------------------------------------------------------------------------------------------------ the set


def test_groups_are_answered_at_once() -> None:
    """One answer names every group that holds the path, ascending, with the index of its winning pattern."""
    found = PatternSet([["*.md"], ["src/**", "!*.md"], [], ["docs", "src", "*.ts"], ["*.md", "src"]])

    answer = found.match("src/a.md")
    assert (answer.groups, dict(answer.winners)) == ((0, 3, 4), {0: 0, 3: 1, 4: 1})
    assert [answer.winner(group) for group in range(6)] == [0, None, None, 1, 1, None]
    assert found.match("src/b.ts").groups == (1, 3, 4)
    assert found.match("x").groups == ()
    assert PatternSet([]).match("x").groups == ()


@pytest.mark.heavy
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b/", "!a", "*.c", "!b/**", "/a", "**/b", "?", "[!b]"]), max_size=4), max_size=4
    ),
    st.lists(st.sampled_from(["a", "b", "x.c"]), min_size=1, max_size=3).map("/".join),
)
def test_groups_do_not_influence_each_other(groups: list[list[str]], path: str) -> None:
    """In one set each group answers as it does alone, and as its patterns one by one with the last match winning."""
    together = PatternSet(groups).match(path)

    for number, group in enumerate(groups):
        assert together.winner(number) == PatternSet([group]).match(path).winner(0)
        hits = [index for index, pattern in enumerate(group) if matches(path, affirmed(pattern))]
        last = hits[-1] if hits else None
        assert together.winner(number) == (None if last is None or group[last].startswith("!") else last)


def test_the_memory_of_answers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are remembered up to a number, then forgotten; what is said stays the same."""
    monkeypatch.setattr(patterns, "_MAX_ANSWERS", 2)
    found = PatternSet([["a*"], ["*b"], ["*c*"]])

    for _ in range(2):
        assert [found.match(path).groups for path in ("a", "b", "c", "ab", "acb")] == [
            (0,),
            (1,),
            (2,),
            (0, 1),
            (0, 1, 2),
        ]


@pytest.mark.heavy
def test_a_set_that_does_not_build_is_an_error_never_an_empty_match() -> None:
    """Patterns too large for RE2's memory are the author's fault, said when the set is built."""
    with pytest.raises(PatternError, match="too large"):
        PatternSet([[f"{number}{'?' * 240}" for number in range(320)]])


def test_an_automaton_that_fails_is_an_error_never_an_empty_match(monkeypatch: pytest.MonkeyPatch) -> None:
    """If RE2 gives no answer at matching, which it does when memory ends, that is an error too."""

    class Exhausted:
        def Match(self, _: bytes) -> None:  # noqa: N802
            """RE2's binding answers None both for no match and for a failure."""

    monkeypatch.setattr(patterns, "_build", lambda _: Exhausted())
    found = PatternSet([["a"]])

    with pytest.raises(PatternError, match="too large"):
        found.match("b")


def test_compiled_sets_are_shared() -> None:
    """The same groups give the same set, without building it again."""
    assert compiled((("a",), ("b",))) is compiled((("a",), ("b",)))


def test_a_hostile_pattern_is_linear() -> None:
    """What makes backtracking matchers hang is answered at once, at the longest path that git allows."""
    found = PatternSet([["*a" * 127 + "b"]])
    started = time.monotonic()

    assert found.match("a" * 4_096).groups == ()

    assert time.monotonic() - started < 5


@pytest.mark.heavy
def test_a_hundred_thousand_paths_take_no_minute() -> None:
    """Matching stays one pass for each path whatever the number of patterns (the figure is measured in bench/)."""
    found = PatternSet(
        [[f"src/m{n}/**", f"docs/m{n}/*.md", f"tests/test_m{n}*.py", f"!**/m{n}/*.lock"] for n in range(50)]
    )
    started = time.monotonic()

    owned = sum(len(found.match(f"src/m{n % 60}/part{n}/index.ts").groups) for n in range(100_000))

    assert owned == sum(n % 60 < 50 for n in range(100_000))
    assert time.monotonic() - started < 30


# ------------------------------------------------------------------------------------------- specificity, roots, RE2


def test_specificity_orders_from_close_to_far() -> None:
    """The longest literal prefix comes first, then the fewest wildcards; equal meanings rank equal."""
    ordered = [
        "src/hooks/useTimer.ts",
        "src/hooks/**",
        "/src/hooks/*/*",
        "src/[a-c]?.ts",
        "useTimer.ts",
        "*.ts",
        "*[a-c]?.ts",
    ]

    assert sorted(sorted(ordered), key=specificity, reverse=True) == ordered
    assert specificity("/src/a") == specificity("src/a")
    assert specificity("!src/a") == specificity("src/a")
    assert specificity("a") == specificity("**/a")
    assert specificity("/a/") == specificity("/a/**")
    assert specificity("a\\*/\\ b") == (5, 0)


@pytest.mark.parametrize(
    ("pattern", "root"),
    [
        ("tests/**", "/tests"),
        ("/tests/**", "/tests"),
        ("tests/**/**", "/tests"),
        ("tests/***", "/tests"),
        ("tests/** ", "/tests"),
        ("**/tests/**", "/**/tests"),
        ("a\\*/**", "/a\\*"),
        ("a*/**", "/a*"),
        ("tests", None),
        ("tests/", None),
        ("tests/*", None),
        ("tests/**/", None),
        ("!tests/**", None),
        ("*/**", None),
        ("a/*/**", None),
        ("/**", None),
        ("**", None),
        ("**/**", None),
    ],
)
def test_the_root_of_a_protected_folder_is_protected(pattern: str, root: str | None) -> None:
    """`x/**` also means a file, link or submodule at x; a re-include and a folder named by stars alone get no root."""
    assert with_roots([pattern]) == ((pattern,) if root is None else (root, pattern))


def test_roots_keep_the_order_of_the_list() -> None:
    """A root stands right before its pattern, so that a later re-include still overrules it."""
    group = with_roots(["tests/**", "!tests/mine/**"])

    assert group == ("/tests", "tests/**", "!tests/mine/**")
    paths = ["tests", "tests/a", "tests/mine", "tests/mine/a", "x/tests"]
    assert [path for path in paths if matches(path, *group)] == ["tests", "tests/a", "tests/mine"]


def test_expressions_are_re2_with_multiline_anchors() -> None:
    """A condition's expression is RE2 with (?m) over all of it, compiled once."""
    found = compiled_expression("^b$|^c")

    assert found.search("a\nb\nd")
    assert found.search("a\ncd")
    assert not found.search("ab")
    assert compiled_expression("^b$|^c") is found


@pytest.mark.parametrize("expression", ["(", "a**", "(?=a)", r"(a)\1", "[z-a]", "*a"])
def test_an_expression_that_re2_refuses_is_an_error(expression: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Look-arounds, back-references and broken expressions are refused in words, and nothing is printed."""
    with pytest.raises(PatternError, match="RE2 cannot read the expression: "):
        compiled_expression(expression)
    assert capfd.readouterr() == ("", "")


# --------------------------------------------------------------------------------------------------- examples, alone


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a.md", ("a.md", "zq/a.md")),
        ("/a.md", ("a.md",)),
        ("a/", ("a/zq", "zq/a/zq")),
        ("src/**", ("src/zq", "src/zq/zq")),
        ("!**/*.md", ("zq.md", "zq/zq.md")),
        ("a/**/b?", ("a/bq", "a/zq/bq")),
        ("a/**/", ("a/zq/zq", "a/zq/zq/zq")),
        ("[b-d][!z]", ("bq", "zq/bq")),
        ("[!\x01-\U0010ffff]", ()),
    ],
)
def test_examples_of_a_pattern(pattern: str, paths: tuple[str, ...]) -> None:
    """Examples are what the pattern takes near the root and deeper, with names that nobody writes for its wildcards."""
    assert examples_of(pattern) == paths


@given(st.text(st.sampled_from("ab/*?[]!^-\\ #.x"), max_size=12))
def test_examples_match(text: str) -> None:
    """Every example of a pattern is matched by it, and paths are paths: no empty segment."""
    if check_pattern(text) is None:
        alone = SinglePatterns([text])
        for path in examples_of(text):
            assert alone.match(path) == 1, (text, path)
            assert all(path.split("/"))


@pytest.mark.heavy
@given(
    st.lists(st.sampled_from(["a", "*.md", "/a/**", "!a", "b/", "**/b", "!*.md", "é"]), max_size=6),
    st.sampled_from(["a", "a/b", "x.md", "b/a", "a/x.md", "é/b", "\udcff"]),
)
def test_single_patterns_are_asked_each_alone(group: list[str], path: str) -> None:
    """Bit n of the answer is whether pattern n, without its `!`, takes the path."""
    answer = SinglePatterns(group).match(path)

    assert [bool(answer >> number & 1) for number in range(len(group))] == [
        matches(path, affirmed(pattern)) for pattern in group
    ]


def test_the_memory_of_single_answers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are remembered up to a number, then forgotten; what is said stays the same."""
    monkeypatch.setattr(patterns, "_MAX_ANSWERS", 1)
    alone = SinglePatterns(["a*", "*b"])

    assert [alone.match(path) for path in ("a", "b", "ab", "a", "c")] == [1, 2, 3, 1, 0]
