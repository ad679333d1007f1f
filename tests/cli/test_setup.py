"""cli/setup.py: an App's credentials are written so that only we can read them, and `serve` goes on with them."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr

from cli.setup import Credentials
from github.manifest import Registered, Wanted
from rules.model import Account, AccountKind
from sandbox import Sandbox
from sandbox.core import new_private_key
from settings import Settings, load
from tests.support.clicking import clicking
from web.setup_form import Choice
from web.setup_state import NotKeptError

ROOT = Path(__file__).parents[2]
PEM = new_private_key()
REGISTERED = Registered(
    app_id=7,
    slug="stepgate-test",
    name="Stepgate-test",
    page="https://github.example.com/apps/stepgate-test",
    owner=Account(31, "octo-staff", AccountKind.USER),
    client_id="Iv23liexample",
    client_secret=SecretStr("0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c"),
    webhook_secret=SecretStr("5f1d2c3b4a59687706152433425160af"),
    private_key=SecretStr(PEM),
)
WANTED = Wanted(
    web_url="https://github.com",
    api_url="https://api.github.com",
    here="http://127.0.0.1:8000",
    name="Stepgate-test",
    public_url="https://gate.example.org",
)
CHOICE = Choice(WANTED, to_file=True)
GHES = Choice(
    replace(WANTED, web_url="https://github.example.com", api_url="https://github.example.com/api/v3"), to_file=True
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from the machine that runs the test."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def credentials(folder: Path) -> Credentials:
    """What writes into `folder`, knowing the settings as they are now."""
    return Credentials(folder, load("setup"))


def mode(path: Path) -> int:
    """A file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


# -------------------------------------------------------------------------------------------------------------- files


def test_what_is_written_is_a_complete_configuration(tmp_path: Path) -> None:
    """`serve` loads with nothing else, and the files are ours alone, whatever the umask."""
    before = os.umask(0o277)
    try:
        files = credentials(tmp_path).keep(REGISTERED, CHOICE)
    finally:
        os.umask(before)

    found = load("serve")
    assert sorted(files) == sorted(path.name for path in tmp_path.iterdir())
    assert [mode(tmp_path / name) for name in files] == [0o600, 0o600]
    assert (found.app_id(), found.private_key()) == (7, PEM)
    assert found.webhook_secrets() == ("5f1d2c3b4a59687706152433425160af",)
    assert found.github_client_id == "Iv23liexample"
    assert found.github_client_secret is not None
    assert found.github_client_secret.get_secret_value() == REGISTERED.client_secret.get_secret_value()
    assert found.session_key is not None
    assert (found.public_url, found.staff) == ("https://gate.example.org", (31,))
    assert found.github_web_url is None


def test_enterprise_server_is_written_too(tmp_path: Path) -> None:
    """Another GitHub than the settings name is named by the file."""
    credentials(tmp_path).keep(REGISTERED, GHES)

    found = load("serve")
    assert (found.github_api_url, found.web_url) == ("https://github.example.com/api/v3", "https://github.example.com")


def test_an_organisation_is_not_staff(tmp_path: Path) -> None:
    """The owner of an organisation's App is no person: STAFF is left to the operator."""
    course = Account(32, "octo-course", AccountKind.ORGANIZATION)

    credentials(tmp_path).keep(replace(REGISTERED, owner=course), CHOICE)

    assert load("serve").staff == ()


def test_what_is_set_already_stays(tmp_path: Path) -> None:
    """Lines of `.env` are kept as they are, and what they say is not said again; the file becomes ours alone."""
    env = tmp_path / ".env"
    text = "# mine\nSTAFF=5\nSESSION_KEY=0123456789abcdef0123456789abcdef\nGITHUB_APP_ID=\nPORT=8123"
    env.write_text(text, encoding="utf-8")
    env.chmod(0o644)

    credentials(tmp_path).keep(REGISTERED, CHOICE)

    found = load("serve")
    assert env.read_text(encoding="utf-8").startswith(f"{text}\n")
    assert env.read_text(encoding="utf-8").count("SESSION_KEY") == 1
    assert (found.staff, found.port, found.app_id()) == ((5,), 8123, 7)
    assert mode(env) == 0o600


def test_odd_characters_survive(tmp_path: Path) -> None:
    """A secret with quotes, spaces, number signs, dollars and backslashes is read back as it was."""
    odd = "a 'b' \"c\" #d $e \\n \\' f="

    credentials(tmp_path).keep(replace(REGISTERED, client_secret=SecretStr(odd)), CHOICE)

    found = load("serve").github_client_secret
    assert found is not None
    assert found.get_secret_value() == odd


def _world_writable(folder: Path) -> None:
    folder.chmod(0o777)


def _key_is_there(folder: Path) -> None:
    (folder / "stepgate.private-key.pem").write_text("another key", encoding="utf-8")


def _key_is_a_dangling_link(folder: Path) -> None:
    (folder / "stepgate.private-key.pem").symlink_to(folder / "elsewhere")


def _env_is_a_link(folder: Path) -> None:
    (folder / "real").write_text("PORT=8123\n", encoding="utf-8")
    (folder / ".env").symlink_to(folder / "real")


def _env_names_an_app(folder: Path) -> None:
    (folder / ".env").write_text("GITHUB_CLIENT_ID=Iv1another\n", encoding="utf-8")


