"""The start of `serve` and `web` while there is no App yet: /setup is served, and what it yields is written down."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.serve import local_root, run_until_stopped, say, serve_http
from settings import GITHUB_API, Settings, SettingsError, load
from web.setup_form import Known
from web.setup_state import NotKeptError, Setup

if TYPE_CHECKING:
    from github.manifest import Registered
    from web.setup_form import Choice

ENV = ".env"
KEY = "stepgate.private-key.pem"
MANIFEST = Path(__file__).parents[1] / "app.yml"

# What python-dotenv reads back as it stands, without quotes.
_PLAIN = re.compile(r"[A-Za-z0-9._~+/=:@,-]+")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Writes an App's credentials into a folder's `.env` and key file, or tells them as lines (a `web.setup.Keeper`).

    What `settings` say already is not written.
    """

    folder: Path
    settings: Settings

    def variables(self, registered: Registered, choice: Choice) -> dict[str, str]:
        """All variables but the key."""
        wanted, known = choice.wanted, self.settings
        values = {
            "GITHUB_APP_ID": str(registered.app_id),
            "GITHUB_CLIENT_ID": registered.client_id,
            "GITHUB_CLIENT_SECRET": registered.client_secret.get_secret_value(),
        }
        if registered.webhook_secret is not None:
            values["GITHUB_WEBHOOK_SECRET"] = registered.webhook_secret.get_secret_value()
        if known.session_key is None:
            values["SESSION_KEY"] = secrets.token_urlsafe(48)
        if wanted.public_url and known.public_url is None:
            values["PUBLIC_URL"] = wanted.public_url
        if wanted.api_url != known.github_api_url:
            values["GITHUB_API_URL"] = wanted.api_url
        if wanted.web_url != known.web_url:
            values["GITHUB_WEB_URL"] = wanted.web_url
        if registered.owner.kind == "User" and not known.staff:
            values["STAFF"] = str(registered.owner.account_id)
        return values

    def lines(self, registered: Registered, choice: Choice) -> Sequence[str]:
        """`NAME=value` for each variable, the key on one line as settings.py reads it."""
        key = registered.private_key.get_secret_value().strip().replace("\n", "\\n")
        values = self.variables(registered, choice) | {"GITHUB_PRIVATE_KEY": key}
        return [f"{name}={value}" for name, value in values.items()]

    def problem(self) -> str | None:
        """Why nothing can be written into the folder, told before anything is asked of GitHub."""
        try:
            self._check()
        except NotKeptError as error:
            return f"{error} Or choose to set the variables elsewhere."
        return None

    def keep(self, registered: Registered, choice: Choice) -> Sequence[str]:
        """Write both files, each complete or not at all, readable by our user only."""
        before = self._check()
        values = self.variables(registered, choice) | {"GITHUB_PRIVATE_KEY_PATH": KEY}
        lines = [f"{name}={_quoted(value)}\n" for name, value in values.items()]
        heading = f"# The GitHub App {registered.name}, made by /setup. These are secrets.\n"
        key = self.folder / KEY
        try:
            _write(key, registered.private_key.get_secret_value().strip() + "\n")
            try:
                _replace(self.folder / ENV, "".join([before, heading, *lines]))
            except OSError:
                key.unlink()
                raise
        except OSError as error:
            raise NotKeptError(f"{self.folder}: {error.strerror}.") from None
        return ENV, KEY

    def _check(self) -> str:
        """What `.env` begins with; NotKeptError if the folder is no place for secrets, or an App is named already."""
        folder, env, key = self.folder, self.folder / ENV, self.folder / KEY
        try:
            if folder.stat().st_mode & stat.S_IWOTH:
                raise NotKeptError(f"Everybody may write into {folder}: take that away (chmod o-w).")
            if not os.access(folder, os.W_OK | os.X_OK):
                raise NotKeptError(f"{folder} cannot be written by Stepgate's user.")
            if os.path.lexists(key):
                raise NotKeptError(f"{key} exists already, and keys are not overwritten: move it away.")
            if os.path.lexists(env) and (env.is_symlink() or not env.is_file()):
                raise NotKeptError(f"{env} is not a plain file, and is left alone.")
            text = env.read_text(encoding="utf-8") if env.exists() else ""
            if not load("setup").knows_no_app:
                raise NotKeptError(f"An App is configured already, in {env} or in the environment: take that out.")
        except (SettingsError, UnicodeDecodeError) as error:
            raise NotKeptError(f"{env}: {error}.") from None
        except OSError as error:
            raise NotKeptError(f"{error.filename}: {error.strerror}.") from None
        return text if not text or text.endswith("\n") else f"{text}\n"


def _quoted(value: str) -> str:
    """A value as python-dotenv reads it back."""
    if _PLAIN.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _write(path: Path, text: str) -> None:
    """Write a new file of mode 600; FileExistsError if there is one, whatever it is."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)  # the umask may have taken more away
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _replace(path: Path, text: str) -> None:
    """Put a file of mode 600 into the place of another, at once."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        _write(temporary, text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------ while waiting


def set_up_first(host: str) -> None:
    """If no App is named yet, serve /setup until one is, then return; leave if stopped before.

    A configuration that names an App in part is not touched: the command's own check says what is missing.
    """
    from cli.logs import configure

    settings = load("setup")
    if not settings.knows_no_app:
        return
    configure(settings.log_format, settings.log_level)
    done: list[bool] = []

    async def wait(stop: asyncio.Event) -> None:
        done.append(await _serve_setup(settings, host, stop))

    run_until_stopped(wait)
    if not any(done):
        raise SystemExit(0)
    say("The App is set up; starting as it.")


async def _serve_setup(settings: Settings, host: str, stop: asyncio.Event) -> bool:
    """Serve /setup until credentials are written (True) or until `stop` (False)."""
    from github.manifest import read_template
    from web.setup import build_setup

    fixed = settings.github_web_url is not None or settings.github_api_url != GITHUB_API
    setup = Setup(
        template=read_template(MANIFEST.read_text(encoding="utf-8")),
        known=Known(settings.web_url, settings.github_api_url, fixed, settings.public_url, bool(settings.staff)),
        here="",
        keeper=Credentials(Path.cwd(), settings),
    )

    def listening(address: str, port: int) -> None:
        setup.here = settings.public_url or local_root(address, port)
        say("No GitHub App is configured yet. To set one up, open this link; it works once:")
        say(f"  {setup.link}")
        say("(For another link start again. To use an App that exists, set what docs/settings.md names.)")

    async def written() -> None:
        await setup.written.wait()
        stop.set()

    watching = asyncio.create_task(written())
    try:
        await serve_http(build_setup(setup), host=host, port=settings.port, stop=stop, listening=listening)
    finally:
        watching.cancel()
    return setup.written.is_set()
