"""`app.py doctor`: looks at everything that a class needs, one line for each check, with the remedy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cli import doctor_github, doctor_here, doctor_labs
from cli.connect import github_of, pool_on, reachable_database
from cli.doctor_labs import Labs
from cli.faults import FAILED, WRONG_USE, CommandError
from cli.finding import Finding, Level, fail, in_time, ok
from cli.output import print_json
from cli.serve import run

if TYPE_CHECKING:
    import aiohttp

    from github.client import GitHubApp
    from github.errors import GitHubError
    from github.health import Registration
    from settings import Settings

STATUS_PAGE = "for github.com see https://www.githubstatus.com"


def doctor(*, as_json: bool) -> int:
    """Check everything and print what was found. Exit status: 0 well, 1 something fails, 2 settings are wrong."""
    from cli.logs import configure
    from settings import SettingsError, examine

    try:
        settings, lines = examine("serve")
    except SettingsError as error:
        _print([fail("settings", str(error), "correct the file .env in this folder")], as_json)
        return WRONG_USE
    configure(settings.log_format, "error")  # what is wrong is told by the findings, and standard output is for them
    no_app = settings.knows_no_app and all(" is missing" in line for line in lines)
    found = doctor_here.settings_findings(lines, no_app=no_app)
    told = tuple(doctor_here.name_of(line) for line in lines)  # what is wrong counts as absent: not said twice
    others = [*doctor_here.address_findings(settings), *doctor_here.sign_in_findings(settings)]
    found += [finding for finding in others if not finding.what.startswith(told)]
    wrong = any(finding.level is Level.FAIL for finding in found)
    with _database(settings) as database:
        found += run(lambda: _examine(settings, database))
    _print(found, as_json)
    if wrong:
        return WRONG_USE
    return FAILED if any(finding.level is Level.FAIL for finding in found) else 0


def _print(found: Sequence[Finding], as_json: bool) -> None:
    from cli.logs import scrub

    if as_json:
        print_json([scrub(asdict(finding)) for finding in found])
        return
    for finding in found:
        print(scrub(finding.line))  # noqa: T201 (the command's answer)


# -------------------------------------------------------------------------------------------------------- the database


@dataclass(frozen=True, slots=True)
class _Database:
    """Where the database is, if there is one. `findings`: what was found on the way there."""

    dsn: str | None
    embedded: bool
    findings: tuple[Finding, ...] = ()


@contextmanager
def _database(settings: Settings) -> Iterator[_Database]:
    """The database as it is: unlike other commands, a doctor neither creates nor migrates one."""
    if settings.database_url is not None:
        yield _Database(settings.database_url.get_secret_value(), embedded=False)
        return
    from storage import embedded

    with ExitStack() as stack:
        try:
            location = embedded.locate(settings.stepgate_home)
            if location.data_dir.exists():
                server = stack.enter_context(embedded.running(settings.stepgate_home))
                known = _Database(server.dsn, embedded=True)
            else:
                what = f"no database yet: the first command that needs one makes it in {location.data_dir}"
                known = _Database(None, embedded=True, findings=(ok("database", what),))
        except embedded.EmbeddedError as error:
            told = fail("database", str(error), "see docs/settings.md for STEPGATE_HOME and DATABASE_URL")
            known = _Database(None, embedded=True, findings=(told,))
        yield known


async def _here(settings: Settings, database: _Database) -> tuple[list[Finding], Labs]:
    """What is found of database and disk, and the labs if the database can be read."""
    from storage.embedded import EmbeddedError
    from storage.health import inspect

    found = list(database.findings)
    labs: Labs = ()
    if database.dsn is not None:
        try:
            with reachable_database():
                facts = await inspect(database.dsn)
            found += doctor_here.database_findings(facts, embedded=database.embedded)
            if facts.readable:
                async with pool_on(database.dsn) as pool:
                    labs = await doctor_labs.all_labs(pool)
        except CommandError as error:
            found.append(fail("database", str(error), "start the server, or correct DATABASE_URL"))
    with suppress(EmbeddedError):  # then it has been told above
        found += doctor_here.disk_findings(doctor_here.data_folder(settings))
    return found, labs


# -------------------------------------------------------------------------------------------------------------- GitHub


async def _examine(settings: Settings, database: _Database) -> list[Finding]:
    """Everything that has to be asked of the database and of GitHub, side by side."""
    import aiohttp

    from github import health

    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        (found, labs), offset = await asyncio.gather(
            _here(settings, database), health.clock_offset(http, settings.github_api_url)
        )
        found += doctor_github.clock_findings(offset)
        if settings.github_app_id is not None and (settings.github_private_key or settings.github_private_key_path):
            async with github_of(settings) as github:
                found += await _at_github(settings, http, github, labs, offset)
    return found


async def _at_github(
    settings: Settings, http: aiohttp.ClientSession, github: GitHubApp, labs: Labs, offset: float | None
) -> list[Finding]:
    """What GitHub says about the App and the labs' templates. GitHub being away is one finding."""
    from github import health
    from github.errors import GitHubError, Unauthorized

    try:
        app = await health.registration(github)
    except Unauthorized:
        return [doctor_github.refused(settings, offset)]
    except GitHubError as error:
        what = f"GitHub's API at {settings.github_api_url} does not answer as it should: {error}"
        return [fail("github", what, f"check the network and GITHUB_API_URL; {STATUS_PAGE}")]
    needed = doctor_github.Needed.read(workflow=doctor_labs.uses_workflow(labs))
    found = [doctor_github.accepted(app), *doctor_github.permission_findings(app, needed, settings.web_url)]
    checks: dict[str, Awaitable[Sequence[Finding]]] = {
        "visibility": _visibility(http, app, settings.web_url),
        "webhook": _webhook(github, app, settings),
        "installations": doctor_github.installation_findings(github, app, needed, settings.web_url),
    }
    checks |= {f"lab {lab.slug}": doctor_labs.lab_findings(github, lab, version) for lab, version in labs}
    answers = await asyncio.gather(*(in_time(name, check) for name, check in checks.items()), return_exceptions=True)
    silent: dict[str, GitHubError] = {}
    for name, answer in zip(checks, answers, strict=True):
        if isinstance(answer, GitHubError):
            silent[name] = answer
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found += answer
    return found + _unanswered(silent)


