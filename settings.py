"""All settings of Stepgate: the only module that reads the environment (and `.env` in the working folder).

A value that is wrong or missing becomes a `SettingsError` of one line that names the variable. Secrets are `SecretStr`
and never appear in a message, a log line or a representation. `docs/settings.md` is generated from this model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

GITHUB_API = "https://api.github.com"
GITHUB_WEB = "https://github.com"

# Values people leave in from examples; a webhook that anyone can sign decides nothing.
PLACEHOLDER = re.compile(
    r"^(?:the[-_ ]?)?(?:development|dev|test|testing|example|change[-_ ]?me|placeholder|secret|password|webhook)"
    r"(?:$|[-_ .!0-9])|(?:secret|password|change[-_ ]?me)[-_ .!0-9]*$",
    re.IGNORECASE,
)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class SettingsError(Exception):
    """A setting is wrong or missing (the operator's configuration). One line for each, naming the variable."""


# ---------------------------------------------------------------------------------------------- checks of one value


def _base_url(value: str) -> str:
    """An address without trailing slash, query or user; http only on loopback, where no token can be overheard."""
    parts = urlsplit(value.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as https://github.example.com")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError("has a port that is no number from 1 to 65535") from error
    if parts.username or parts.password or parts.query or parts.fragment or port == 0:
        raise ValueError("must hold neither user name, query, fragment nor port 0")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("must start with https:// (http is for loopback addresses only)")
    return value.strip().rstrip("/")


def _public_url(value: str) -> str:
    """The App's own address; http is allowed here, because a proxy on a private network may end TLS."""
    parts = urlsplit(value.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be the App's own address, such as https://stepgate.example.com")
    return value.strip().rstrip("/")


def _postgres_url(value: SecretStr) -> SecretStr:
    """An address that can be taken apart. The driver's own errors would repeat a piece of a password that cannot."""
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("postgres", "postgresql"):
        raise ValueError("must start with postgresql://")
    user, _, hosts = parts.netloc.rpartition("@")
    ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts.split(",")]
    broken = "@" in user or "@" in parts.path or parts.fragment or not all(port.isdigit() for port in ports if port)
    if broken or (parts.query and not all("=" in part for part in parts.query.split("&"))):
        raise ValueError(
            "cannot be read: it is postgresql://USER:PASSWORD@HOST:PORT/NAME, and in user name and password @ / ? # % "
            "are written %40 %2F %3F %23 %25"
        )
    return value


def _strong(value: SecretStr, least: int) -> SecretStr:
    text = value.get_secret_value()
    if len(text) < least:
        raise ValueError(f"must have at least {least} characters; make one with: openssl rand -hex 32")
    if PLACEHOLDER.search(text) or len(set(text)) < 6:
        raise ValueError("looks like a placeholder; make a real one with: openssl rand -hex 32")
    return value


def _rsa_private_key(value: SecretStr) -> SecretStr:
    """A PEM text of an RSA key; `\\n` written as two characters is what one-line environment files need."""
    text = value.get_secret_value().replace("\\n", "\n").strip() + "\n"
    _check_rsa_private_key(text)
    return SecretStr(text)


@lru_cache(maxsize=2)  # it takes 50 ms, and settings are read more than once
def _check_rsa_private_key(text: str) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 (half of the import time of this module)
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise ValueError("is protected by a passphrase; give the key as GitHub handed it out") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is not a readable private key in PEM form (-----BEGIN ... PRIVATE KEY-----)") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("is not an RSA key (GitHub accepts RS256 only)")


def _comma_separated(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


BaseUrl = Annotated[str, AfterValidator(_base_url)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres_url)]
Secret16 = Annotated[SecretStr, AfterValidator(partial(_strong, least=16))]
Secret32 = Annotated[SecretStr, AfterValidator(partial(_strong, least=32))]
PrivateKey = Annotated[SecretStr, AfterValidator(_rsa_private_key)]
Ids = Annotated[tuple[Annotated[int, Field(ge=1, le=2**63 - 1)], ...], NoDecode, BeforeValidator(_comma_separated)]
Tokens = Annotated[tuple[Secret32, ...], NoDecode, BeforeValidator(_comma_separated)]


class Settings(BaseSettings):
    """Every setting of every command. An empty variable counts as absent."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: PostgresUrl | None = Field(
        None,
        description="PostgreSQL 14 or newer, `postgresql://USER:PASSWORD@HOST/NAME`. Absent: a PostgreSQL that Stepgate"
        " brings along is started in `STEPGATE_HOME`.",
    )
    stepgate_home: Path = Field(
        Path(".stepgate"), description="Folder of the embedded PostgreSQL (used without `DATABASE_URL` only)."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port that `serve` and `web` listen on; 0 takes a free one.")
    public_url: PublicUrl | None = Field(
        None,
        description="The App's own address as learners' browsers reach it; check-runs link to it. Absent:"
        " `http://127.0.0.1:PORT`.",
    )
    github_api_url: BaseUrl = Field(
        GITHUB_API, description="GitHub's REST API. GitHub Enterprise Server: `https://HOST/api/v3`."
    )
    github_web_url: BaseUrl | None = Field(
        None, description="GitHub's pages, for links. Absent: worked out from `GITHUB_API_URL`."
    )
    github_app_id: int | None = Field(None, ge=1, description="Id of the GitHub App (on its settings page).")
    github_private_key: PrivateKey | None = Field(
        None,
        description="The App's private key, the text of the `.pem` file; line ends may be written as `\\n`. Give this"
        " or `GITHUB_PRIVATE_KEY_PATH`.",
    )
    github_private_key_path: Path | None = Field(None, description="File that holds the App's private key.")
    github_webhook_secret: Secret16 | None = Field(
        None, description="Secret of the App's webhook, at least 16 characters. Unsigned deliveries are refused."
    )
    github_webhook_secret_previous: Secret16 | None = Field(
        None, description="The secret before the present one, accepted as well while it is being changed."
    )
    github_client_id: str | None = Field(None, description="The App's client id, with which people sign in.")
    github_client_secret: SecretStr | None = Field(None, description="The App's client secret.")
    github_write_interval: float = Field(
        0.2,
        ge=0,
        le=60,
        description="Least time in seconds between two writes of one installation; grows by itself when GitHub slows"
        " us down. `0`: a GitHub without limits, such as an Enterprise Server whose limits are off; never github.com.",
    )
    github_write_profile: Literal["adaptive", "strict"] = Field(
        "adaptive",
        description="`adaptive`: as fast as GitHub lets us. `strict`: at most 80 writes a minute, 500 an hour.",
    )
    check_name: str = Field(
        "forgea/steps",
        min_length=1,
        max_length=100,
        description="Name of the check-run and context of the commit status. Changing it breaks required checks.",
    )
    report_status: Literal["always", "failures", "never"] = Field(
        "always", description="Which verdicts are mirrored as a commit status as well."
    )
    binding_mode: Literal["shadow", "canonical"] = Field(
        "canonical", description="`canonical`: ids decide. `shadow`: the fork's address decides while ids are compared."
    )
    mapping_ttl: float = Field(
        300, gt=0, le=86_400, description="Seconds that a known repository-to-session mapping is cached."
    )
    mapping_miss_ttl: float = Field(
        15, gt=0, le=3_600, description="Seconds that a repository is remembered as having no mapping."
    )
    worker_concurrency: int = Field(
        8, ge=1, le=256, description="Repositories that one worker process judges at the same time."
    )
    stuck_after: int = Field(
        3, ge=1, le=1_000, description="Blocked pushes (distinct heads) in a row after which a session counts as stuck."
    )
    staff: Ids = Field(
        (), description="GitHub account ids (numbers, comma separated) of staff. Not logins: those can be taken over."
    )
    legacy_database_url: PostgresUrl | None = Field(
        None, description="The platform's existing database, opened read-only by the commands that import from it."
    )
    session_key: Secret32 | None = Field(
        None, description="Key that encrypts the cookie of signed-in people, at least 32 characters."
    )
    api_tokens: Tokens = Field(
        (), description="Tokens of the JSON API, comma separated, at least 32 characters each. None: the API is closed."
    )
    retention_days: int = Field(
        8,
        ge=4,
        le=3_650,
        description="Days that bodies of processed deliveries, which hold names and addresses, are kept. GitHub can"
        " redeliver for 3 days, GitHub Enterprise Server for 7.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto",
        description="`json`: one object a line. `console`: for people. `auto`: console on a terminal, else json.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port on which `worker` answers `/metrics`, `/healthz` and `/readyz`, on 127.0.0.1 unless `--host`"
        " says otherwise. Absent: it listens nowhere. `serve` and `web` answer them on `PORT`.",
    )
    metrics_token: Secret16 | None = Field(
        None,
        description="Token that opens `/metrics` to other machines, at least 16 characters. Absent: this machine only.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    live_token: SecretStr | None = Field(
        None,
        description="For `make live` only: a classic personal access token of yours with the scopes `repo` and"
        " `delete_repo` (docs/live.md). The App itself never has it.",
    )
    live_organization: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$",
        description="For `make live` only: an organisation in which the template is made and then forked. Absent: it"
        " is made in your own account, and used as a template.",
    )

    @model_validator(mode="after")
    def _one_private_key(self) -> Settings:
        if self.github_private_key is not None and self.github_private_key_path is not None:
            raise ValueError("GITHUB_PRIVATE_KEY and GITHUB_PRIVATE_KEY_PATH are both set: keep one of them")
        return self

    @model_validator(mode="after")
    def _limits_of_github_com(self) -> Settings:
        if self.github_write_interval == 0 and not self.is_enterprise_server:
            raise ValueError("GITHUB_WRITE_INTERVAL must be more than 0 for github.com, which has limits")
        return self

    @property
    def web_url(self) -> str:
        """GitHub's pages; on GitHub Enterprise Server the API's address without /api/v3."""
        if self.github_web_url is not None:
            return self.github_web_url
        return self.github_api_url.removesuffix("/api/v3") if self.is_enterprise_server else GITHUB_WEB

    @property
    def is_enterprise_server(self) -> bool:
        """Whether GitHub is another one than github.com, with an API and pages of its own."""
        return self.github_api_url != GITHUB_API

    @property
    def base_url(self) -> str:
        """The App's own address, without trailing slash."""
        return self.public_url or f"http://127.0.0.1:{self.port}"

    @property
    def knows_no_app(self) -> bool:
        """Whether nothing of a GitHub App is set, not even a part: then `serve` and `web` begin with /setup."""
        return (
            self.github_app_id is None
            and self.github_private_key is None
            and self.github_private_key_path is None
            and self.github_webhook_secret is None
            and self.github_client_id is None
            and self.github_client_secret is None
        )

    def webhook_secrets(self) -> tuple[str, ...]:
        """The webhook secrets that are accepted: the present one, then the one before it."""
        both = (self.github_webhook_secret, self.github_webhook_secret_previous)
        return tuple(secret.get_secret_value() for secret in both if secret is not None)

    def app_id(self) -> int:
        """The App's id; SettingsError without one."""
        if self.github_app_id is None:
            raise SettingsError(_missing("GITHUB_APP_ID"))
        return self.github_app_id

    def private_key(self) -> str:
        """The App's private key as PEM text, from the variable or its file; SettingsError when there is none."""
        if self.github_private_key is not None:
            return self.github_private_key.get_secret_value()
        if self.github_private_key_path is None:
            raise SettingsError(_missing("GITHUB_PRIVATE_KEY"))
        name = "GITHUB_PRIVATE_KEY_PATH"
        try:
            text = self.github_private_key_path.read_text(encoding="utf-8")
            return _rsa_private_key(SecretStr(text)).get_secret_value()
        except UnicodeDecodeError:
            raise SettingsError(f"{name}: the file is not text in PEM form") from None
        except OSError as error:
            raise SettingsError(f"{name}: the file cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise SettingsError(f"{name}: the file {error}") from None


# ----------------------------------------------------------------------------------------------------------- loading

APP = ("GITHUB_APP_ID", "GITHUB_PRIVATE_KEY")
WEBHOOK = "GITHUB_WEBHOOK_SECRET"
LIVE_TOKEN = "LIVE_TOKEN"  # noqa: S105 (a name)

# What each command cannot do without. Commands that are not named need no setting.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "serve": (*APP, WEBHOOK),
    "serve --poll": APP,
    "web": (*APP, WEBHOOK),
    "worker": APP,
    "labs add": APP,
    "labs publish": APP,
    "labs invite": APP,
    "labs uninvite": APP,
    "sessions relink": APP,
    "sessions migrate": APP,
    "make live": (*APP, LIVE_TOKEN),
}


def _missing(name: str, command: str = "") -> str:
    """The line for a setting that a command needs and nobody gave."""
    words = command if command.startswith("make ") else f"python app.py {command}"
    by = f' ("{words}" needs it)' if command else ""
    either = "GITHUB_PRIVATE_KEY or GITHUB_PRIVATE_KEY_PATH" if name == "GITHUB_PRIVATE_KEY" else name
    return f"{either} is missing{by}; see docs/settings.md"


def _lines(error: ValidationError) -> list[str]:
    """One line for each wrong setting. The value is never repeated: it may be a secret."""
    lines = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        path = [str(part) for part in item["loc"]]
        message = item["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:] if message.startswith(("Input", "String")) else message
        name = path[0].upper() if path else ""
        which = f" (entry {int(path[1]) + 1})" if len(path) > 1 and path[1].isdigit() else ""
        lines.append(f"{name}{which}: {message}" if name else message)
    return lines


def load(command: str) -> Settings:
    """Read the settings and check what `command` (such as "web" or "labs add") needs.

    Raises SettingsError with one line for each wrong or missing setting.
    """
    try:
        settings = _read()
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error))) from None
    absent = _absent(settings, command)
    if absent:
        raise SettingsError("\n".join(absent))
    if "GITHUB_PRIVATE_KEY" in NEEDS.get(command, ()):
        settings.private_key()
    return settings


