"""What pages are given, put together once by the composition root."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from web.health import Fact, Probe

if TYPE_CHECKING:
    from github.client import GitHubApp
    from storage.database import Pool
    from storage.notify import Listener
    from web.metrics import Monitoring


@dataclass(frozen=True, slots=True)
class SignIn:
    """Credentials of signing in with GitHub, and the key (at least 32 characters) of the cookie."""

    client_id: str
    client_secret: str = field(repr=False)
    session_key: str = field(repr=False)
    api_url: str


class LocalLink:
    """The secret of the one-time link by which whoever reads the terminal becomes staff. Each works once."""

    def __init__(self) -> None:
        self._token = secrets.token_urlsafe(32)
        self._root = ""
        self._announce: Callable[[str], None] | None = None

    def announce(self, root: str, say: Callable[[str], None]) -> None:
        """Tell the link now, and the next one whenever one was used. `root`: where this process listens."""
        self._root, self._announce = root, say
        say(self.address)

    @property
    def address(self) -> str:
        """The link that works now."""
        return f"{self._root}/login/local?token={self._token}"

    def take(self, token: str) -> bool:
        """Use the link up; False: `token` is not its secret."""
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return False
        self._token = secrets.token_urlsafe(32)
        if self._announce is not None:
            self._announce(self.address)
        return True


@dataclass(frozen=True, slots=True)
class Site:
    """All that pages may use. `github` None: nothing can be asked of GitHub. `listener` None: nothing is live.

    `web_url`: GitHub's pages; `public_url`: our own root as browsers reach it; both without trailing slash. `staff`:
    account ids. `sign_in` None: nobody can sign in with GitHub; then pages are for this machine only, behind the
    one-time link `local_link`. `monitoring` None: there is no /metrics.
    """

    pool: Pool
    web_url: str
    public_url: str
    github: GitHubApp | None = None
    listener: Listener | None = None
    check_name: str = "forgea/steps"
    staff: frozenset[int] = frozenset()
    sign_in: SignIn | None = None
    local_link: LocalLink = field(default_factory=LocalLink)
    probes: Mapping[str, Probe] = field(default_factory=dict)
    facts: Mapping[str, Fact] = field(default_factory=dict)
    monitoring: Monitoring | None = None


SITE: web.AppKey[Site] = web.AppKey("site", Site)


def site_of(request: web.Request) -> Site:
    """What this request's page may use."""
    return request.app[SITE]
