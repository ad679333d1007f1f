"""rules.positions: strict JSON, and where each part of it stands."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from rules.positions import MAX_DEPTH, MAX_NUMBER, Fault, JsonError, Path, parse, pointer

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def fault_of(text: str) -> JsonError:
    """The error that a text is refused with."""
    with pytest.raises(JsonError) as caught:
        parse(text)
    return caught.value


@pytest.mark.heavy
@given(JSON, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_reads_what_the_standard_library_writes(value: object, indent: int | str | None, ascii_only: bool) -> None:
    """Any JSON value, however it is laid out and escaped, is read as the standard library reads it."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    assert parse(text).value == json.loads(text)


@pytest.mark.heavy
@given(JSON, st.sampled_from([None, 2]))
def test_every_part_stands_where_the_document_says(value: object, indent: int | None) -> None:
    """Reading again from the place of any part gives that part, and the place of a key is its opening quote."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    document, lines = parse(text), text.split("\n")

    def rest(place: tuple[int, int]) -> str:
        line, column = place
        return "\n".join(lines[line - 1 :])[column - 1 :]

    def visit(part: object, path: tuple[str | int, ...]) -> None:
        assert json.JSONDecoder().raw_decode(rest(document.place(path)))[0] == part
        if isinstance(part, dict):
            for name, member in part.items():
                key_text = rest(document.place((*path, name), key=True))
                assert json.JSONDecoder().raw_decode(key_text)[0] == name
                visit(member, (*path, name))
        elif isinstance(part, list):
            for index, item in enumerate(part):
                visit(item, (*path, index))

    visit(value, ())


@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [
        ((), False, (2, 3)),
        ((), True, (2, 3)),
        (("a",), True, (2, 5)),
        (("a",), False, (2, 11)),
        (("a", 1), False, (3, 2)),
        (("a", 1, "é"), True, (3, 4)),
        (("a", 1, "é"), False, (3, 11)),
        (("a", 7, "é"), False, (2, 11)),
        (("a", "x"), True, (2, 11)),
        (("a", 1, 0), True, (3, 2)),
        (("a", 0, "deep"), False, (2, 12)),
        (("b",), True, (2, 3)),
    ],
)
def test_place_counts_characters_and_falls_back_to_the_enclosing_value(
    path: Path, key: bool, expected: tuple[int, int]
) -> None:
    """Lines and columns count characters from 1; a part that is not there has the place of what encloses it."""
    document = parse(' \r\n  { "a" : [1,\n { "é" :  [] } ] }')

    assert document.place(path, key=key) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [((), ""), (("steps", 0, "id"), "/steps/0/id"), (("a/b", "~", ""), "/a~1b/~0/")],
)
def test_pointer_is_rfc_6901(path: Path, expected: str) -> None:
    """A path is written as a JSON pointer, with / and ~ escaped."""
    assert pointer(path) == expected


@pytest.mark.parametrize(
    ("text", "fault", "place", "words"),
    [
        ("", Fault.SYNTAX, (1, 1), "empty"),
        (" \n ", Fault.SYNTAX, (2, 2), "empty"),
        ("\ufeff{}", Fault.BOM, (1, 1), "byte order mark"),
        ("{} x", Fault.SYNTAX, (1, 4), "more text"),
        ('{"a": 1,\n "b": 2,\n "a": 3}', Fault.DUPLICATE_KEY, (3, 2), "first is on line 1"),
        (r'{"a": 1, "\u0061": 2}', Fault.DUPLICATE_KEY, (1, 10), "second time"),
        ('{"a": 1,}', Fault.SYNTAX, (1, 8), "comma stands before"),
        ("[1,\n2 ,\n]", Fault.SYNTAX, (2, 3), "comma stands before"),
        ('{"a": 1 "b": 2}', Fault.SYNTAX, (1, 9), "Expected a comma or }"),
        ("[1 2]", Fault.SYNTAX, (1, 4), "Expected a comma or ]"),
        ("[,1]", Fault.SYNTAX, (1, 2), 'not ","'),
        ("[1,,2]", Fault.SYNTAX, (1, 4), 'not ","'),
        ('\n["a": 1]', Fault.SYNTAX, (2, 5), '":" does not belong'),
        ('{"a" 1}', Fault.SYNTAX, (1, 6), 'colon after the key "a"'),
        ("{a: 1}", Fault.SYNTAX, (1, 2), "Expected a key"),
        ('{"a": }', Fault.SYNTAX, (1, 7), 'not "}"'),
        ("[1}", Fault.SYNTAX, (1, 3), "Expected ] for the bracket opened at line 1, column 1"),
        ('{"a": [\n1', Fault.SYNTAX, (2, 2), "before the [ opened at line 1, column 7"),
        ("{", Fault.SYNTAX, (1, 2), "before the {"),
        ('{"a"', Fault.SYNTAX, (1, 5), "before the {"),
        ('{"a":', Fault.SYNTAX, (1, 6), "before the {"),
        ('{"a": 1,', Fault.SYNTAX, (1, 9), "before the {"),
        ("[1, // one\n2]", Fault.SYNTAX, (1, 5), "no comments"),
        ("/* lab */ {}", Fault.SYNTAX, (1, 1), "no comments"),
        ("[] # done", Fault.SYNTAX, (1, 4), "no comments"),
        ("['a']", Fault.SYNTAX, (1, 2), "no single quotes"),
        ("[True]", Fault.SYNTAX, (1, 2), "no True"),
        ("[None]", Fault.SYNTAX, (1, 2), "no None"),
        ("[yes]", Fault.SYNTAX, (1, 2), 'not "yes"'),
        ("[\x01]", Fault.SYNTAX, (1, 2), r"not '\x01'"),
        ("[NaN]", Fault.NUMBER, (1, 2), "NaN is not a number"),
        ("[-Infinity]", Fault.NUMBER, (1, 2), "-Infinity is not a number"),
        ("[1e999]", Fault.NUMBER, (1, 2), "too large"),
        ("[-1e999]", Fault.NUMBER, (1, 2), "too large"),
        ("[" + "7" * (MAX_NUMBER + 1) + "]", Fault.NUMBER, (1, 2), "more than 100"),
        ("[01]", Fault.SYNTAX, (1, 2), '"01" is not a number'),
        ("[1.]", Fault.SYNTAX, (1, 2), "not a number"),
        ("[.5]", Fault.SYNTAX, (1, 2), "not a number"),
        ("[+1]", Fault.SYNTAX, (1, 2), "not a number"),
        ("[0x10]", Fault.SYNTAX, (1, 2), "not a number"),
        ("[1-2]", Fault.SYNTAX, (1, 2), "not a number"),
        ("[-]", Fault.SYNTAX, (1, 2), 'not "-"'),
        ('["a\nb"]', Fault.SYNTAX, (1, 2), "no closing quote"),
        ('["a', Fault.SYNTAX, (1, 2), "no closing quote"),
        ('["a\tb"]', Fault.SYNTAX, (1, 4), "control character"),
        (r'["a\d"]', Fault.SYNTAX, (1, 4), r'"\d" is not an escape'),
        (r'["\u12G4"]', Fault.SYNTAX, (1, 3), "not an escape"),
        ('["\\', Fault.SYNTAX, (1, 3), "not an escape"),
        (r'["\u0000"]', Fault.TEXT, (1, 3), "U+0000"),
        (r'["ab\ud83d"]', Fault.TEXT, (1, 5), "lone surrogate"),
        (r'["\ud83dA"]', Fault.TEXT, (1, 3), "lone surrogate"),
        (r'["\ud83d\u0041"]', Fault.TEXT, (1, 3), "lone surrogate"),
        (r'{"\ude00": 1}', Fault.TEXT, (1, 3), "lone surrogate"),
        ('["\ud83d"]', Fault.TEXT, (1, 3), "lone surrogate"),
    ],
)  # fmt: skip
def test_every_fault_is_named_and_placed(text: str, fault: Fault, place: tuple[int, int], words: str) -> None:
    """A text that is no strict JSON is refused at the exact character, in plain words."""
    error = fault_of(text)

    assert (error.fault, (error.line, error.column)) == (fault, place)
    assert words in error.message
    assert str(error).startswith(f"{error.line}:{error.column}: ")


def test_a_long_word_is_shortened_in_the_message() -> None:
    """A message repeats at most forty characters of the author's text."""
    assert len(fault_of("[" + "x" * 10_000 + "]").message) < 100


