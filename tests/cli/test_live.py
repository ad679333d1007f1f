"""`make live` against the sandbox in place of github.com: its clicks, its story, its outcome, and that it cleans up."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from cli import live
from cli.demo_app import App
from cli.demo_story import SCENES, Redeliver
from cli.faults import CommandError
from cli.live_world import LiveWorld, live_world
from sandbox import Sandbox, SandboxError
from settings import Settings, child_environment
from tests.support.githost import seed
from tests.support.keys import private_key

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "https://stepgate.invalid/webhook"
ME = "learner-one"


@pytest.fixture(name="home")
def _home() -> Iterator[Path]:
    """A folder with a short path: git and sockets dislike the test runner's long ones."""
    home = Path(tempfile.mkdtemp(prefix="stepgate-live-"))
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(name="github")
async def _github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    """A GitHub that reaches nobody, with an account and an organisation; and nobody waits as for the real one."""
    monkeypatch.setattr(LiveWorld, "look_every", 0.5)
    monkeypatch.setattr(LiveWorld, "settle", 0.5)
    monkeypatch.setattr(LiveWorld, "greeting_timeout", 1.0)
    async with Sandbox(tmp_path / "github", webhook_url=NOWHERE, private_key_pem=private_key()) as sandbox:
        sandbox.add_account(ME)
        sandbox.add_account("octo-course", "Organization")
        sandbox.add_member("octo-course", ME)
        yield sandbox


def settings_for(github: Sandbox, **changes: object) -> Settings:
    """What the operator sets."""
    values: dict[str, object] = {
        "github_api_url": github.api_url,
        "github_web_url": github.url,
        "github_app_id": github.app_id,
        "github_private_key": SecretStr(github.private_key_pem),
        "live_token": SecretStr(github.personal_token(ME)),
    }
    return Settings(_env_file=None, **(values | changes))  # type: ignore[arg-type]


def repositories(github: Sandbox) -> set[str]:
    """Names of the repositories that there are, as the API's log of exchanges and the sandbox know them."""
    makers = ("/repos", "/forks", "/generate")
    asked = [each for each in github.exchanges if each.method == "POST" and each.operation.endswith(makers)]
    made = {str(exchange.response_json["full_name"]) for exchange in asked if exchange.status in (201, 202)}
    there = set()
    for name in made:
        try:
            there.add(github.repository(name).full_name)
        except SandboxError:
            continue
    assert made, "nothing was ever made"
    return there


async def click(github: Sandbox, told: list[str]) -> None:
    """The operator: does what the script says when it says so, and not before; other repositories first."""
    await seed(await github.add_repository(ME, "notes"), {"notes.md": "-\n"})
    while not any(f"{github.url}/apps/stepgate/installations/new" in line for line in told):
        await asyncio.sleep(0.1)
    installation = await github.install(ME, [f"{ME}/notes"])
    while not (asked := [name for line in told for name in re.findall(r"Let the App see (\S+);", line)]):
        await asyncio.sleep(0.1)
    await github.select(installation.id, add=asked)


