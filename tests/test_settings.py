"""settings.py: every wrong or missing setting is one line that names its variable and tells no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

import settings
from settings import Settings, SettingsError, load, settings_table

SECRET = "5f1d2c3b4a59687706152433425160af"


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, encryption: KeySerializationEncryption) -> str:
    """A private key as the text of a .pem file."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_PEM = pem(RSA_KEY, NoEncryption())


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from the machine that runs the test."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(name="app")
def _app(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A complete configuration, to be spoilt."""
    monkeypatch.setenv("GITHUB_APP_ID", "7")
    monkeypatch.setenv("GITHUB_PRIVATE_KEY", RSA_PEM)
    monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", SECRET)
    return monkeypatch


def test_defaults_need_nothing() -> None:
    """A command without needs loads from an empty environment, with the documented defaults."""
    found = load("migrate")

    assert (found.database_url, found.port, found.check_name) == (None, 8000, "forgea/steps")
    assert (found.mapping_ttl, found.mapping_miss_ttl, found.stuck_after) == (300, 15, 3)
    assert found.base_url == "http://127.0.0.1:8000"
    assert found.web_url == "https://github.com"


def test_complete_configuration_loads(app: pytest.MonkeyPatch) -> None:
    """With App id, key and secret the web process may start."""
    found = load("web")

    assert found.app_id() == 7
    assert found.private_key() == RSA_PEM
    assert found.webhook_secrets() == (SECRET,)


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("web", ["GITHUB_APP_ID", "GITHUB_PRIVATE_KEY or GITHUB_PRIVATE_KEY_PATH", "GITHUB_WEBHOOK_SECRET"]),
        ("worker", ["GITHUB_APP_ID", "GITHUB_PRIVATE_KEY or GITHUB_PRIVATE_KEY_PATH"]),
    ],
)
def test_each_missing_setting_is_one_line(command: str, missing: list[str]) -> None:
    """All missing settings are named at once, one line each, with the command that needs them."""
    with pytest.raises(SettingsError) as caught:
        load(command)

    lines = str(caught.value).splitlines()
    assert [line.split(" is missing")[0] for line in lines] == missing
    assert all(f"python app.py {command}" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "80a"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PUBLIC_URL", "stepgate.example.com"),
        ("GITHUB_API_URL", "ftp://api.github.com"),
        ("GITHUB_API_URL", "http://api.github.com"),
        ("GITHUB_API_URL", "https://user:pw@api.github.com"),
        ("GITHUB_API_URL", "https://api.github.com:99999"),
        ("GITHUB_API_URL", "https://api.github.com?x=1"),
        ("GITHUB_WEB_URL", "github.com"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("GITHUB_APP_ID", "0"),
        ("GITHUB_WRITE_INTERVAL", "-1"),
        ("GITHUB_WRITE_INTERVAL", "0"),
        ("GITHUB_WRITE_PROFILE", "fast"),
        ("REPORT_STATUS", "sometimes"),
        ("BINDING_MODE", "url"),
        ("MAPPING_TTL", "0"),
        ("WORKER_CONCURRENCY", "0"),
        ("STUCK_AFTER", "0"),
        ("STAFF", "1,learner-one"),
        ("RETENTION_DAYS", "3"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "loud"),
        ("CHECK_NAME", "x" * 101),
    ],
)
def test_a_wrong_value_is_one_line_naming_the_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value out of its range or form is refused in one line that starts with the variable's name."""
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        load("migrate")

    message = str(caught.value)
    assert message.startswith(name)
    assert "\n" not in message


@pytest.mark.parametrize("name", ["DATABASE_URL", "LEGACY_DATABASE_URL"])
@pytest.mark.parametrize(
    "password", ["hunter22/x", "hunter22#x", "hunter22?x", "hunter22?x=y", "x@hunter22", "x@y:hunter22", "22/hunter22"]
)
def test_a_password_that_breaks_its_address_is_not_repeated(
    name: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line names the variable and how such characters are written; no piece of the password is in it."""
    monkeypatch.setenv(name, f"postgresql://staff:{password}@db.example.com/stepgate")

    with pytest.raises(SettingsError) as caught:
        load("migrate")

    message = str(caught.value)
    assert message.startswith(f"{name}: cannot be read")
    assert "%2F" in message
    assert "hunter" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "rest",
    [
        "stepgate:hunter22@db.example.com/stepgate",
        "stepgate:hunter%2F22%40@db.example.com:5433/stepgate?sslmode=verify-full",
        "one,two:5433,[::1]:5434/stepgate?target_session_attrs=read-write",
        "/stepgate?host=/var/run/postgresql&port=6432&user=a@b",
        "stepgate@%2Fvar%2Frun/stepgate?password=",
    ],
)
def test_addresses_of_databases_in_all_their_forms(rest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several hosts, sockets, ports and parameters are taken as they are."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql://{rest}")

    found = load("migrate").database_url

    assert found is not None
    assert found.get_secret_value() == f"postgresql://{rest}"


@pytest.mark.parametrize(
    "name",
    ["GITHUB_WEBHOOK_SECRET", "GITHUB_WEBHOOK_SECRET_PREVIOUS", "SESSION_KEY", "API_TOKENS", "METRICS_TOKEN"],
)
@pytest.mark.parametrize(
    "value", ["shor7-s3cret", "development-secret-for-everyone-to-read", "change-me-" + "x" * 30, "a" * 64]
)
def test_weak_secrets_are_refused_and_not_repeated(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short, monotonous and placeholder secrets are refused, and the message does not contain them."""
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        load("migrate")

    assert str(caught.value).startswith(name)
    assert value not in str(caught.value)


def test_secrets_do_not_show(app: pytest.MonkeyPatch) -> None:
    """Neither representation nor dump of the settings holds a secret."""
    app.setenv("DATABASE_URL", "postgresql://stepgate:hunter22@db.example.com/stepgate")
    app.setenv("API_TOKENS", f"{SECRET}x, {SECRET}y")

    found = load("web")

    assert len(found.api_tokens) == 2
    for shown in (repr(found), str(found), str(found.model_dump())):
        assert SECRET not in shown
        assert "hunter22" not in shown
        assert "PRIVATE KEY" not in shown


def test_private_key_with_literal_line_ends(app: pytest.MonkeyPatch) -> None:
    """A key on one line, with backslash-n for line ends, is read like the file."""
    app.setenv("GITHUB_PRIVATE_KEY", RSA_PEM.strip().replace("\n", "\\n"))

    assert load("worker").private_key() == RSA_PEM


def test_private_key_from_a_file(app: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """GITHUB_PRIVATE_KEY_PATH names a file with the same content."""
    (tmp_path / "app.pem").write_text(RSA_PEM)
    app.delenv("GITHUB_PRIVATE_KEY")
    app.setenv("GITHUB_PRIVATE_KEY_PATH", str(tmp_path / "app.pem"))

    assert load("worker").private_key() == RSA_PEM


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"not a key", "not a readable private key"),
        (pem(ec.generate_private_key(ec.SECP256R1()), NoEncryption()).encode(), "not an RSA key"),
        (pem(RSA_KEY, BestAvailableEncryption(b"x")).encode(), "passphrase"),
        (b"\xff\xfe\x00", "not text"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_key_file_is_named(content: bytes | None, why: str, app: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key file that is missing, no PEM, no RSA key or encrypted is one line that names the variable."""
    path = tmp_path / "app.pem"
    if content is not None:
        path.write_bytes(content)
    app.delenv("GITHUB_PRIVATE_KEY")
    app.setenv("GITHUB_PRIVATE_KEY_PATH", str(path))

    with pytest.raises(SettingsError, match=why) as caught:
        load("worker")

    assert str(caught.value).startswith("GITHUB_PRIVATE_KEY_PATH: ")


def test_a_wrong_inline_key_is_named(app: pytest.MonkeyPatch) -> None:
    """An inline key that is no PEM is refused without being repeated."""
    app.setenv("GITHUB_PRIVATE_KEY", "-----BEGIN RSA PRIVATE KEY-----\\nabcdef\\n-----END RSA PRIVATE KEY-----")

    with pytest.raises(SettingsError) as caught:
        load("worker")

    assert str(caught.value).startswith("GITHUB_PRIVATE_KEY: is not a readable private key")
    assert "abcdef" not in str(caught.value)


def test_two_private_keys_are_refused(app: pytest.MonkeyPatch) -> None:
    """Key and key file together are a mistake: nobody could tell which one counts."""
    app.setenv("GITHUB_PRIVATE_KEY_PATH", "app.pem")

    with pytest.raises(SettingsError, match="GITHUB_PRIVATE_KEY and GITHUB_PRIVATE_KEY_PATH are both set"):
        load("worker")


def test_addresses_lose_their_trailing_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links and requests are built from addresses without a slash at the end."""
    monkeypatch.setenv("GITHUB_API_URL", "https://github.example.com/api/v3/")
    monkeypatch.setenv("PUBLIC_URL", "https://stepgate.example.com/")

    found = load("migrate")

    assert found.github_api_url == "https://github.example.com/api/v3"
    assert found.web_url == "https://github.example.com"
    assert found.base_url == "https://stepgate.example.com"


def test_plain_http_is_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox on this machine may be spoken to without TLS."""
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:4000/api/v3")

    assert load("migrate").web_url == "http://127.0.0.1:4000"


def test_staff_are_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """STAFF is a comma-separated list of account ids; blanks do not matter."""
    monkeypatch.setenv("STAFF", "11, 12,")

    assert load("migrate").staff == (11, 12)


def test_an_empty_variable_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts pass unset variables as empty ones."""
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("DATABASE_URL", "")

    assert load("migrate").port == 8000
    assert load("migrate").database_url is None


def test_dot_env_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In development a file .env holds settings; a variable of the environment is stronger."""
    (tmp_path / ".env").write_text("PORT=9001\nSTUCK_AFTER=5\nUNRELATED=1\n")
    monkeypatch.setenv("PORT", "9002")

    found = load("migrate")

    assert (found.port, found.stuck_after) == (9002, 5)


def test_an_unreadable_dot_env_is_named(tmp_path: Path) -> None:
    """A .env that is no text is a fault of configuration, not a crash."""
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe\n")

    with pytest.raises(SettingsError, match=r"^\.env: "):
        load("migrate")


def test_the_previous_secret_is_accepted_as_well(app: pytest.MonkeyPatch) -> None:
    """While a secret is being changed both are valid, the present one first."""
    app.setenv("GITHUB_WEBHOOK_SECRET_PREVIOUS", SECRET[::-1])

    assert load("web").webhook_secrets() == (SECRET, SECRET[::-1])


def test_settings_are_frozen() -> None:
    """Nobody changes a setting while the App runs."""
    with pytest.raises(ValueError, match="frozen"):
        setattr(load("migrate"), "port", 1)  # noqa: B010 (mypy sees that it cannot be assigned)


def test_every_setting_has_a_help_text() -> None:
    """Each row of the table explains itself in a sentence, and commands that need it are known commands."""
    rows = settings_table()

    assert len(rows) == len(Settings.model_fields)
    assert all(row.help.rstrip().endswith(".") for row in rows)
    assert {command for row in rows for command in row.needed_by} == set(settings.NEEDS)


def test_secrets_are_marked() -> None:
    """The table marks exactly the settings that hold something to keep secret."""
    marked = {row.name for row in settings_table() if row.secret}

    assert marked == {
        "DATABASE_URL",
        "GITHUB_PRIVATE_KEY",
        "GITHUB_WEBHOOK_SECRET",
        "GITHUB_WEBHOOK_SECRET_PREVIOUS",
        "GITHUB_CLIENT_SECRET",
        "LEGACY_DATABASE_URL",
        "SESSION_KEY",
        "API_TOKENS",
        "METRICS_TOKEN",
        "LIVE_TOKEN",
    }


def test_make_live_needs_the_app_and_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it lacks is named with the words that the operator typed; an organisation's name must be one."""
    with pytest.raises(SettingsError) as caught:
        load("make live")
    assert '("make live" needs it)' in str(caught.value)
    assert "LIVE_TOKEN is missing" in str(caught.value)

    monkeypatch.setenv("LIVE_ORGANIZATION", "octo-course/../x")
    with pytest.raises(SettingsError, match=r"^LIVE_ORGANIZATION"):
        load("migrate")
