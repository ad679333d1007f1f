"""Class lists as teachers have them: CSV from a spreadsheet, an editor or GitHub Classroom, read row by row.

Pure: text in, rows and problems out. What GitHub says to the rows is for `bot.invitations`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# More is no class list. 20,000 rows of 200 characters.
MAX_BYTES = 4 * 1024 * 1024
MAX_ROWS = 20_000

# The names that a column may have, in lower case with "_" for spaces and dashes: those that GitHub Classroom's roster
# has, and those that people write.
_COLUMNS = {
    "login": ("login", "github_login", "github_username", "github_user", "github", "username", "user"),
    "id": ("id", "github_id", "account_id", "github_account_id"),
    "repository": ("repository", "repo", "github_repository", "repository_url", "student_repository_url"),
}
_FIELD_OF = {name: field for field, names in _COLUMNS.items() for name in names}

_DELIMITERS = (",", ";", "\t")
# Logins: letters, digits, hyphens; those of managed users contain "_" (GitHub docs, "Username considerations for
# external authentication").
_LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
_PROFILE = re.compile(r"https?://[^/\s]+/([^/\s]+)/?")
_FULL_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9._-]{1,100}")
_REPOSITORY_PAGE = re.compile(r"https?://[^/\s]+/([^/\s]+/[^/\s]+?)(?:\.git)?/?")
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")


class ClassListError(ValueError):
    """The text is no class list: the teacher's. One sentence that says what to change."""


@dataclass(frozen=True, slots=True)
class Row:
    """One person of a class list. `line`: counted from 1, None on the command line. `problem`: why it cannot be used,
    in words. A repository is named by `repository` (OWNER/NAME) or by `repo_id`.
    """

    line: int | None = None
    login: str | None = None
    account_id: int | None = None
    repository: str | None = None
    repo_id: int | None = None
    problem: str | None = None

    @property
    def asked(self) -> str:
        """The person as the list names them."""
        return self.login or (f"id {self.account_id}" if self.account_id is not None else "")

    @property
    def wanted_repository(self) -> str:
        """The repository as the list names it; empty without one."""
        return self.repository or (f"repository {self.repo_id}" if self.repo_id is not None else "")


@dataclass(frozen=True, slots=True)
class ClassList:
    """What a text says: its rows in order, and what was left aside."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def rows_of_logins(logins: Sequence[str]) -> ClassList:
    """The class list of logins that were named one by one."""
    return ClassList(tuple(_row({"login": login}, None) for login in logins))


def parse(data: bytes) -> ClassList:
    """Read a class list. The first line names the columns (login, id, repository; others are left aside); without
    such a line the first column is the login, and a second one that looks like it the repository.

    Commas, semicolons and tabs, quotes, blank lines, lines that begin with "#", Windows' line ends and byte order
    marks are all understood. Raises ClassListError.
    """
    if len(data) > MAX_BYTES:
        raise ClassListError(f"the list has more than {MAX_BYTES // 1024 // 1024} MiB: that is no class list")
    lines = _text(data).splitlines()
    # A comment may hold a quote that would swallow the lines after it: it is emptied before anybody reads quotes.
    lines = ["" if line.lstrip().startswith("#") else line for line in lines]
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    cells = list(_cells(lines, delimiter))
    if not cells:
        raise ClassListError("the list is empty: write one login per line")
    if len(cells) > MAX_ROWS:
        raise ClassListError(f"the list has more than {MAX_ROWS} rows: that is no class list")
    columns, notes = _columns(cells[0][1])
    if columns is None:
        return ClassList(tuple(_row(_without_header(values), line) for line, values in cells))
    rows = [_row(_named(columns, values), line) for line, values in cells[1:]]
    return ClassList(tuple(rows), notes)


def _text(data: bytes) -> str:
    """Spreadsheets write UTF-8 or UTF-16 with a mark, or the machine's old code page; logins are ASCII in each."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _cells(lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold anything, each with the number of the line that it begins on."""
    table = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, skipinitialspace=True, strict=True)
    begins = 1
    while True:
        try:
            values = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            raise ClassListError(f"line {begins}: this is no CSV ({error}); is a quote missing?") from error
        if any(value.strip() for value in values):
            yield begins, [value.strip() for value in values]
        begins = table.line_num + 1


def _columns(names: list[str]) -> tuple[dict[str, int] | None, tuple[str, ...]]:
    """Which column holds what, and a note on those left aside; None: the first row is a person already."""
    fields = [_FIELD_OF.get(re.sub(r"[\s-]+", "_", name.lower())) for name in names]
    if "login" not in fields and "id" not in fields:
        if "repository" not in fields and _LOGIN.fullmatch(_login(names[0])):
            return None, ()
        raise ClassListError(
            "the first line names neither a column 'login' nor 'id', and does not begin with a login: "
            "write login,repository there, for example"
        )
    found: dict[str, int] = {}
    for number, field in enumerate(fields):
        if field is not None and found.setdefault(field, number) != number:
            raise ClassListError(f"two columns name the {field}: {names[found[field]]!r} and {names[number]!r}")
    aside = [name for name, field in zip(names, fields, strict=True) if field is None and name]
    return found, (f"left aside: column {', '.join(aside)}",) if aside else ()


def _named(columns: dict[str, int], values: list[str]) -> dict[str, str]:
    return {field: values[number] for field, number in columns.items() if number < len(values)}


def _without_header(values: list[str]) -> dict[str, str]:
    second = values[1] if len(values) > 1 else ""
    repository = second if _FULL_NAME.fullmatch(second) or _REPOSITORY_PAGE.fullmatch(second) else ""
    return {"login": values[0], "repository": repository}


def _login(text: str) -> str:
    """A login as it is, with "@" before it, or as the address of a profile."""
    page = _PROFILE.fullmatch(text)
    return page[1] if page else text.removeprefix("@")


def _row(values: dict[str, str], line: int | None) -> Row:
    """One person, with the first thing that is wrong about the row."""
    login, number, repository = _login(values.get("login", "")), values.get("id", ""), values.get("repository", "")
    if login.endswith("[bot]"):
        return Row(line, login=login[:100], problem="is a bot: only people can be invited")
    if login and not _LOGIN.fullmatch(login):
        return Row(line, login=login[:100], problem="is no GitHub login")
    if number and not _NUMBER.fullmatch(number):
        return Row(line, login=login or number[:100], problem=f"{number[:30]!r} is no GitHub account id (a number)")
    page = _REPOSITORY_PAGE.fullmatch(repository)
    repository = page[1] if page else repository
    is_id = _NUMBER.fullmatch(repository) is not None
    row = Row(
        line,
        login=login or None,
        account_id=int(number) if number else None,
        repository=repository[:200] if repository and not is_id else None,
        repo_id=int(repository) if is_id else None,
    )
    if repository and not is_id and not _FULL_NAME.fullmatch(repository):
        return Row(line, login=row.asked, problem=f"{repository[:60]!r} is no repository: write OWNER/NAME")
    if not row.asked:
        return Row(line, problem="names nobody: neither login nor id")
    return row
