"""Registering the App from its manifest, `app.yml`: what is asked of GitHub, where the form goes, what comes back.

Source: GitHub docs, "Registering a GitHub App from a manifest". A form posts the manifest to GitHub, the owner agrees,
GitHub sends the browser back with a code, and the code is exchanged once, within one hour, for the App's credentials.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from yarl import URL

from github.answers import AccountModel, read
from github.errors import Fault, GitHubError, Gone, NotFound, Transient, UnknownOutcome, scrub
from github.governor import MemoryGovernor
from github.transport import ANONYMOUS, Request, Transport
from rules.model import Account

# The App's own address in app.yml, which is replaced.
_PLACE = "https://stepgate.example.com"
# "The name of your app cannot be longer than 34 characters" (GitHub docs, "Registering a GitHub App").
LONGEST_NAME = 34
# "You must complete this step within one hour" (GitHub docs, "Registering a GitHub App from a manifest").
LIFETIME = 3600.0
# Deliveries are logged, and so can be fetched from the log, only while the webhook is active with an address. A name
# under .invalid is nobody's and is never resolved (RFC 6761, 6.4): nothing is sent to anybody.
NOWHERE = "https://stepgate.invalid/webhook"

_CODE = re.compile(r"[A-Za-z0-9_-]{1,200}")
_PERMISSION = re.compile(r"(?P<off># )?(?P<name>[a-z_]+): (?P<access>read|write|admin)")
_EVENT = re.compile(r"(?P<off># )?- (?P<name>[a-z_]+)")


# ------------------------------------------------------------------------------------------------------ what is asked


@dataclass(frozen=True, slots=True)
class Asked:
    """A permission (`access` read or write) or an event (`access` empty) that app.yml names, and why.

    `optional`: written as a comment; asked for only if labs use the condition "workflow".
    """

    name: str
    access: str
    reason: str
    optional: bool


@dataclass(frozen=True, slots=True)
class Template:
    """app.yml, read. `fields`: all of it as YAML understands it, without what is optional."""

    fields: Mapping[str, Any]
    permissions: tuple[Asked, ...]
    events: tuple[Asked, ...]


def read_template(text: str) -> Template:
    """app.yml's text with the reasons in its comments."""
    fields: dict[str, Any] = yaml.safe_load(text)
    return Template(fields, _asked(text, "default_permissions", _PERMISSION), _asked(text, "default_events", _EVENT))


def _asked(text: str, section: str, entry: re.Pattern[str]) -> tuple[Asked, ...]:
    """The entries of a section, each with the comment above it."""
    found: list[Asked] = []
    reason: list[str] = []
    _, _, rest = text.partition(f"\n{section}:\n")
    for line in rest.splitlines():
        if line and not line.startswith(" "):
            break
        content = line.strip()
        if match := entry.fullmatch(content):
            access = match.groupdict().get("access") or ""
            found.append(Asked(match["name"], access, " ".join(reason), optional=match["off"] is not None))
            reason = []
        elif content.startswith("# "):
            reason.append(content.removeprefix("# "))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The App that the operator wants.

    `web_url`, `api_url`: GitHub's; `here`: our root in the operator's browser; `public_url`: our root as GitHub reaches
    it, None if it cannot. All without trailing slash. `organization` None: the App is the operator's own.
    """

    web_url: str
    api_url: str
    here: str
    name: str
    organization: str | None = None
    public_url: str | None = None
    workflow: bool = False

    @property
    def settings_url(self) -> str:
        """The owner's Apps on GitHub."""
        owner = f"/organizations/{quote(self.organization, safe='')}" if self.organization else ""
        return f"{self.web_url}{owner}/settings/apps"

    def form_url(self, state: str) -> str:
        """Where the form with the manifest is posted."""
        return f"{self.settings_url}/new?{urlencode({'state': state})}"


def asked_for(asked: tuple[Asked, ...], wanted: Wanted) -> tuple[Asked, ...]:
    """Those that are asked for this App."""
    return tuple(item for item in asked if wanted.workflow or not item.optional)


def manifest_for(template: Template, wanted: Wanted) -> dict[str, Any]:
    """The manifest that GitHub is sent.

    Without a public address the webhook points nowhere (deliveries are fetched from GitHub's log), learners are not
    sent to us after installing, and signing in works in the operator's browser.
    """
    root = wanted.public_url or wanted.here
    manifest: dict[str, Any] = _moved(template.fields, root)
    manifest["name"] = wanted.name
    manifest["redirect_url"] = f"{wanted.here}/setup/created"
    manifest["default_permissions"] = {item.name: item.access for item in asked_for(template.permissions, wanted)}
    manifest["default_events"] = [item.name for item in asked_for(template.events, wanted)]
    if wanted.public_url is None:
        manifest["url"] = f"{wanted.web_url}/{wanted.organization}" if wanted.organization else wanted.web_url
        manifest["hook_attributes"]["url"] = NOWHERE
        del manifest["setup_url"]
    return manifest


