"""`app.py labs ...` as an operator runs it: output, exit status, and what docs/classes.md promises."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import Result

from cli.lab_options import moment
from sandbox import Sandbox
from tests.support.commands import invoke
from tests.support.githost import seed
from tests.support.keys import private_key
from tests.support.learners import lab_file, template_files

DOCUMENT = Path(__file__).parents[2] / "docs" / "classes.md"


WRONG_USE = [
    (("publish",), "name one lab, or say --all"),
    (("publish", "closures", "--all"), "name one lab, or say --all"),
    (("invite", "closures"), "either LOGIN... or --csv FILE"),
    (("invite", "closures", "learner-one", "--csv", "-"), "either LOGIN... or --csv FILE"),
    (("invite", "closures", "--csv", "nowhere.csv"), "nowhere.csv cannot be read"),
    (("invite", "nothing", "learner-one"), "there is no lab 'nothing'"),
    (("show", "nothing"), "there is no lab 'nothing'"),
    (("edit", "nothing", "--deadline", "none"), "there is no lab 'nothing'"),
    (("edit", "closures"), "--enrolment or --deadline"),
    (("edit", "closures", "--enrolment", "open", "--also-running"), "name --deadline too"),
    (("edit", "closures", "--deadline", "soon"), "must be a date such as"),
    (("edit", "closures", "--enrolment", "maybe"), "must be open, invited or closed"),
]


@dataclass(frozen=True)
class Operator:
    """An operator at a terminal, and the GitHub that the commands speak to."""

    sandbox: Sandbox

    async def labs(self, *words: str, text: bytes = b"") -> Result:
        """Run `python app.py labs WORDS` with this standard input."""
        return await asyncio.to_thread(invoke, ["labs", *words], text=text)

    async def works(self, *words: str, text: bytes = b"") -> Result:
        """Run a command that must end well."""
        done = await self.labs(*words, text=text)
        assert done.exit_code == 0, done.output
        return done


@pytest.fixture(name="operator")
async def _operator(fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operator]:
    """An App that is configured and installed on a course with the example lab as template; two learners."""
    async with Sandbox(tmp_path / "github", private_key_pem=private_key()) as sandbox:
        sandbox.add_account("octo-course", "Organization")
        for login in ("learner-one", "learner-two"):
            sandbox.add_account(login)
        template = await sandbox.add_repository("octo-course", "closures")
        await seed(template, template_files())
        await sandbox.install("octo-course", "all")
        for name, value in {
            "DATABASE_URL": fresh_database,
            "GITHUB_API_URL": sandbox.api_url,
            "GITHUB_WEB_URL": sandbox.url,
            "GITHUB_APP_ID": str(sandbox.app_id),
            "GITHUB_PRIVATE_KEY": sandbox.private_key_pem,
            "PUBLIC_URL": "https://stepgate.example.com",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield Operator(sandbox)


async def test_a_lab_from_nothing_to_its_learners(operator: Operator) -> None:
    """add, publish, list, show: each says what is so and what to do next."""
    nothing = await operator.works("list")
    assert "There is no lab yet" in nothing.stdout

    added = await operator.works("add", "octo-course/closures", "--enrolment", "invited", "--deadline", "2030-12-20")
    assert added.stdout == ""
    assert (
        "octo-course/closures is lab closures: 'The word counter that counts spaces', 5 steps, enrolment invited"
        in added.stderr
    )
    assert "Deadline: 2030-12-20 23:59:59 UTC" in added.stderr
    for following in ("labs publish closures", "labs invite closures", "https://stepgate.example.com/join/closures"):
        assert following in added.stderr

    unpublished = await operator.works("show", "closures")
    assert "Not published yet: python app.py labs publish closures" in unpublished.stdout
    assert "closures: version 1 at" in (await operator.works("publish", "closures")).stderr
    await operator.works("invite", "closures", "learner-one")
    shown = await operator.works("show", "closures")
    for words in ("https://stepgate.example.com/join/closures", "1, of whom 1 have not started", "2030-12-20 23:59:59"):
        assert words in shown.stdout

    document = json.loads((await operator.works("show", "closures", "--json")).stdout)
    assert document["people"]["not_started"] == 1
    assert document["versions"][0]["steps"] == len(document["steps"]) == 5
    assert document["steps"][2]["needs"] == ["fix"]
    (row,) = json.loads((await operator.works("list", "--json")).stdout)
    assert (row["slug"], row["version"], row["enrolment"]) == ("closures", 1, "invited")


async def test_problems_of_the_rules_are_printed_with_their_places(operator: Operator) -> None:
    """Every problem is a line with line, column and code; nothing is stored; the status is 1."""
    broken = await operator.sandbox.add_repository("octo-course", "broken")
    await seed(broken, {".forgea/steps.json": lab_file({"files": ["a"], "needs": ["s7"]}, {"fils": ["b"]})})

    done = await operator.labs("add", "octo-course/broken")

    assert done.exit_code == 1
    *problems, total = done.stderr.splitlines()
    assert len(problems) >= 2
    assert all(re.match(r"steps\.json:\d+:\d+: [A-Z]+\d+ ", line) for line in problems)
    assert "nothing was published" in total
    assert json.loads((await operator.works("list", "--json")).stdout) == []


async def test_publishing_everything_goes_on_past_a_broken_lab(operator: Operator) -> None:
    """--all publishes what it can, names what it cannot, and ends with 1."""
    broken = await operator.sandbox.add_repository("octo-course", "before")
    await seed(broken, template_files())
    for name in ("before", "closures"):
        await operator.works("add", f"octo-course/{name}")
    await operator.sandbox.delete_repository("octo-course/before")

    done = await operator.labs("publish", "--all")

    assert done.exit_code == 1
    assert "before: octo-course/before cannot be read" in done.stderr
    assert "closures: version 1" in done.stderr


async def test_wrong_use(operator: Operator) -> None:
    """What cannot be meant is explained, with status 2."""
    for words, sentence in WRONG_USE:
        done = await operator.labs(*words)

        assert done.exit_code == 2, words
        assert sentence in re.sub(r"[\s│]+", " ", done.stderr), words


async def test_a_class_list_with_problems(operator: Operator) -> None:
    """Lines with problems are printed and end with 1, the good ones are stored; a file that is none ends with 2."""
    await operator.works("add", "octo-course/closures")
    text = b"login;seat\r\nlearner-one;1\r\nocto-two;2\r\n\x1b[31mred;3\r\n"

    done = await operator.labs("invite", "closures", "--csv", "-", text=text)

    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "left aside: column seat",
        "line 3: octo-two: unknown on GitHub (misspelt? renamed?)",
        "line 4: \N{REPLACEMENT CHARACTER}[31mred: is no GitHub login",
    ]
    assert done.stderr == "1 invited, 2 with a problem\n"
    again = json.loads((await operator.labs("invite", "closures", "--csv", "-", "--json", text=text)).stdout)
    assert again["counts"] == {"already": 1, "problem": 2}
    assert again["lines"][0]["login"] == "learner-one"
    assert (await operator.labs("invite", "closures", "--csv", "-", text=b"first name\nAda L\n")).exit_code == 2


async def test_taking_back_an_invitation(operator: Operator) -> None:
    """Who was invited is not any more; who was not ends with 1."""
    await operator.works("add", "octo-course/closures")
    await operator.works("invite", "closures", "learner-one")

    done = await operator.works("uninvite", "closures", "learner-one")
    assert done.stdout == "learner-one: not invited any more\n"
    again = await operator.labs("uninvite", "closures", "learner-one", "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout) == [{"line": None, "asked": "learner-one", "outcome": "none"}]


async def test_the_document_can_be_followed(operator: Operator, tmp_path: Path) -> None:
    """Every `labs` command of docs/classes.md works in its order, with the class list that stands there."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (table,) = re.findall(r"```csv\n(.*?)```", text, re.DOTALL)
    (tmp_path / "class.csv").write_text(table, encoding="utf-8")
    commands = [
        shlex.split(line.removeprefix("python app.py labs "))
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("python app.py labs ")  # those of sessions: tests/cli/test_sessions.py, tests/test_docs.py
    ]
    assert len(commands) == 9

    outcomes = {" ".join(words): await operator.works(*words) for words in commands}

    assert outcomes["invite closures --csv class.csv --dry-run"].stderr == "2 would be invited; nothing was stored\n"
    assert outcomes["invite closures --csv class.csv"].stderr == "2 invited\n"
    assert outcomes["invite closures learner-one learner-two"].stderr == "2 already invited\n"
    edited = outcomes["edit closures --deadline 2030-12-22T18:00+01:00 --also-running"].stderr
    assert edited == (
        "closures: enrolment closed, deadline 2030-12-22 17:00:00 UTC\n0 running sessions moved to the new deadline\n"
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2030-12-20", datetime(2030, 12, 20, 23, 59, 59, tzinfo=UTC)),
        ("2030-12-20T18:00", datetime(2030, 12, 20, 18, tzinfo=UTC)),
        ("2030-12-20T18:00+01:00", datetime(2030, 12, 20, 17, tzinfo=UTC)),
    ],
)
def test_moments(text: str, meant: datetime) -> None:
    """A date is the end of that day, a time without offset UTC."""
    assert moment(text) == meant
