"""`app.py doctor`, on GitHub's side: key, clock, permissions, events, visibility, webhook, deliveries, accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cli.finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from github.client import GitHubApp
    from github.deliverylog import LoggedDelivery
    from github.health import Hook, Registration
    from github.manifest import Asked
    from settings import Settings

MANIFEST = Path(__file__).parents[1] / "app.yml"

# Our JWT is issued 60 s in the past and ends 540 s ahead, of at most 600 (GitHub docs, "Generating a JSON Web Token"):
# a clock that is wrong by more than the first is refused, and one by more than some seconds is on its way there.
CLOCK_WARN, CLOCK_FAIL = 10.0, 60.0
# How many of the newest deliveries are looked at: the first page, small.
LOOK_AT = 20
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Needed:
    """What app.yml asks for, and of that what this installation of Stepgate needs."""

    permissions: tuple[Asked, ...]
    events: tuple[Asked, ...]

    @classmethod
    def read(cls, *, workflow: bool) -> Needed:
        """From app.yml. `workflow`: a lab uses the condition of this name, so what is optional is needed too."""
        from github.manifest import read_template

        template = read_template(MANIFEST.read_text(encoding="utf-8"))
        return cls(
            tuple(item for item in template.permissions if workflow or not item.optional),
            tuple(item for item in template.events if workflow or not item.optional),
        )

    def levels(self) -> dict[str, str]:
        """Permissions and their levels."""
        return {item.name: item.access for item in self.permissions}


# ---------------------------------------------------------------------------------------------------- clock and key


def clock_findings(offset: float | None) -> list[Finding]:
    """`offset`: seconds that our clock is ahead of GitHub's; None: unknown, which another check tells."""
    if offset is None:
        return []
    if abs(offset) <= CLOCK_WARN:
        return [ok("clock", "this machine's clock agrees with GitHub's")]
    way = "ahead of" if offset > 0 else "behind"
    what = f"this machine's clock is {abs(offset):.0f} s {way} GitHub's"
    remedy = "set the clock, by NTP (on Linux: timedatectl set-ntp true)"
    if abs(offset) > CLOCK_FAIL:
        return [fail("clock", f"{what}: GitHub refuses keys that are signed in the future or too long ago", remedy)]
    return [warn("clock", f"{what}: GitHub refuses the App's key when it is more than {CLOCK_FAIL:.0f} s", remedy)]


def refused(settings: Settings, offset: float | None) -> Finding:
    """GitHub does not accept our JWT."""
    if offset is not None and abs(offset) > CLOCK_FAIL:
        return fail("key", "GitHub refuses the App's key, because of this machine's clock", "set the clock first")
    remedy = (
        f"at {settings.web_url}/settings/apps (for an organisation: in its settings, Developer settings) compare the "
        "App ID with GITHUB_APP_ID, and make a new private key if need be"
    )
    return fail("key", f"GitHub refuses the key of App {settings.github_app_id}: they do not belong together", remedy)


def accepted(app: Registration) -> Finding:
    """GitHub accepts our JWT."""
    return ok("key", f"GitHub accepts the key: App {app.name!r} (id {app.app_id}) of {app.owner.login}")


# ------------------------------------------------------------------------------------------- permissions and events


def permission_findings(app: Registration, needed: Needed, web_url: str) -> list[Finding]:
    """What the App may do and hears, against app.yml."""
    from github.health import unwanted
    from github.permissions import lacking, superfluous

    page = app.settings_url(web_url, "permissions")
    levels = needed.levels()
    missing = set(lacking(app.permissions, levels))
    found = [
        fail(
            "permissions",
            f"the App lacks the permission {item.name}: {item.access}. It is for: {item.reason}",
            f"set it at {page}; then each installation's owner must accept it",
        )
        for item in needed.permissions
        if item.name in missing
    ]
    for name in superfluous(app.permissions, levels):
        wanted = f"{levels[name]} is enough" if name in levels else "it is not needed"
        what = f"the App has the permission {name}: {app.permissions[name]}, and {wanted}"
        found.append(warn("permissions", what, f"{_lower(name, levels)} at {page}"))
    found += [
        fail("events", f"the App is not sent the event {item.name}. It is for: {item.reason}", f"tick it at {page}")
        for item in needed.events
        if item.name not in app.events
    ]
    if surplus := unwanted(app.events, [item.name for item in needed.events]):
        what = f"the App is sent events that it does not need: {', '.join(surplus)}"
        found.append(warn("events", what, f"untick them at {page}"))
    return found or [ok("permissions", "permissions and events are those of app.yml")]


def _lower(name: str, levels: dict[str, str]) -> str:
    return f"lower {name} to {levels[name]}" if name in levels else f"remove {name}"


