"""Class lists as teachers have them: any spreadsheet's CSV is read, and what cannot be is named by its line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot import classlist
from bot.classlist import ClassListError, Row, parse, rows_of_logins


def test_columns_by_header() -> None:
    """Login, id and repository are found by their names, in any order; other columns are left aside, with a note."""
    found = parse(b"name,Repository,login,id\nAda,octo-course/lab-ada,learner-one,\nLin,77,,102\n")

    assert found.rows == (
        Row(2, login="learner-one", repository="octo-course/lab-ada"),
        Row(3, account_id=102, repo_id=77),
    )
    assert found.notes == ("left aside: column name",)


@pytest.mark.parametrize(
    "data",
    [
        b"login\nlearner-one\nlearner-two\n",
        b"\xef\xbb\xbflogin\r\nlearner-one\r\nlearner-two\r\n",
        b'"login";"note"\n"learner-one";"a; b"\n"learner-two";""\n',
        b"login\tnote\nlearner-one\t\nlearner-two\tx\n",
        "login\nlearner-one\nlearner-two".encode("utf-16"),
        b"GitHub Username , Seat\n@learner-one , 4\nhttps://github.example.com/learner-two , 5\n",
        b"identifier,github_username,github_id,name\nAda L,learner-one,,\nLin,learner-two,,\n",
        "login,name\nlearner-one,Zo\u00eb\nlearner-two,x\n".encode("cp1252"),
        b"learner-one\nlearner-two\n",
        b"learner-one,Ada\nlearner-two,Lin\n",
    ],
)
def test_spreadsheets(data: bytes) -> None:
    """Marks, line ends, delimiters, quotes, code pages, GitHub Classroom's roster, or no header at all."""
    assert [row.login for row in parse(data).rows] == ["learner-one", "learner-two"]


def test_lines_are_those_of_the_file() -> None:
    """Blank lines, comments (with a quote in them) and fields over several lines do not shift the numbers."""
    text = '# the "autumn class\n\nlogin,note\n\nlearner-one,"two\nlines"\n  # gone: "ghost\nlearner-two,\n;;\n'

    assert [(row.line, row.login, row.problem) for row in parse(text.encode()).rows] == [
        (5, "learner-one", None),
        (8, "learner-two", None),
        (9, ";;", "is no GitHub login"),
    ]


def test_without_header_a_second_column_may_be_the_repository() -> None:
    """It is taken as such only if it looks like one."""
    rows = parse(b"learner-one,octo-course/lab-1\nlearner-two,Lin\n").rows

    assert [row.repository for row in rows] == ["octo-course/lab-1", None]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"Ada Lovelace,,", "is no GitHub login"),
        (b"robo[bot],,", "is a bot: only people can be invited"),
        (b"learner-one,one,", "'one' is no GitHub account id (a number)"),
        (b"learner-one,,lab", "'lab' is no repository: write OWNER/NAME"),
        (b",,octo-course/lab", "names nobody: neither login nor id"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(line: bytes, problem: str) -> None:
    """The row keeps its line, and the others are not touched by it."""
    broken, good = parse(b"login,id,repository\n" + line + b"\nlearner-two,,https://github.com/o/lab.git\n").rows

    assert (broken.line, broken.problem) == (2, problem)
    assert good == Row(3, login="learner-two", repository="o/lab")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the list is empty"),
        (b"\n# nobody\n", "the list is empty"),
        (b"first name,last name\nAda,L\n", "neither a column 'login' nor 'id'"),
        (b"repository\no/r\n", "neither a column 'login' nor 'id'"),
        (b"login,username\na,b\n", "two columns name the login: 'login' and 'username'"),
        (b'login\n"learner-one\n', "line 2: this is no CSV"),
        (b"a\n" * (classlist.MAX_ROWS + 1), "more than 20000 rows"),
        (b"a" * (classlist.MAX_BYTES + 1), "more than 4 MiB"),
    ],
)
def test_what_is_no_class_list(data: bytes, sentence: str) -> None:
    """The whole file is refused with one sentence that says what to change."""
    with pytest.raises(ClassListError, match=sentence):
        parse(data)


def test_logins_named_one_by_one() -> None:
    """They are read like those of a file, without lines."""
    rows = rows_of_logins(["@learner-one", "learner one"]).rows

    assert rows == (Row(login="learner-one"), Row(login="learner one", problem="is no GitHub login"))


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_rows_or_one_sentence(data: bytes) -> None:
    """Whatever file is taken for a class list, no other error comes out, and what is usable is well-formed."""
    try:
        rows = parse(data).rows
    except ClassListError:
        return
    for row in rows:
        assert row.problem or row.asked
        assert row.line is not None