@pytest.mark.timeout(300)
async def test_the_story_in_ones_own_account(
    fresh_database: str,
    home: Path,
    github: Sandbox,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without an organisation: it says where to click and waits, plays, reads the verdicts back, deletes everything."""
    outcomes: list[bool] = []
    told: list[str] = []
    first = SCENES[0]
    again = replace(
        first,
        name="again",
        actions=(Redeliver(first.name),),
        head=first.name,
        expect=replace(first.expect, verdict=None),
    )
    monkeypatch.setattr(live, "say", told.append)

    story = live._story(settings_for(github), fresh_database, home, outcomes, [first, again])
    try:
        await asyncio.wait_for(asyncio.gather(story, click(github, told)), 200)
    except TimeoutError:
        logs = "\n".join(file.read_text() for file in sorted(home.rglob("*.log")))
        pytest.fail(f"it does not come to an end: {told}\n{logs[-6000:]}")

    shown = capsys.readouterr().out
    assert outcomes == [True, True], shown
    assert told[-1].startswith("Everything that was made is deleted.")
    assert "Every line is as expected (2 in" in shown
    assert repositories(github) == set()
    assert any(len(delivery.attempts) > 1 for delivery in github.deliveries if delivery.event == "push")


async def test_a_difference_is_shown_and_everything_is_deleted(
    fresh_database: str,
    home: Path,
    github: Sandbox,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an organisation: the template is its, the learner's repository a fork; an idle App is found out.

    Everything is real but the App: its commands answer, and nobody judges.
    """

    async def nothing(*_words: object) -> str:
        return "[]"

    async def started(_app: App) -> None:
        (home / "serve.log").write_text("it does nothing\n")

    monkeypatch.setattr(LiveWorld, "answer_timeout", 1.0)
    monkeypatch.setattr(LiveWorld, "greeting_timeout", 0.0)
    monkeypatch.setattr(LiveWorld, "open_pages", nothing)
    monkeypatch.setattr(App, "start", started)
    monkeypatch.setattr(App, "command", nothing)
    await github.install(ME, "all")
    outcomes: list[bool] = []

    settings = settings_for(github, live_organization="octo-course")
    await live._story(settings, fresh_database, home, outcomes, None)

    told = capsys.readouterr()
    assert outcomes == [False, True]
    assert "UNEXPECTED  check-run: expected success, found none" in told.out
    assert "UNEXPECTED  new attempts: expected 1, found 0" in told.out
    assert "octo-course/stepgate-live-" in told.out
    assert any(exchange.operation.endswith("/forks") for exchange in github.exchanges)
    assert repositories(github) == set()


@pytest.mark.timeout(300)
async def test_ctrl_c_deletes_what_was_made(tmp_path: Path, github: Sandbox) -> None:
    """The whole program, with a database of its own: interrupted in the middle it deletes the template and says so."""
    await github.install(ME, "all")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.live", "--yes"),
        cwd=tmp_path,
        env=child_environment(
            PYTHONPATH=str(ROOT),
            GITHUB_API_URL=github.api_url,
            GITHUB_WEB_URL=github.url,
            GITHUB_APP_ID=str(github.app_id),
            GITHUB_PRIVATE_KEY=github.private_key_pem,
            LIVE_TOKEN=github.personal_token(ME),
        ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    while process.returncode is None and not any(each.operation == "/user/repos" for each in github.exchanges):
        await asyncio.sleep(0.1)
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
    _, err = await process.communicate()

    assert process.returncode == 1, err.decode()
    assert b"Everything that was made is deleted." in err
    assert b"Traceback" not in err
    assert repositories(github) == set()


async def test_what_cannot_be_deleted_is_named(fresh_database: str, home: Path, github: Sandbox) -> None:
    """A failure half-way leaves nothing unsaid: what GitHub would not delete is named with its address."""
    async with live_world(settings_for(github), home, fresh_database, tell=print) as here:
        await here.check()
        with pytest.raises(CommandError, match=r"labs add .* failed"):  # no migration was run: the App is not started
            await here.open_lab()
        (template,) = here.created

        def refuse(request: web.Request) -> web.Response | None:
            refused = {
                "message": "Organization members cannot delete repositories.",
                "documentation_url": "",
                "status": "403",
            }
            return web.json_response(refused, status=403) if request.method == "DELETE" else None

        github.faults.append(refuse)
        (left,) = await here.clean_up()
        assert left.startswith(f"{github.url}/{template.full_name}/settings: ")
        assert "cannot delete" in left
        github.faults.remove(refuse)
        here.created.append(template)
        assert await here.clean_up() == []

    assert repositories(github) == set()


async def test_a_repository_that_took_the_name_is_not_deleted(fresh_database: str, home: Path, github: Sandbox) -> None:
    """Only what was made by this run is deleted: another repository of the same name has another id."""
    async with live_world(settings_for(github), home, fresh_database, tell=print) as here:
        await here.check()
        repo = await here.learner.create_template("mine", organization=None, description="")
        await github.delete_repository("learner-one/mine")
        await github.add_repository(ME, "mine")
        here.created.append(repo)

        assert await here.clean_up() == []

    assert github.repository("learner-one/mine").id != repo.repo_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"live_token": SecretStr("ghp_wrong")}, "LIVE_TOKEN: GitHub does not accept this token"),
        ({"github_app_id": 7}, "The App cannot be found|GitHub refuses the App's key|404"),
    ],
)
async def test_a_wrong_token_or_app_is_said_before_anything_is_made(
    changes: dict[str, object], message: str, fresh_database: str, home: Path, github: Sandbox
) -> None:
    """What is wrong is named; GitHub is asked for nothing else."""
    async with live_world(settings_for(github, **changes), home, fresh_database, tell=print) as here:
        with pytest.raises(Exception, match=message):
            await here.check()

    assert [exchange for exchange in github.exchanges if exchange.method != "GET"] == []