def _env_is_no_text(folder: Path) -> None:
    (folder / ".env").write_bytes(b"PORT=\xff\xfe\n")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_world_writable, "chmod o-w"),
        (_key_is_there, "keys are not overwritten"),
        (_key_is_a_dangling_link, "keys are not overwritten"),
        (_env_is_a_link, "not a plain file"),
        (_env_names_an_app, "configured already"),
        (_env_is_no_text, ".env"),
    ],
)
def test_nothing_is_overwritten(tmp_path: Path, spoil: object, told: str) -> None:
    """A folder that is no place for secrets is refused with the remedy, before GitHub is asked and at last; nothing in
    it is changed."""
    keeper = credentials(tmp_path)
    assert keeper.problem() is None
    assert callable(spoil)
    spoil(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.exists()}

    problem = keeper.problem()
    with pytest.raises(NotKeptError, match=told):
        keeper.keep(REGISTERED, CHOICE)

    assert problem is not None
    assert told in problem
    assert "elsewhere" in problem
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.exists()} == before


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If `.env` cannot be put in its place, the key is taken away again and no temporary file stays."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)

    with pytest.raises(NotKeptError, match="No space left on device"):
        credentials(tmp_path).keep(REGISTERED, CHOICE)

    assert list(tmp_path.iterdir()) == []


def test_the_lines_are_a_complete_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set as variables as they stand, the lines are all that `serve` needs; nothing is written."""
    for line in credentials(tmp_path).lines(REGISTERED, CHOICE):
        name, _, value = line.partition("=")
        assert "\n" not in value
        monkeypatch.setenv(name, value)

    found = load("serve")
    assert (found.app_id(), found.private_key(), found.staff) == (7, PEM, (31,))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------- the start


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def app(*words: str, cwd: Path, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python app.py WORDS` with nothing but the given settings; ended with the block."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "app.py"), *words),
        cwd=cwd,
        env={**kept, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.communicate(), 20)
        except TimeoutError:
            process.kill()


async def said(process: asyncio.subprocess.Process, pattern: str) -> re.Match[str]:
    """The first line on standard error that matches; what else was said if it ends without."""
    assert process.stderr is not None
    seen = ""
    async with asyncio.timeout(30):
        while line := (await process.stderr.readline()).decode():
            seen += line
            if found := re.search(pattern, line):
                return found
    raise AssertionError(f"never said {pattern}:\n{seen}")


async def ready(address: str) -> Mapping[str, object]:
    """The App's answer to /readyz, as soon as it says that it is ready."""
    async with asyncio.timeout(40), aiohttp.ClientSession() as http:
        while True:
            with suppress(aiohttp.ClientConnectionError):
                async with http.get(f"{address}/readyz") as response:
                    answer: dict[str, object] = await response.json()
                    if response.status == 200:
                        return answer
            await asyncio.sleep(0.1)


@pytest.mark.timeout(110)
async def test_from_an_empty_folder_to_a_running_app(fresh_database: str, tmp_path: Path) -> None:
    """`serve` without settings prints a link; following the forms makes the App at GitHub and writes the file; then the
    same process serves as that App, GitHub accepts its key, and /setup is gone."""
    folder = tmp_path / "home"
    folder.mkdir()
    address = f"http://127.0.0.1:{free_port()}"
    port = address.rpartition(":")[2]
    async with Sandbox(tmp_path / "github", registered=False) as sandbox:
        sandbox.add_account("octo-staff")
        async with (
            app("serve", cwd=folder, DATABASE_URL=fresh_database, PORT=port) as process,
            clicking() as browser,
        ):
            link = (await said(process, rf"{address}/setup\?token=\S+"))[0]
            await browser.open(f"{sandbox.url}/login")
            await browser.press("Sign in as octo-staff")
            await browser.open(link)
            await browser.press("Go on", {"name": "Stepgate-test", "github": sandbox.url, "public_url": address})
            await browser.press("Create it on GitHub")
            await browser.press("Create GitHub App for octo-staff")
            assert "goes on by itself" in browser.text, browser.text
            done = browser.address

            told = await ready(address)
            assert (told["status"], told["checks"]) == ("ready", {"database": "ok", "github": "ok"})
            for gone in (link, f"{address}/setup", str(done)):
                await browser.open(gone)
                assert browser.status == 404
        found = load_in(folder)
        assert process.returncode == 0
        assert (found.app_id(), found.github_api_url, found.web_url) == (
            sandbox.app_id,
            sandbox.api_url,
            sandbox.url,
        )
        assert found.public_url == address
        assert sandbox.webhook_url == f"{address}/webhook"


def load_in(folder: Path) -> Settings:
    """The settings that `serve` has in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return load("serve")
    finally:
        os.chdir(before)


async def test_a_stop_before_it_is_set_up_is_no_error(tmp_path: Path) -> None:
    """Ctrl-C or SIGTERM while the link waits ends `web` with status 0; nothing was written."""
    async with app("web", cwd=tmp_path, PORT="0") as process:
        await said(process, r"http://127\.0\.0\.1:[1-9]\d*/setup\?token=")

    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("named", "missing"),
    [
        ({"GITHUB_APP_ID": "7", "GITHUB_WEBHOOK_SECRET": "5f1d2c3b4a59687706152433425160af"}, "GITHUB_PRIVATE_KEY"),
        ({"GITHUB_WEBHOOK_SECRET": "5f1d2c3b4a59687706152433425160af"}, "GITHUB_APP_ID"),
    ],
)
async def test_half_an_app_is_an_error_and_no_setup(tmp_path: Path, named: dict[str, str], missing: str) -> None:
    """An App that is named in part is the operator's mistake: the missing variable is named, exit status 2."""
    async with app("serve", cwd=tmp_path, PORT="0", **named) as process:
        await said(process, f"{missing}.* is missing")
        await asyncio.wait_for(process.wait(), 20)

    assert process.returncode == 2