def examine(command: str) -> tuple[Settings, tuple[str, ...]]:
    """The settings as far as they can be used, and a line for each that is wrong or that `command` lacks.

    A wrong setting counts as absent. Raises SettingsError if `.env` cannot be read at all.
    """
    lines: list[str] = []
    try:
        settings = _read()
    except ValidationError as error:
        lines += _lines(error)
        # without a name: the private key is given twice
        wrong = {str(item["loc"][0]) if item["loc"] else "github_private_key" for item in error.errors()}
        settings = _read(**{name: Settings.model_fields[name].default for name in wrong})
    named = {line.partition(":")[0] for line in lines}
    lines += [line for line in _absent(settings, command) if line.split(" is missing")[0] not in named]
    if settings.github_private_key_path is not None and settings.github_private_key is None:
        try:
            settings.private_key()
        except SettingsError as error:
            lines.append(str(error))
            settings = settings.model_copy(update={"github_private_key_path": None})
    return settings, tuple(lines)


def _read(**instead: Any) -> Settings:
    """The environment and `.env`; `instead`: fields that are not read. Raises ValidationError and SettingsError."""
    try:
        return Settings(**instead)
    except UnicodeDecodeError:
        raise SettingsError(".env: the file is not text in UTF-8") from None
    except OSError as error:
        raise SettingsError(f".env: the file cannot be read: {error.strerror}") from None


