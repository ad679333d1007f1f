"""`app.py doctor` as a whole: at a sandbox, with a real database, as a command and in this process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import settings
from bot.registry import add_lab, publish_lab
from cli import doctor
from cli.connect import github_of
from cli.doctor_github import Needed
from sandbox import Sandbox, new_private_key
from settings import Settings, SettingsError
from storage.database import open_pool
from storage.migrate import available
from tests.support.deliveries import commit
from tests.support.fault_server import FaultServer, Reply
from tests.support.githost import seed
from tests.support.keys import private_key

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "examples" / "lab-template"
SECRET = "5f1d2c3b4a59687706152433425160af"


@dataclass
class Clinic:
    """A sandbox with a lab, and settings that fit it. `folder`: where the command is run."""

    sandbox: Sandbox
    dsn: str
    folder: Path

    def environment(self, **changes: str) -> dict[str, str]:
        """A complete configuration, with changes."""
        return {
            "DATABASE_URL": self.dsn,
            "GITHUB_API_URL": self.sandbox.api_url,
            "GITHUB_WEB_URL": self.sandbox.url,
            "GITHUB_APP_ID": str(self.sandbox.app_id),
            "GITHUB_PRIVATE_KEY": self.sandbox.private_key_pem.replace("\n", "\\n"),
            "GITHUB_WEBHOOK_SECRET": SECRET,
            "GITHUB_CLIENT_ID": self.sandbox.client_id,
            "GITHUB_CLIENT_SECRET": self.sandbox.client_secret,
            "SESSION_KEY": SECRET,
            "STAFF": "5",
            "PUBLIC_URL": "http://127.0.0.1:9",
            **changes,
        }

    async def doctor(self, *words: str, **changes: str) -> tuple[int, str, str]:
        """Run the command with the settings; exit status, standard output and error."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "app.py"),
            "doctor",
            *words,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], **self.environment(**changes)},
            stdout=-1,
            stderr=-1,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def findings(self, **changes: str) -> dict[str, list[tuple[str, str]]]:
        """What the doctor finds when asked in this process: level and text by check."""
        fields: dict[str, Any] = {name.lower(): value for name, value in self.environment(**changes).items()}
        settings = Settings(_env_file=None, **fields)
        database = doctor._Database(fields["database_url"], embedded=False)
        found: dict[str, list[tuple[str, str]]] = {}
        for finding in await doctor._examine(settings, database):
            found.setdefault(finding.check, []).append((finding.level.value, finding.what))
        return found


@pytest.fixture(name="clinic")
async def _clinic(fresh_database: str, tmp_path: Path) -> AsyncIterator[Clinic]:
    """A published lab at a sandbox whose App asks for what app.yml says."""
    needed = Needed.read(workflow=False)
    async with Sandbox(
        tmp_path / "github",
        webhook_url="http://127.0.0.1:9/webhook",
        events=[event.name for event in needed.events],
        permissions=needed.levels(),
        private_key_pem=private_key(),
    ) as sandbox:
        sandbox.add_account("octo-course", "Organization")
        template = await sandbox.add_repository("octo-course", "lab")
        await seed(template, {str(p.relative_to(TEMPLATE)): p.read_bytes() for p in TEMPLATE.rglob("*") if p.is_file()})
        await sandbox.install("octo-course", ["octo-course/lab"])
        await sandbox.idle()
        plain = Settings(
            _env_file=None,
            github_api_url=sandbox.api_url,
            github_app_id=sandbox.app_id,
            github_private_key=sandbox.private_key_pem,
        )
        folder = tmp_path / "here"
        folder.mkdir()
        async with github_of(plain) as github:
            pool = await open_pool(fresh_database, max_size=2)
            await publish_lab(pool, github, await add_lab(pool, github, "octo-course/lab"))
            await pool.close()
        yield Clinic(sandbox, fresh_database, folder)


async def test_a_class_that_is_set_up(clinic: Clinic) -> None:
    """All checks are made; only the webhook, at whose address nobody is, fails, and so the exit status is 1."""
    status, out, err = await clinic.doctor()

    lines = out.splitlines()
    failed = [line for line in lines if line.startswith("FAIL")]
    assert (status, len(failed), err) == (1, 1, ""), out
    assert "the newest delivery failed" in failed[0]
    assert [line for line in lines if line.startswith("warn")] == []
    for words in ("settings:", "PostgreSQL 1", "schema", "free at", "clock", "accepts the key", "app.yml", "public"):
        assert any(words in line for line in lines), words
    assert any("lab lab: version 1 is what octo-course/lab at" in line for line in lines)
    assert any("installed on 1 account" in line for line in lines)