async def _visibility(http: aiohttp.ClientSession, app: Registration, web_url: str) -> list[Finding]:
    from github import health

    return doctor_github.public_findings(app, await health.is_public(http, web_url, app.slug), web_url)


async def _webhook(github: GitHubApp, app: Registration, settings: Settings) -> list[Finding]:
    from github import health

    hook, deliveries = await asyncio.gather(
        health.hook(github), health.newest_deliveries(github, doctor_github.LOOK_AT)
    )
    return [
        *doctor_github.hook_findings(app, hook, settings),
        *doctor_github.delivery_findings(app, hook, deliveries, settings),
    ]


def _unanswered(silent: Mapping[str, GitHubError]) -> list[Finding]:
    """Checks that GitHub did not answer: those that it refused one by one, all others in one line."""
    from github.errors import Permanent, RateLimited

    refusals = {name: error for name, error in silent.items() if isinstance(error, Permanent)}
    found = [fail("github", f"{name}: {error}", "see docs/permissions.md") for name, error in refusals.items()]
    away = [name for name in silent if name not in refusals]
    if away:
        error = silent[away[0]]
        limited = isinstance(error, RateLimited)
        remedy = f"try again in {error.retry_after or 60:.0f} s" if limited else f"try again later; {STATUS_PAGE}"
        found.append(fail("github", f"GitHub did not answer about {', '.join(away)}: {error}", remedy))
    return found
