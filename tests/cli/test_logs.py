"""Logs: one object a line, and no secret in any of them, whoever wrote the line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from cli.logs import HIDDEN, configure, scrub

SECRETS = [
    "ghs_" + "A1b2C3d4" * 5,
    "ghs_" + "x" * 512,
    "ghp_" + "A1b2C3d4" * 5,
    "github_pat_" + "A1b2C3d4" * 5,
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxIn0.c2lnbmF0dXJl-_x",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAAAA\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nMIIEow cut off",
]


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Give logging back to the test runner."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("frame", ["{}", "token {} was refused", "[{!r}]", "Authorization: Bearer {}"])
def test_secrets_are_hidden_wherever_they_stand(secret: str, frame: str) -> None:
    """Tokens, JSON web tokens and keys vanish from text, whatever is around them."""
    text = scrub(frame.format(secret))

    assert HIDDEN in text
    assert secret[:24] not in text
    assert secret[-12:] not in text


def test_the_password_of_an_address_is_hidden() -> None:
    """A database's address keeps its host and loses its credentials."""
    assert scrub("postgresql://stepgate:hunter22@db.example.com/x") == f"postgresql://{HIDDEN}@db.example.com/x"


@pytest.mark.parametrize(
    "text",
    ["the token ring", "https://github.com/octo-course/lab:main", "sha 5f1d2c3b4a59687706152433425160af5f1d2c3b"],
)
def test_ordinary_text_stays(text: str) -> None:
    """Words, addresses and commit ids are no secrets."""
    assert scrub(text) == text


def test_nested_values_are_scrubbed() -> None:
    """Secrets inside of mappings, lists and objects are found too."""
    token = SECRETS[0]

    text = json.dumps(scrub({"a": [token, {"b": (token.encode(), ValueError(token))}], "n": 1, "none": None}))

    assert token not in text
    assert text.count(HIDDEN) == 3


def test_lines_are_json_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """A line has event, level, time and the named fields; tracebacks are scrubbed text."""
    configure("json", "info")
    try:
        raise RuntimeError(f"refused {SECRETS[0]}")
    except RuntimeError:
        structlog.get_logger("test").exception("went_wrong", delivery="d1", token=SECRETS[0])

    line = json.loads(capsys.readouterr().err)

    assert (line["event"], line["level"], line["delivery"], line["token"]) == ("went_wrong", "error", "d1", HIDDEN)
    assert "RuntimeError: refused" in line["exception"]
    assert SECRETS[0] not in line["exception"]


def test_the_standard_library_speaks_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of other libraries come out as the same objects, scrubbed."""
    configure("json", "info")
    logging.getLogger("other").warning("sent %s", SECRETS[0])

    line = json.loads(capsys.readouterr().err)

    assert (line["event"], line["logger"], line["level"]) == (f"sent {HIDDEN}", "other", "warning")


def test_the_level_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines below the level are not written, neither ours nor others'."""
    configure("json", "warning")
    structlog.get_logger("test").info("quiet")
    logging.getLogger("other").info("quiet")

    assert capsys.readouterr().err == ""


def test_the_console_form_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """LOG_FORMAT=console writes plain lines, scrubbed as well."""
    configure("console", "info")
    structlog.get_logger("test").info("hello", token=SECRETS[0])

    text = capsys.readouterr().err

    assert "hello" in text
    assert not text.startswith("{")
    assert SECRETS[0] not in text


def test_auto_is_json_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """LOG_FORMAT=auto writes objects when nobody sits at a terminal."""
    configure("auto", "info")
    structlog.get_logger("test").info("hello")

    assert json.loads(capsys.readouterr().err)["event"] == "hello"