async def test_a_token_without_the_scopes_is_refused(fresh_database: str, home: Path, github: Sandbox) -> None:
    """A token that could make repositories but not delete them would leave them behind."""
    weak = settings_for(github, live_token=SecretStr(github.personal_token(ME, scopes=["repo"])))
    async with live_world(weak, home, fresh_database, tell=print) as here:
        with pytest.raises(CommandError, match="LIVE_TOKEN lacks the scopes: delete_repo") as caught:
            await here.check()

    assert caught.value.status == 2


async def test_a_webhook_that_is_off_is_said(fresh_database: str, home: Path, github: Sandbox) -> None:
    """Without an address GitHub logs nothing, and the story would wait in vain."""
    github.webhook_url = None
    async with live_world(settings_for(github), home, fresh_database, tell=print) as here:
        with pytest.raises(CommandError, match=r"stepgate\.invalid"):
            await here.check()


async def test_an_organisation_without_the_right_is_named(fresh_database: str, home: Path, github: Sandbox) -> None:
    """A misspelt organisation, or one that the person has no right in, is the operator's setting."""
    settings = settings_for(github, live_organization="octo-nowhere")
    async with live_world(settings, home, fresh_database, tell=print) as here:
        await here.check()
        with pytest.raises(CommandError, match=r"octo-nowhere \(LIVE_ORGANIZATION\)"):
            await here.open_lab()

        assert here.created == []


async def test_the_app_never_gets_the_token(fresh_database: str, home: Path, github: Sandbox) -> None:
    """Neither the App's processes nor git's command line hold the personal token."""
    settings = settings_for(github)
    token = settings.live_token.get_secret_value() if settings.live_token else ""
    async with live_world(settings, home, fresh_database, tell=print) as here:
        assert token not in str(here.app.__dict__)
        await here.check()
        pusher = here._pusher()
        assert token not in repr(pusher)
        assert token not in str(pusher.access("https://github.example.com/a/b.git"))
    assert "LIVE_TOKEN" not in child_environment()


def run(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script with nothing but the given settings, and nobody at the terminal."""
    return subprocess.run(
        [sys.executable, "-m", "cli.live", *words],
        cwd=cwd,
        env=child_environment(PYTHONPATH=str(ROOT), **environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_configuration_it_says_what_is_missing(tmp_path: Path) -> None:
    """One line for each missing setting, exit status 2, and nothing else."""
    done = run(cwd=tmp_path)

    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split(" is missing")[0] for line in lines] == [
        "GITHUB_APP_ID", "GITHUB_PRIVATE_KEY or GITHUB_PRIVATE_KEY_PATH", "LIVE_TOKEN",
    ]  # fmt: skip
    assert all('("make live" needs it)' in line for line in lines)


def test_it_asks_before_anything_is_made(tmp_path: Path) -> None:
    """Without a terminal, as in CI, nothing is made unless --yes says so."""
    done = run(
        cwd=tmp_path,
        GITHUB_APP_ID="7",
        GITHUB_PRIVATE_KEY=private_key(),
        LIVE_TOKEN="ghp_x",
        GITHUB_API_URL="http://127.0.0.1:9/api/v3",
    )

    assert done.returncode == 1
    assert "two PUBLIC repositories" in done.stderr
    assert "Nothing was made." in done.stderr
    assert "ghp_x" not in done.stdout + done.stderr


async def test_git_sends_the_password_to_its_own_server_only(github: Sandbox) -> None:
    """The credentials are bound to the scheme, host and port of the remote."""
    from cli.demo_git import Person

    access = Person(ME, ME, password="s3cret").access(f"{github.url}/{ME}/notes.git")

    assert access["GIT_CONFIG_KEY_0"] == f"http.{github.url}/.extraHeader"
    assert isinstance(aiohttp.BasicAuth.decode(access["GIT_CONFIG_VALUE_0"].partition(": ")[2]), aiohttp.BasicAuth)


async def test_a_repository_that_is_being_made_is_deleted_too(fresh_database: str, home: Path, github: Sandbox) -> None:
    """An interruption while GitHub makes a repository waits for that, and forgets nothing."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(request: web.Request) -> None:
        if request.method == "POST":
            asked.set()
            await go_on.wait()

    github.faults.append(slowly)
    async with live_world(settings_for(github), home, fresh_database, tell=print) as here:
        await here.check()
        opening = asyncio.create_task(here.open_lab())
        await asked.wait()
        opening.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await opening

        assert len(here.created) == 1
        assert await here.clean_up() == []

    assert repositories(github) == set()