async def test_all_is_well_without_a_public_address(clinic: Clinic) -> None:
    """For `serve --poll` nothing is missing: warnings are allowed, the exit status is 0, and JSON says the same."""
    clinic.sandbox.webhook_url = "https://stepgate.invalid/webhook"

    status, out, err = await clinic.doctor("--json", PUBLIC_URL="", GITHUB_WEBHOOK_SECRET="")

    found = json.loads(out)
    assert (status, err) == (0, "")
    assert {finding["level"] for finding in found} == {"ok", "warn"}
    assert {"settings", "address", "database", "migrations", "disk", "clock", "key", "webhook", "labs"} <= {
        finding["check"] for finding in found
    }
    assert all(finding["remedy"] for finding in found if finding["level"] == "warn")


async def test_wrong_settings_are_told_and_the_rest_is_checked(clinic: Clinic) -> None:
    """Each wrong setting is a line, without its value and without a traceback; what can be checked still is."""
    status, out, err = await clinic.doctor(PORT="80a", STAFF="1,learner-one", GITHUB_APP_ID="soon")

    failed = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert (status, err) == (2, "")
    assert [next(n for n in ("PORT", "GITHUB_APP_ID", "STAFF") if n in line) for line in failed] == [
        "PORT",
        "GITHUB_APP_ID",
        "STAFF",
    ]
    assert "soon" not in out
    assert "STAFF is empty" not in out
    assert "the schema is up to date" in out
    assert "clock agrees" in out


async def test_github_away_is_one_line(clinic: Clinic) -> None:
    """When nothing answers at GitHub's address that is said once, and the rest is checked."""
    found = await clinic.findings(GITHUB_API_URL="http://127.0.0.1:9/api/v3")

    assert list(found) == ["database", "migrations", "disk", "github"]
    assert [level for level, _ in found["github"]] == ["FAIL"]


async def test_checks_that_github_leaves_unanswered_are_one_line(clinic: Clinic) -> None:
    """When GitHub knows the App but answers nothing else, the checks that were not made are named in one line."""

    def fault(request: web.Request) -> web.Response | None:
        away = request.path.startswith("/api/v3/") and request.path not in ("/api/v3/app", "/api/v3/meta")
        return web.json_response({"message": "Server Error"}, status=502) if away else None

    clinic.sandbox.faults.append(fault)
    found = await clinic.findings()

    ((level, what),) = found["github"]
    assert level == "FAIL"
    assert all(name in what for name in ("webhook", "installations", "lab lab"))
    assert found["key"][0][0] == "ok"


async def test_a_foreign_key_is_refused(clinic: Clinic) -> None:
    """App id and key that do not belong together are one line with the page to open."""
    found = await clinic.findings(GITHUB_PRIVATE_KEY=new_private_key())

    assert [level for level, _ in found["key"]] == ["FAIL"]
    assert "labs" not in found


async def test_a_database_that_is_away_is_one_line(clinic: Clinic) -> None:
    """An unreachable database fails, its password is not shown, and GitHub is checked all the same."""
    found = await clinic.findings(DATABASE_URL="postgresql://staff:hunter22@127.0.0.1:9/course")

    assert [level for level, _ in found["database"]] == ["FAIL"]
    assert "hunter22" not in str(found)
    assert found["key"][0][0] == "ok"


async def test_a_database_without_schema_needs_migrating(clinic: Clinic) -> None:
    """A database that was never migrated fails with the command to run, and its labs are not asked for."""
    pool = await open_pool(clinic.dsn, max_size=1)
    await pool.execute("DROP TABLE schema_migration")
    await pool.close()

    found = await clinic.findings()

    assert found["migrations"] == [("FAIL", f"the database lacks {len(available())} migrations, from 0001 on")]
    assert "labs" not in found


@pytest.mark.parametrize(
    ("content", "level", "words"),
    [
        ('{"version": 1}', "warn", "line 1"),
        ("nonsense", "warn", "line 1"),
    ],
)
async def test_a_broken_steps_file_is_told_by_line(clinic: Clinic, content: str, level: str, words: str) -> None:
    """The file at the head of the template's branch is read; learners go on with the published version."""
    await _commit(clinic, {".forgea/steps.json": content})

    ((found, what),) = (await clinic.findings())["labs"]

    assert found == level
    assert words in what


