"""The command line: quick help, clear lines for wrong use, answers for people and programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import Result

from tests.support.commands import invoke

ROOT = Path(__file__).resolve().parent.parent

# What takes long to import and no one needs who only asks for help (pydantic is not named: typer itself uses it).
HEAVY = {"aiohttp", "asyncpg", "cryptography", "gidgethub", "jinja2", "pydantic_settings", "re2", "structlog", "uvloop"}


def run(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python app.py WORDS` in `cwd` with nothing but the given settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, str(ROOT / "app.py"), *words],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def asked(*words: str, cwd: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Result:
    """What `run` gives, of a command that sets up no logging, in this process: a process costs a second each time."""
    monkeypatch.chdir(cwd)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return invoke(words)


def test_help_imports_nothing_heavy() -> None:
    """--help answers without importing servers, drivers, clients or models, whatever the command."""
    commands = [(), ("labs",), ("sessions", "list"), ("serve",), ("lab", "lint")]
    code = (
        "import contextlib, io, sys, runpy\n"
        f"for words in {commands!r}:\n"
        "    sys.argv = ['app.py', *words, '--help']\n"
        "    told = io.StringIO()\n"
        "    with contextlib.redirect_stdout(told):\n"
        "        try:\n"
        f"            runpy.run_path({str(ROOT / 'app.py')!r}, run_name='__main__')\n"
        "        except SystemExit as stop:\n"
        "            assert stop.code in (0, None), stop.code\n"
        "    assert 'Usage: app.py ' + ' '.join(words) in told.getvalue(), told.getvalue()\n"
        f"    print(words, sorted({HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.splitlines() == [f"{words} []" for words in commands]


WRONG_USE = [
    ("frobnicate",),
    ("web", "--prot", "80"),
    ("labs", "add"),
    ("labs", "add", "no-slash"),
    ("labs", "add", "octo-course/lab", "--slug", "Not A Slug"),
    ("labs", "add", "octo-course/lab", "--enrolment", "maybe"),
    ("sessions", "show", "not-a-uuid"),
    ("deadletters", "retry", "soon"),
    ("sandbox", "--port", "70000"),
]


@pytest.mark.parametrize("words", WRONG_USE)
def test_wrong_use_is_explained_with_status_2(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown command, option or value is explained on standard error, exit status 2."""
    done = asked(*words, cwd=tmp_path, monkeypatch=monkeypatch)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("web", "--prot", "80"), ("labs", "add", "no-slash")])
def test_a_process_ends_with_the_same_status(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong use that the parser finds, and such that a command finds, ends the real program as it ends here."""
    here = asked(*words, cwd=tmp_path, monkeypatch=monkeypatch)

    done = run(*words, cwd=tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", here.stderr)


def test_a_missing_setting_is_one_line_with_status_2(tmp_path: Path) -> None:
    """A command without its settings names each of them in a line, and does nothing else."""
    done = run("worker", cwd=tmp_path)

    assert done.returncode == 2
    assert [line.split(" is missing")[0] for line in done.stderr.splitlines()] == [
        "GITHUB_APP_ID",
        "GITHUB_PRIVATE_KEY or GITHUB_PRIVATE_KEY_PATH",
    ]
    assert not (tmp_path / ".stepgate").exists()


def test_a_wrong_setting_is_one_line_with_status_2(tmp_path: Path) -> None:
    """A setting out of range names its variable."""
    done = run("migrate", cwd=tmp_path, PORT="eighty")

    assert done.returncode == 2
    assert done.stderr.startswith("PORT: ")
    assert done.stderr.count("\n") == 1


def test_an_unreachable_database_is_one_line_with_status_1(tmp_path: Path) -> None:
    """A database that is away is the operator's to repair: one line, without the password."""
    dsn = "postgresql://stepgate:hunter22@127.0.0.1:9/stepgate"

    done = run("labs", "list", cwd=tmp_path, DATABASE_URL=dsn)

    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hunter22" not in done.stderr


def test_an_old_schema_is_refused(postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a database that was never migrated a command says what to run, and writes nothing."""
    done = asked("labs", "list", cwd=tmp_path, monkeypatch=monkeypatch, DATABASE_URL=postgres_dsn)

    assert done.exit_code == 1
    assert "python app.py migrate" in done.stderr


def test_migrate_twice(fresh_database: str, tmp_path: Path) -> None:
    """`migrate` on a database that is up to date changes nothing and succeeds."""
    done = run("migrate", cwd=tmp_path, DATABASE_URL=fresh_database)

    assert (done.returncode, done.stderr) == (0, "The schema is up to date.\n")


@pytest.mark.parametrize("words", [("labs", "list"), ("sessions", "list"), ("deadletters", "list")])
def test_lists_of_an_empty_database(
    words: tuple[str, ...], fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing to show, people get a sentence and programs an empty list."""
    people = asked(*words, cwd=tmp_path, monkeypatch=monkeypatch, DATABASE_URL=fresh_database)
    programs = asked(*words, "--json", cwd=tmp_path, monkeypatch=monkeypatch)

    assert people.exit_code == 0
    assert people.stdout.startswith("There is no ")
    assert json.loads(programs.stdout) == []


@pytest.mark.parametrize(
    "words",
    [
        ("sessions", "show", "00000000-0000-4000-8000-000000000000"),
        ("deadletters", "retry", "1"),
    ],
)
def test_what_is_not_there_is_said_with_status_2(
    words: tuple[str, ...], fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id that nothing has is the caller's mistake: one line, exit status 2."""
    done = asked(*words, cwd=tmp_path, monkeypatch=monkeypatch, DATABASE_URL=fresh_database)

    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1


def test_without_a_database_an_embedded_one_is_used(tmp_path: Path) -> None:
    """Without DATABASE_URL the data goes to STEPGATE_HOME, migrated, and the notice says where it is."""
    tmp_path.chmod(0o755)

    done = run("labs", "list", "--json", cwd=tmp_path, STEPGATE_HOME=str(tmp_path / "home"))

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert "PostgreSQL's data is in " in done.stderr
