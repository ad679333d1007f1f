"""`app.py doctor`: each fault of a class's set-up is one line that tells what breaks and what to do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli import doctor_github, doctor_here
from cli.doctor_github import Needed
from cli.finding import Finding, Level, in_time
from github.deliverylog import LoggedDelivery
from github.health import Hook, Registration
from github.manifest import Asked
from rules.model import Account, AccountKind
from settings import Settings
from storage.health import DatabaseFacts
from storage.migrate import Fit

HERE = "https://stepgate.example.com"
WEB = "https://github.example.com"
SECRET = "5f1d2c3b4a59687706152433425160af"
OWNER = Account(5, "octo-staff", AccountKind.USER)
APP = Registration(7, "stepgate", "Stepgate", OWNER, {}, ())
GOOD_HOOK = Hook(f"{HERE}/webhook", "json", verified=True, has_secret=True)
FIT = Fit((), (), (), needed=0, newest=30)
FACTS = DatabaseFacts(18, FIT)


def settings_with(**fields: Any) -> Settings:
    """Settings of a configured App, without the environment."""
    known: dict[str, Any] = {"public_url": HERE, "github_web_url": WEB, "github_app_id": 7}
    return Settings(_env_file=None, **{**known, **fields})


def levels(found: list[Finding]) -> list[Level]:
    """How the findings ended."""
    return [finding.level for finding in found]


# -------------------------------------------------------------------------------------------------------- on this side


def test_the_manifest_is_what_the_app_is_compared_with() -> None:
    """app.yml's permissions and events are needed; those for workflows only when a lab uses them."""
    plain, with_workflow = Needed.read(workflow=False), Needed.read(workflow=True)

    assert plain.levels() == {"metadata": "read", "contents": "read", "checks": "write", "statuses": "write"}
    assert [event.name for event in plain.events] == ["push", "repository", "fork", "status"]
    assert with_workflow.levels() == {**plain.levels(), "actions": "read"}
    assert [event.name for event in with_workflow.events][-1] == "workflow_run"
    assert all(item.reason for item in (*with_workflow.permissions, *with_workflow.events))


@pytest.mark.parametrize(
    ("line", "level", "words"),
    [
        ("GITHUB_APP_ID is missing (by a command); see", Level.FAIL, "GitHub cannot be asked anything"),
        ("GITHUB_PRIVATE_KEY or GITHUB_PRIVATE_KEY_PATH is missing; see", Level.FAIL, "GITHUB_PRIVATE_KEY_PATH is"),
        ("GITHUB_WEBHOOK_SECRET is missing; see", Level.WARN, "serve --poll"),
        ("PORT: input should be a number", Level.FAIL, "no command starts"),
        ("GITHUB_PRIVATE_KEY and GITHUB_PRIVATE_KEY_PATH are both set: keep one of them", Level.FAIL, "both set"),
    ],
)
def test_a_wrong_setting_tells_what_breaks(line: str, level: Level, words: str) -> None:
    """Each line names the variable, what does not work, and the remedy."""
    (found,) = doctor_here.settings_findings((line,), no_app=False)

    assert found.level is level
    assert words in found.what
    assert found.remedy


def test_without_an_app_the_way_is_the_setup() -> None:
    """Nothing set at all is one line that leads to /setup, not three about variables."""
    (found,) = doctor_here.settings_findings(("GITHUB_APP_ID is missing",), no_app=True)

    assert found.level is Level.FAIL
    assert "python app.py serve" in found.remedy


@pytest.mark.parametrize(
    ("url", "level"),
    [
        (HERE, Level.OK),
        ("http://127.0.0.1:8000", Level.OK),
        ("http://stepgate.example.com", Level.WARN),
        (None, Level.WARN),
    ],
)
def test_the_public_address_should_be_https(url: str | None, level: Level) -> None:
    """Missing or unencrypted addresses are warned of."""
    assert levels(doctor_here.address_findings(settings_with(public_url=url))) == [level]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET": Level.WARN, "STAFF": Level.WARN}),
        ({"github_client_id": "Iv1.x", "staff": "5"}, {"GITHUB_CLIENT_SECRET": Level.FAIL}),
        ({"github_client_id": "Iv1.x", "github_client_secret": "y", "staff": "5"}, {"SESSION_KEY": Level.FAIL}),
        (
            {"github_client_id": "Iv1.x", "github_client_secret": "y", "staff": "5", "public_url": None},
            {"SESSION_KEY": Level.WARN},
        ),
        ({"github_client_id": "Iv1.x", "github_client_secret": "y", "session_key": SECRET}, {"STAFF": Level.WARN}),
    ],
)
def test_who_cannot_sign_in_is_told(fields: dict[str, Any], expected: dict[str, Level]) -> None:
    """What is missing for signing in is told by name; it fails where the pages would not start without it."""
    found = doctor_here.sign_in_findings(settings_with(**fields))

    assert {finding.what.partition(" is ")[0].partition(" are ")[0]: finding.level for finding in found} == expected


