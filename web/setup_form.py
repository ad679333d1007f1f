"""The form of /setup: what the operator typed, checked, and what it means."""

from __future__ import annotations

import ipaddress
import re
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from github.manifest import LONGEST_NAME, Wanted, api_url_of

# Letters, digits and single hyphens inside, at most 39 (GitHub docs, "Username considerations"); managed users of an
# enterprise have an underscore as well.
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,38})")
_HOST = re.compile(r"[a-z0-9.-]+|[0-9a-f:]+")
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]*[A-Za-z0-9.])?")


@dataclass(frozen=True, slots=True)
class Known:
    """What the settings say already. A GitHub that they name (`fixed`) is not the form's to change, nor `public_url`.

    Addresses are without trailing slash. `staff`: somebody is staff already.
    """

    web_url: str
    api_url: str
    fixed: bool = False
    public_url: str | None = None
    staff: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What the operator decided. `to_file`: credentials are written into the working folder, else shown once."""

    wanted: Wanted
    to_file: bool


def proposed(known: Known, host: str) -> dict[str, str]:
    """The fields as they are before anything is typed. `host`: how the browser calls us."""
    letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
    public = known.public_url or ("" if _is_private(urlsplit(f"//{host}").hostname or "") else f"https://{host}")
    return {
        "owner": "personal",
        "organization": "",
        "github": known.web_url,
        "name": f"Stepgate-{letters}",
        "public_url": public,
        "workflow": "",
        "keep": "file",
    }


def read_form(typed: Mapping[str, str], known: Known, *, here: str) -> Choice | dict[str, str]:
    """What was decided, or for each field that is wrong the sentence to show beside it. `here`: our root as the
    operator's browser reaches it."""
    wrong: dict[str, str] = {}

    def checked(field: str, check: Callable[[str], str]) -> str:
        try:
            return check(typed.get(field, "").strip())
        except ValueError as error:
            wrong[field] = str(error)
            return ""

    organization = checked("organization", _organization) if typed.get("owner") == "organization" else None
    web_url = checked("github", lambda text: _github(text, known))
    name = checked("name", _name)
    public_url = checked("public_url", lambda text: _public(text, known, web_url))
    if wrong:
        return wrong
    wanted = Wanted(
        web_url=web_url,
        api_url=known.api_url if web_url == known.web_url else api_url_of(web_url),
        here=here,
        name=name,
        organization=organization,
        public_url=public_url or None,
        workflow=bool(typed.get("workflow")),
    )
    return Choice(wanted, to_file=typed.get("keep") == "file")


def _organization(text: str) -> str:
    if not _LOGIN.fullmatch(text):
        raise ValueError("Type the organisation's name as it stands in its address, such as octo-course.")
    return text


def _name(text: str) -> str:
    if not text or len(text) > LONGEST_NAME:
        raise ValueError(f"Give the App a name of at most {LONGEST_NAME} characters.")
    if not _NAME.fullmatch(text):
        raise ValueError("Use letters, digits, spaces, hyphens, dots and underscores only.")
    return text


def _github(text: str, known: Known) -> str:
    if text.rstrip("/") in ("", known.web_url):
        return known.web_url
    if known.fixed:
        raise ValueError(f"GITHUB_API_URL or GITHUB_WEB_URL is set, and means {known.web_url}: change it there.")
    return _root(text, "such as https://github.com or https://github.example.com")


def _public(text: str, known: Known, web_url: str) -> str:
    """Our root as GitHub reaches it; empty if it cannot."""
    if known.public_url is None and not text:
        return ""
    github = urlsplit(web_url).hostname or ""
    if known.public_url is not None:
        if text.rstrip("/") != known.public_url:
            raise ValueError(f"PUBLIC_URL is set to {known.public_url}: change it there, or type the same here.")
        return "" if _unreachable(urlsplit(known.public_url).hostname or "", github) else known.public_url
    address = _root(text, "such as https://stepgate.example.com")
    if _unreachable(urlsplit(address).hostname or "", github):
        raise ValueError("GitHub cannot reach this address. If there is no other, leave the field empty.")
    return address


def _root(text: str, example: str) -> str:
    """An address of a host, without path; https, or http on this machine."""
    parts = urlsplit(text if "://" in text else f"https://{text}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    host = parts.hostname or ""
    if not _HOST.fullmatch(host) or parts.scheme not in _PORTS or port == 0:
        raise ValueError(f"This is not an address, {example}.")
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"Type the address of the host only, {example}.")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("The address has to begin with https://, or what is sent there can be overheard.")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_private(host: str) -> bool:
    """Whether a host's name or address means this machine or a private network."""
    if _is_address(host):
        return not ipaddress.ip_address(host).is_global
    return "." not in host or host.endswith((".localhost", ".local", ".internal", ".lan"))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _unreachable(host: str, github: str) -> bool:
    """Whether the GitHub at the host `github` cannot reach `host`: an Enterprise Server may be on the same network."""
    hosted = github == "github.com" or github.endswith(".ghe.com")
    return _is_private(host) if hosted else _is_loopback(host) and not _is_loopback(github)
