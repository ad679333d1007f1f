"""`app.py doctor`, on this side: settings, address, sign-in, database, migrations, disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cli.finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from settings import Settings
    from storage.health import DatabaseFacts

MIB = 1024 * 1024
# PostgreSQL stops when it cannot write; a class of 100 needs some tens of megabytes a week (bytes).
SCARCE, TOO_LITTLE = 1024 * MIB, 100 * MIB

# What does not work without a setting. Any that is not named here only keeps commands from starting.
BREAKS: Mapping[str, str] = {
    "GITHUB_APP_ID": "GitHub cannot be asked anything",
    "GITHUB_PRIVATE_KEY": "GitHub cannot be asked anything",
    "GITHUB_PRIVATE_KEY_PATH": "GitHub cannot be asked anything",
    "GITHUB_WEBHOOK_SECRET": "nothing can be received, and only `serve --poll` works",
    "DATABASE_URL": "nothing can be stored there",
    "SESSION_KEY": "nobody can stay signed in",
    "STAFF": "nobody is known as staff",
}


def settings_findings(lines: tuple[str, ...], *, no_app: bool) -> list[Finding]:
    """One for each wrong or missing setting; `lines` as `settings.examine` gives them. `no_app`: nothing is set yet."""
    if no_app:
        what = "there is no GitHub App yet: nothing of it is set"
        return [fail("settings", what, "run: python app.py serve, and open the link that it prints")]
    if not lines:
        return [ok("settings", "settings: all that is set can be read, and nothing that is needed is missing")]
    return [_setting(line) for line in lines]


def _setting(line: str) -> Finding:
    name = name_of(line)
    breaks = BREAKS.get(name, "no command starts until it is right")
    if " is missing" in line:
        what = f"{line.partition(' is missing')[0]} is missing, so {breaks}"
        # without a webhook secret a laptop can still poll
        level = warn if name == "GITHUB_WEBHOOK_SECRET" else fail
        return level("settings", what, f"set {name} (docs/settings.md)")
    remedy = "keep one of them" if " both set" in line else f"correct {name} (docs/settings.md)"
    return fail("settings", f"{line}, so {breaks}", remedy)


def name_of(line: str) -> str:
    """The variable that a line of `settings.examine` is about."""
    return line.partition(":")[0].partition(" ")[0]


def address_findings(settings: Settings) -> list[Finding]:
    """How others reach this App."""
    url = settings.public_url
    if url is None:
        what = (
            f"PUBLIC_URL is not set: links in check-runs lead to {settings.base_url}, which only this machine can open"
        )
        return [warn("address", what, "set PUBLIC_URL to the App's own https address, if it has one")]
    if not url.startswith("https://") and not _is_loopback(url):
        what = f"PUBLIC_URL is {url}: whoever listens on the way can read pages and take over sign-ins"
        return [warn("address", what, "put the App behind https and set PUBLIC_URL to that address")]
    return [ok("address", f"the App's own address is {url}")]


def _is_loopback(url: str) -> bool:
    from urllib.parse import urlsplit

    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def sign_in_findings(settings: Settings) -> list[Finding]:
    """Who can sign in to the pages."""
    found = []
    absent = [name for name in ("GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET") if not getattr(settings, name.lower())]
    if len(absent) == 1:
        what = f"{absent[0]} is missing: the pages do not start with one of GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET"
        found.append(fail("sign-in", what, f"set {absent[0]} (on the App's settings page at GitHub)"))
    elif absent:
        what = f"{' and '.join(absent)} are not set: nobody can sign in, and pages are for this machine only"
        found.append(warn("sign-in", what, "set both (on the App's settings page at GitHub)"))
    elif settings.session_key is None:
        found.append(_no_session_key(public=settings.base_url.startswith("https://")))
    if not settings.staff:
        remedy = f"set STAFF to your account's id: the number `id` at {settings.github_api_url}/users/YOUR-LOGIN"
        found.append(warn("sign-in", "STAFF is empty: nobody who signs in sees the class", remedy))
    return found or [ok("sign-in", "learners and staff can sign in")]


def _no_session_key(*, public: bool) -> Finding:
    """Nothing encrypts cookies but the process's own key."""
    remedy = "set SESSION_KEY; make one with: openssl rand -hex 32"
    if public:
        return fail("sign-in", "SESSION_KEY is missing: the pages do not start at a public address without it", remedy)
    return warn("sign-in", "SESSION_KEY is not set: each restart signs everybody out", remedy)


def database_findings(facts: DatabaseFacts, *, embedded: bool) -> list[Finding]:
    """PostgreSQL's version and the schema."""
    from storage.health import OLDEST

    where = "embedded in STEPGATE_HOME" if embedded else "at DATABASE_URL"
    if facts.version < OLDEST:
        what = f"the database {where} is PostgreSQL {facts.version}: {OLDEST} or newer is needed"
        return [fail("database", what, "set DATABASE_URL to a newer server")]
    return [ok("database", f"the database {where} answers: PostgreSQL {facts.version}"), _schema(facts, embedded)]


def _schema(facts: DatabaseFacts, embedded: bool) -> Finding:
    fit = facts.fit
    if fit.edited:
        numbers = ", ".join(f"{number:04d}" for number in fit.edited)
        what = f"migrations {numbers} are not the files that were applied"
        return fail("migrations", what, "restore the files of the release that made them")
    if fit.too_old:
        what = f"this program is too old for the database, which needs one that has migration {fit.needed:04d}"
        return fail("migrations", what, "start the newer release")
    if fit.missing and embedded:
        return ok("migrations", f"{len(fit.missing)} migrations will be applied by the next command that starts")
    if fit.missing:
        what = f"the database lacks {len(fit.missing)} migrations, from {fit.missing[0]:04d} on"
        return fail("migrations", what, "run: python app.py migrate")
    if fit.ahead:
        what = f"the database is newer than this program, by migrations up to {fit.ahead[-1]:04d}; both work together"
        return warn("migrations", what, "finish the deployment of the newer release")
    return ok("migrations", "the schema is up to date")


def disk_findings(folder: Path) -> list[Finding]:
    """Free space where data is written. `folder` need not exist yet."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    what = f"{_size(free)} free at {folder}"
    if free < TOO_LITTLE:
        return [fail("disk", f"only {what}: the database stops when it cannot write", "free some space there")]
    if free < SCARCE:
        return [warn("disk", f"only {what}", "free some space there before the class begins")]
    return [ok("disk", what)]


def data_folder(settings: Settings) -> Path:
    """Where this machine writes: the embedded database's folder, else the folder of temporary files.

    Raises EmbeddedError if the embedded database has no place.
    """
    if settings.database_url is not None:
        return Path(tempfile.gettempdir())
    from storage.embedded import locate

    return locate(settings.stepgate_home).folder


def _size(count: int) -> str:
    return f"{count / MIB / 1024:.1f} GB" if count >= SCARCE else f"{count / MIB:.0f} MB"