def test_complete_sign_in_is_fine() -> None:
    """With client id, secret, session key and staff all is well."""
    complete = settings_with(github_client_id="Iv1.x", github_client_secret="y", session_key=SECRET, staff="5")

    assert levels(doctor_here.sign_in_findings(complete)) == [Level.OK]


@pytest.mark.parametrize(
    ("facts", "embedded", "expected"),
    [
        (FACTS, False, [Level.OK, Level.OK]),
        (replace(FACTS, version=13), False, [Level.FAIL]),
        (replace(FACTS, fit=replace(FIT, missing=(12, 13))), False, [Level.OK, Level.FAIL]),
        (replace(FACTS, fit=replace(FIT, missing=(12, 13))), True, [Level.OK, Level.OK]),
        (replace(FACTS, fit=replace(FIT, ahead=(98, 99))), False, [Level.OK, Level.WARN]),
        (replace(FACTS, fit=replace(FIT, ahead=(98, 99), needed=98)), False, [Level.OK, Level.FAIL]),
        (replace(FACTS, fit=replace(FIT, edited=(3,))), True, [Level.OK, Level.FAIL]),
    ],
)
def test_the_schema_is_older_newer_or_right(facts: DatabaseFacts, embedded: bool, expected: list[Level]) -> None:
    """An old server or schema fails; an embedded database is brought up to date by itself."""
    assert levels(doctor_here.database_findings(facts, embedded=embedded)) == expected


