"""What pages are given, put together once by the composition root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from web.health import Probe

if TYPE_CHECKING:
    from github.client import GitHubApp
    from storage.database import Pool
    from storage.notify import Listener


@dataclass(frozen=True, slots=True)
class SignIn:
    """Credentials of signing in with GitHub, and the key (at least 32 characters) of the cookie."""

    client_id: str
    client_secret: str
    session_key: str
    api_url: str


@dataclass(frozen=True, slots=True)
class Site:
    """All that pages may use. `github` None: nothing can be asked of GitHub. `listener` None: nothing is live.

    `web_url`: GitHub's pages; `public_url`: our own root as browsers reach it; both without trailing slash. `staff`:
    account ids. `sign_in` None: nobody can sign in with GitHub; then pages are for this machine only, behind the
    one-time link with `local_token`.
    """

    pool: Pool
    web_url: str
    public_url: str
    github: GitHubApp | None = None
    listener: Listener | None = None
    check_name: str = "forgea/steps"
    staff: frozenset[int] = frozenset()
    sign_in: SignIn | None = None
    local_token: str = ""
    probes: Mapping[str, Probe] = field(default_factory=dict)


SITE: web.AppKey[Site] = web.AppKey("site", Site)


def site_of(request: web.Request) -> Site:
    """What this request's page may use."""
    return request.app[SITE]
