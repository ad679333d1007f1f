"""The web pages that this GitHub plays, mounted together."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from .auth import Authenticator
from .checks import CheckBook
from .core import Core
from .lifecycle import Lifecycle
from .pages import Browsers
from .pages_apps import AppPages
from .pages_commits import CommitPages
from .pages_install import InstallPages
from .pages_login import LoginPages
from .pages_repos import RepositoryPages, RepositorySight
from .registration import Registrar

_STYLE = Path(__file__).parent / "sandbox.css"


def register_pages(
    router: web.UrlDispatcher,
    core: Core,
    *,
    auth: Authenticator,
    checks: CheckBook,
    lifecycle: Lifecycle,
    registrar: Registrar,
) -> None:
    """Mount all pages: those with fixed beginnings first, because a repository's address has none."""
    browsers = Browsers(core)
    sight = RepositorySight(core, browsers)
    router.add_route("GET", "/sandbox.css", _style)
    LoginPages(core, browsers, auth.grants).register(router)
    AppPages(core, browsers, registrar).register(router)
    InstallPages(core, browsers, lifecycle).register(router)
    CommitPages(core, browsers, sight, checks).register(router)
    RepositoryPages(core, browsers, sight, lifecycle).register(router)


async def _style(_request: web.Request) -> web.StreamResponse:
    return web.FileResponse(_STYLE)