@pytest.mark.parametrize(("free", "level"), [(50 << 30, Level.OK), (500 << 20, Level.WARN), (20 << 20, Level.FAIL)])
def test_a_full_disk_is_told_before_it_is_full(
    free: int, level: Level, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than 1 GB is a warning, less than 100 MB a failure; a folder that is not there yet is no problem."""
    asked: list[Path] = []

    class Usage:
        def __init__(self) -> None:
            self.free = free

    def usage(path: Path) -> Usage:
        asked.append(path)
        return Usage()

    monkeypatch.setattr("shutil.disk_usage", usage)

    assert levels(doctor_here.disk_findings(tmp_path / "not" / "yet")) == [level]
    assert asked == [tmp_path]


def test_a_line_holds_no_control_characters() -> None:
    """Names come from GitHub's users: a terminal is not moved or recoloured by them."""
    line = Finding(Level.OK, "key", "App 'evil\x1b[2J\n' of octo-staff").line

    assert line == "ok    App 'evil\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}' of octo-staff"


async def test_a_check_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A doctor ends, whatever hangs."""
    monkeypatch.setattr("cli.finding.CHECK_TIMEOUT", 0.01)

    async def hangs() -> list[Finding]:
        await asyncio.sleep(5)
        return []

    assert levels(list(await in_time("webhook", hangs()))) == [Level.FAIL]


# ------------------------------------------------------------------------------------------------------ GitHub's side


@pytest.mark.parametrize(
    ("offset", "expected"),
    [(0.4, [Level.OK]), (-9.0, [Level.OK]), (20.0, [Level.WARN]), (-61.0, [Level.FAIL]), (None, [])],
)
def test_the_clock(offset: float | None, expected: list[Level]) -> None:
    """More than ten seconds is a warning, more than a minute makes GitHub refuse the key."""
    assert levels(doctor_github.clock_findings(offset)) == expected


def test_a_refused_key_blames_the_clock_first() -> None:
    """A key is refused for a wrong clock too: then that is the remedy."""
    assert "clock" in doctor_github.refused(settings_with(), 300.0).remedy
    assert "GITHUB_APP_ID" in doctor_github.refused(settings_with(), 1.0).remedy


NEEDED = Needed(
    permissions=(
        Asked("checks", "write", "The verdict.", optional=False),
        Asked("contents", "read", "x", optional=False),
    ),
    events=(Asked("push", "", "A push wakes the App.", optional=False),),
)


@pytest.mark.parametrize(
    ("permissions", "events", "expected"),
    [
        ({"checks": "write", "contents": "read"}, ("push", "check_run"), [(Level.OK, "those of app.yml")]),
        ({"checks": "read", "contents": "read"}, ("push",), [(Level.FAIL, "checks: write. It is for: The verdict.")]),
        (
            {"checks": "write", "contents": "write", "members": "read"},
            ("push",),
            [(Level.WARN, "contents: write, and read is enough"), (Level.WARN, "members: read, and it is not needed")],
        ),
        (
            {"checks": "write", "contents": "read"},
            ("star",),
            [(Level.FAIL, "push. It is for: A push wakes"), (Level.WARN, "does not need: star")],
        ),
    ],
)
def test_permissions_and_events_are_those_of_the_manifest(
    permissions: dict[str, str], events: tuple[str, ...], expected: list[tuple[Level, str]]
) -> None:
    """What is missing fails and tells which feature breaks; what is too much is to be removed, at an exact address."""
    found = doctor_github.permission_findings(replace(APP, permissions=permissions, events=events), NEEDED, WEB)

    assert levels(found) == [level for level, _ in expected]
    assert all(words in finding.what for finding, (_, words) in zip(found, expected, strict=True))
    assert all(f"{WEB}/settings/apps/stepgate/permissions" in item.remedy for item in found if item.level != Level.OK)


@pytest.mark.parametrize(
    ("public", "kind", "level"),
    [
        (True, AccountKind.USER, Level.OK),
        (False, AccountKind.USER, Level.FAIL),
        (False, AccountKind.ORGANIZATION, Level.WARN),
        (None, AccountKind.USER, Level.WARN),
    ],
)
def test_a_private_app_shuts_learners_out(public: bool | None, kind: AccountKind, level: Level) -> None:
    """A private App installs only on its owner's account; inside an organisation that can be enough."""
    assert levels(doctor_github.public_findings(replace(APP, owner=replace(OWNER, kind=kind)), public, WEB)) == [level]


@pytest.mark.parametrize(
    ("hook", "public_url", "expected"),
    [
        (GOOD_HOOK, HERE, [Level.OK]),
        (replace(GOOD_HOOK, url=f"{HERE}/hook"), HERE, [Level.FAIL]),
        (replace(GOOD_HOOK, content_type="form"), HERE, [Level.FAIL]),
        (replace(GOOD_HOOK, verified=False), HERE, [Level.WARN]),
        (replace(GOOD_HOOK, has_secret=False), HERE, [Level.FAIL]),
        (GOOD_HOOK, None, [Level.WARN]),
        (replace(GOOD_HOOK, url="https://stepgate.invalid/webhook"), HERE, [Level.WARN]),
        (replace(GOOD_HOOK, url=""), None, [Level.WARN]),
    ],
)
def test_the_webhook_leads_here(hook: Hook, public_url: str | None, expected: list[Level]) -> None:
    """Address, content type, certificate and secret are compared with this App's settings."""
    assert levels(doctor_github.hook_findings(APP, hook, settings_with(public_url=public_url))) == expected


def delivery(code: int, status: str = "") -> LoggedDelivery:
    """An attempt at a delivery."""
    return LoggedDelivery(1, "g", "push", None, datetime.now(UTC), False, status, code)


@pytest.mark.parametrize(
    ("codes", "public_url", "level", "words"),
    [
        ([], HERE, Level.WARN, "not sent any delivery"),
        ([202, 202], HERE, Level.OK, "arrived"),
        ([202, 401], HERE, Level.OK, "1 of the 2"),
        ([401, 202], HERE, Level.FAIL, "the secret differs"),
        ([504], HERE, Level.FAIL, "no answer in time"),
        ([404], HERE, Level.FAIL, "nothing receives"),
        ([415], HERE, Level.FAIL, "content type"),
        ([503], HERE, Level.FAIL, "could not store"),
        ([302], HERE, Level.FAIL, "redirected"),
        ([502], HERE, Level.FAIL, "failed"),
        ([502], None, Level.OK, "serve --poll"),
    ],
)
def test_the_last_deliveries_tell_what_is_wrong(
    codes: list[int], public_url: str | None, level: Level, words: str
) -> None:
    """The newest attempt decides: a 401 is a wrong secret, a time-out an App that does not answer."""
    attempts = [delivery(code, "OK" if code < 300 else "") for code in codes]
    (found,) = doctor_github.delivery_findings(APP, GOOD_HOOK, attempts, settings_with(public_url=public_url))

    assert found.level is level
    assert words in found.what