async def test_newer_rules_than_the_published_ones_are_told(clinic: Clinic) -> None:
    """A head whose rules differ from the published version is a warning that names the command."""
    text = (TEMPLATE / ".forgea" / "steps.json").read_text()
    content = json.loads(text)
    content["title"] = "Another title"
    await _commit(clinic, {".forgea/steps.json": json.dumps(content)})

    ((level, what),) = (await clinic.findings())["labs"]

    assert level == "warn"
    assert "newer than version 1" in what


async def test_a_template_that_is_gone_fails(clinic: Clinic) -> None:
    """A lab whose template cannot be read is a failure of that lab only."""
    await clinic.sandbox.delete_repository("octo-course/lab")

    ((level, what),) = (await clinic.findings())["labs"]

    assert level == "FAIL"
    assert "octo-course/lab" in what


async def _commit(clinic: Clinic, files: dict[str, str | bytes]) -> None:
    """Put a commit on the template's branch."""
    await commit(clinic.sandbox.repository("octo-course/lab"), files)


async def test_an_installation_that_did_not_accept_is_counted(clinic: Clinic) -> None:
    """When the App asks for more than at the time of an installation, its owner has to accept: counted, by name."""
    for installation in clinic.sandbox._core.state.installations.values():
        installation.permissions = {**installation.permissions, "statuses": "read"}

    ((level, what),) = (await clinic.findings())["installations"]

    assert level == "warn"
    assert "1 of 1 installation did not accept the App's new permissions: octo-course" in what


async def test_a_silent_github_does_not_hold_up_the_doctor(clinic: Clinic) -> None:
    """A GitHub that answers nonsense is told as such."""
    async with FaultServer() as server:
        server.on("GET", "/app", Reply(200, body=b"<html>", content_type="text/html"))

        found = await clinic.findings(GITHUB_API_URL=server.url)

    assert [level for level, _ in found["github"]] == ["FAIL"]


async def test_an_embedded_database_is_looked_at_without_being_made(clinic: Clinic) -> None:
    """A doctor creates nothing: without a database yet it says where one will be."""
    home = clinic.folder / "home"

    _, out, _ = await clinic.doctor(DATABASE_URL="", STEPGATE_HOME=str(home))

    assert "no database yet" in out
    assert not home.exists()


# ----------------------------------------------------------------------------------------------------------- settings


@pytest.fixture(name="bare")
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any setting."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_a_wrong_setting_counts_as_absent(bare: pytest.MonkeyPatch) -> None:
    """What is right is kept, what is wrong is told once and left out, what is missing is told as well."""
    bare.setenv("PORT", "80a")
    bare.setenv("GITHUB_WEBHOOK_SECRET", "secret")
    bare.setenv("CHECK_NAME", "course/steps")

    found, lines = settings.examine("serve")

    assert (found.check_name, found.port, found.github_webhook_secret) == ("course/steps", 8000, None)
    assert [line.partition(":")[0].partition(" ")[0] for line in lines] == [
        "PORT",
        "GITHUB_WEBHOOK_SECRET",
        "GITHUB_APP_ID",
        "GITHUB_PRIVATE_KEY",
    ]


def test_a_private_key_that_is_given_twice_or_cannot_be_read_is_told(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both are the operator's to repair; the other settings are still usable."""
    bare.setenv("GITHUB_APP_ID", "7")
    bare.setenv("GITHUB_WEBHOOK_SECRET", SECRET)
    bare.setenv("GITHUB_PRIVATE_KEY_PATH", str(tmp_path / "none.pem"))
    found, unreadable = settings.examine("serve")
    assert found.github_private_key_path is None

    bare.setenv("GITHUB_PRIVATE_KEY", new_private_key())
    _, twice = settings.examine("serve")

    assert [line.partition(":")[0] for line in unreadable] == ["GITHUB_PRIVATE_KEY_PATH"]
    assert "both set" in twice[0]


def test_an_env_file_that_is_no_text_is_one_error(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the file nothing can be examined: that is said, and nothing else."""
    (tmp_path / ".env").write_bytes(b"\xff\xfe")

    with pytest.raises(SettingsError, match=r"^\.env: "):
        settings.examine("serve")
    assert doctor.doctor(as_json=False) == 2