async def installation_findings(github: GitHubApp, app: Registration, needed: Needed, web_url: str) -> list[Finding]:
    """How many installations there are, and which have not accepted the App's permissions of today."""
    from github.health import installations_behind

    # only what the App asks for can be accepted; what it does not ask for is told with the permissions
    asked = {name: level for name, level in needed.levels().items() if name in app.permissions}
    total, behind = await installations_behind(github, asked)
    if not total:
        what = "the App is installed nowhere yet"
        return [warn("installations", what, f"install it on the lab's template: {web_url}/apps/{app.slug}")]
    if not behind:
        return [ok("installations", f"installed on {_count(total, 'account')}, with all permissions accepted")]
    names = ", ".join(account.login for account in behind[:_NAMED]) + (" and others" if len(behind) > _NAMED else "")
    what = f"{len(behind)} of {_count(total, 'installation')} did not accept the App's new permissions: {names}"
    remedy = f"ask their owners to accept them at {web_url}/settings/installations"
    return [warn("installations", what, remedy)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def public_findings(app: Registration, public: bool | None, web_url: str) -> list[Finding]:
    """Whether learners can install the App."""
    from rules.model import AccountKind

    if public:
        return [ok("public", "the App is public: learners can install it on their own accounts")]
    remedy = f"make it public at {app.settings_url(web_url, 'advanced')}"
    if public is None:
        what = f"whether the App is public cannot be told from {web_url}/apps/{app.slug}"
        return [warn("public", what, f"look at {app.settings_url(web_url, 'advanced')}: it must be public")]
    what = f"the App is private: only {app.owner.login} can install it"
    if app.owner.kind is AccountKind.ORGANIZATION:
        return [warn("public", f"{what}, so only repositories of that organisation can take part", remedy)]
    return [fail("public", f"{what}, and no learner can", remedy)]


# ----------------------------------------------------------------------------------------------- webhook and deliveries


def hook_findings(app: Registration, hook: Hook, settings: Settings) -> list[Finding]:
    """Where GitHub delivers to, and how."""
    page = app.settings_url(settings.web_url)
    if _is_nowhere(hook.url):
        what = f"the webhook's address {hook.url or '(none)'} leads nowhere: deliveries must be taken from GitHub's log"
        return [warn("webhook", what, 'run "python app.py serve --poll", or set the webhook\'s address at ' + page)]
    found = []
    if settings.public_url is None:
        what = f"GitHub delivers to {hook.url}; whether that is this App cannot be told, because PUBLIC_URL is not set"
        found.append(warn("webhook", what, 'set PUBLIC_URL, or run "python app.py serve --poll"'))
    elif hook.url != (expected := f"{settings.public_url}/webhook"):
        what = f"GitHub delivers to {hook.url}, not to {expected}"
        found.append(fail("webhook", what, f"set the webhook's address at {page}, or correct PUBLIC_URL"))
    if hook.content_type != "json":
        what = f"the webhook's content type is {hook.content_type!r}: such deliveries are refused"
        found.append(fail("webhook", what, f"set it to application/json at {page}"))
    if not hook.verified:
        what = "GitHub does not check the certificate of the webhook's address"
        found.append(warn("webhook", what, f"enable SSL verification at {page}"))
    if not hook.has_secret:
        what = "the webhook has no secret: its deliveries are unsigned, and are refused"
        found.append(fail("webhook", what, f"set it at {page} to the value of GITHUB_WEBHOOK_SECRET"))
    return found or [ok("webhook", f"GitHub delivers to {hook.url}")]


def _is_nowhere(url: str) -> bool:
    """Whether the address is one at which nobody can be (RFC 6761, 6.4)."""
    return not url or (urlsplit(url).hostname or "").endswith(".invalid")


def delivery_findings(
    app: Registration, hook: Hook, deliveries: Sequence[LoggedDelivery], settings: Settings
) -> list[Finding]:
    """How the newest deliveries ended."""
    if not deliveries:
        what = "GitHub has not sent any delivery yet"
        return [warn("deliveries", what, "install the App on a repository, or push to one that it is installed on")]
    newest = deliveries[0]
    failed = [delivery for delivery in deliveries if not delivery.arrived]
    if newest.arrived:
        earlier = f", {len(failed)} of the {len(deliveries)} before it did not" if failed else ""
        return [ok("deliveries", f"the newest delivery arrived ({newest.event}){earlier}")]
    if _is_nowhere(hook.url) or settings.public_url is None:
        what = f"deliveries do not arrive ({newest.status or newest.status_code}), which `serve --poll` does not need"
        return [ok("deliveries", what)]
    page = app.settings_url(settings.web_url, "advanced")
    what, remedy = _why(newest)
    since = f"{len(failed)} of the newest {len(deliveries)}" if len(deliveries) > 1 else "the only one"
    return [fail("deliveries", f"the newest delivery failed ({since}): {what}", f"{remedy}; see {page}")]


def _why(delivery: LoggedDelivery) -> tuple[str, str]:
    """What an attempt's status tells, and the remedy."""
    match delivery.status_code:
        case 401:
            return "the secret differs", "set the webhook's secret and GITHUB_WEBHOOK_SECRET to the same value"
        case 404 | 405:
            return (
                f"nothing receives there ({delivery.status_code})",
                "the address must end in /webhook, with GITHUB_WEBHOOK_SECRET set",
            )
        case 415:
            return "wrong content type", "set the webhook's content type to application/json"
        case 503:
            return "the App could not store it", "look at the database"
        case code if 300 <= code < 400:
            return f"it was redirected ({code}), which GitHub does not follow", "set the address that it leads to"
        case code if "timed out" in delivery.status.lower() or code == 504:
            return "no answer in time", "is `serve` or `web` running, and fast enough?"
        case code:
            words = delivery.status or "no answer"
            return f"{words} ({code})", "is `serve` or `web` running, and does PUBLIC_URL lead to it?"