def _absent(settings: Settings, command: str) -> list[str]:
    """A line for each setting that `command` needs and nobody gave."""
    checks: dict[str, Callable[[], bool]] = {
        "GITHUB_APP_ID": lambda: settings.github_app_id is not None,
        "GITHUB_PRIVATE_KEY": lambda: bool(settings.github_private_key or settings.github_private_key_path),
        WEBHOOK: lambda: settings.github_webhook_secret is not None,
        LIVE_TOKEN: lambda: settings.live_token is not None,
    }
    return [_missing(name, command) for name in NEEDS.get(command, ()) if not checks[name]()]


def child_environment(**values: str) -> dict[str, str]:
    """The environment for a process that we start: this one's without settings of ours or of git, and with `values`."""
    ours = {name.upper() for name in Settings.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("GIT_")}
    return {**inherited, **values}


# ----------------------------------------------------------------------------------------------------- documentation


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A line of the settings table. `default` is what an absent variable means; `needed_by`: commands."""

    name: str
    default: str
    help: str
    needed_by: tuple[str, ...]
    secret: bool


def settings_table() -> tuple[SettingRow, ...]:
    """All settings in the order of the model, for `docs/settings.md`."""
    rows = []
    for field, info in Settings.model_fields.items():
        name = field.upper()
        needed_by = tuple(command for command, names in NEEDS.items() if name in names)
        default = "" if info.default in (None, ()) else str(info.default)
        secret = "SecretStr" in repr(info.annotation) or field == "api_tokens"
        rows.append(SettingRow(name, default, info.description or "", needed_by, secret))
    return tuple(rows)