def _moved(value: Any, root: str) -> Any:
    """A copy of `value` in which the App's address is `root`."""
    if isinstance(value, Mapping):
        return {key: _moved(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, root) for item in value]
    return root + value.removeprefix(_PLACE) if isinstance(value, str) and value.startswith(_PLACE) else value


def api_url_of(web_url: str) -> str:
    """The REST API that belongs to GitHub's pages.

    GitHub docs: https://api.github.com; with data residency https://api.SUBDOMAIN.ghe.com; Enterprise Server
    https://HOST/api/v3.
    """
    url = URL(web_url)
    host = url.host or ""
    if host == "github.com" or host.endswith(".ghe.com"):
        return f"https://api.{host}"
    return f"{web_url}/api/v3"


# --------------------------------------------------------------------------------------------------- what comes back


@dataclass(frozen=True, slots=True)
class Registered:
    """A new App with its credentials. `page`: the App's public page on GitHub, without trailing slash."""

    app_id: int
    slug: str
    name: str
    page: str
    owner: Account
    client_id: str
    client_secret: SecretStr = field(repr=False)
    webhook_secret: SecretStr | None = field(repr=False)
    private_key: SecretStr = field(repr=False)


class NotExchangedError(Exception):
    """The code could not be exchanged. The message tells whose fault it is; `again`: the same code may still work."""

    def __init__(self, message: str, *, fault: Fault, again: bool) -> None:
        super().__init__(message)
        self.fault = fault
        self.again = again


class _Conversion(BaseModel):
    """POST /app-manifests/{code}/conversions, as far as it is read."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    id: int = Field(ge=1)
    slug: str = ""
    name: str
    html_url: str
    owner: AccountModel
    client_id: str = Field(pattern=r"^[\x21-\x7e]+$")
    client_secret: SecretStr = Field(min_length=1)
    webhook_secret: SecretStr | None = None
    pem: SecretStr = Field(min_length=1)


async def exchange(http: aiohttp.ClientSession, *, web_url: str, api_url: str, code: str) -> Registered:
    """Exchange the code for the App's credentials; NotExchangedError if that fails. The code is never repeated in it:
    until it is used, it is a credential."""
    if not _CODE.fullmatch(code):
        raise NotExchangedError("The code in the address is not one of GitHub's.", fault=Fault.OPERATOR, again=False)
    request = Request("POST", f"app-manifests/{code}/conversions", repeatable=False)
    try:
        transport = Transport(http, api_url, MemoryGovernor(0.0))
        model = read(_Conversion, (await transport.send(request, ANONYMOUS, 0)).data)
    except GitHubError as error:
        failure = _failure(error, api_url, code)
    else:
        return _registered(model, web_url)
    raise failure


def _failure(error: GitHubError, api_url: str, code: str) -> NotExchangedError:
    if isinstance(error, NotFound | Gone):
        text = "GitHub does not know this code any more: a code works once, and within one hour."
        return NotExchangedError(text, fault=Fault.OPERATOR, again=False)
    said = scrub(str(error).replace(code, "[code]"))
    if isinstance(error, Transient | UnknownOutcome):
        text = f"GitHub's API ({api_url}) gave no usable answer: {said}."
        return NotExchangedError(text, fault=error.fault, again=True)
    return NotExchangedError(f"GitHub's API ({api_url}) refused the code: {said}.", fault=error.fault, again=False)


def _registered(model: _Conversion, web_url: str) -> Registered:
    # On Enterprise Server the pages of Apps are elsewhere (/github-apps/NAME), so GitHub's own address is taken, but
    # only one of the GitHub that was asked: people are sent there.
    ours = model.html_url.startswith(f"{web_url}/")
    return Registered(
        app_id=model.id,
        slug=model.slug,
        name=model.name,
        page=model.html_url.rstrip("/") if ours else f"{web_url}/apps/{quote(model.slug, safe='')}",
        owner=model.owner.value(),
        client_id=model.client_id,
        client_secret=model.client_secret,
        webhook_secret=model.webhook_secret,
        private_key=model.pem,
    )