def test_surrogate_pairs_are_one_character() -> None:
    """Two escapes that make a pair are read as the character they stand for."""
    assert parse(r'"\ud83d\ude00\u00e9"').value == "\U0001f600é"


def test_depth_is_limited_exactly() -> None:
    """The deepest allowed nesting is read, one more is refused at its bracket."""
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH).value
    error = fault_of("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    assert (error.fault, error.column) == (Fault.DEPTH, MAX_DEPTH + 1)


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_a_hundred_thousand_brackets_are_a_fault_and_no_crash(bracket: str) -> None:
    """Absurd nesting is refused as too deep; it does not exhaust the stack."""
    assert fault_of(bracket * 100_000).fault is Fault.DEPTH


@pytest.mark.parametrize(
    "unit",
    ['"a",', "1,", '{"k":[0]},', '"' + "\\n" * 500 + '",', "\n\n\n1,", "[" * 20 + "]" * 20 + ","],
)
@pytest.mark.heavy
def test_time_grows_with_the_length(unit: str) -> None:
    """Three hundred thousand characters of any shape take seconds at most: nothing is quadratic."""
    text = "[" + unit * (300_000 // len(unit)) + "1]"
    started = time.monotonic()

    parse(text)

    assert time.monotonic() - started < 20


@pytest.mark.heavy
def test_long_keys_around_many_values_cost_no_square() -> None:
    """A hundred thousand values under a long key take memory for the values only."""
    text = '{"' + "k" * 200_000 + '": [' + "0," * 100_000 + "0]}"

    assert parse(text).place(("k" * 200_000, 100_000)) == (1, len(text) - 2)


@given(st.text(st.sampled_from("{}[],:\"\\u0019.-eE+ \ntrufalsn/*'NaI\ud83d"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever the text, the scanner agrees with the standard library or refuses; it never crashes."""
    try:
        read = parse(text).value
    except JsonError as error:
        outcome = f"refused as {error.fault}"
        line = error.line
    else:
        outcome = "read"
        line = 1
        assert read == json.loads(text)
    event(outcome)
    assert 1 <= line <= text.count("\n") + 1
