"""Visitors of our pages in tests: signed in without the way over GitHub, and with a browser's headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient
from yarl import URL

from web.cookies import COOKIES, Identity
from web.site import SITE


def _cookie(app: web.Application, who: Identity) -> dict[str, str]:
    cookies = app[COOKIES]
    return {cookies.name: cookies.seal_identity(who)}


def _identity(
    app: web.Application, account_id: int | None, login: str, installations: frozenset[int], *, staff: bool
) -> Identity:
    is_staff = account_id is None or account_id in app[SITE].staff
    if is_staff != staff:
        raise ValueError(f"whether {account_id} is staff is up to the Site: give it staff=frozenset({{{account_id}}})")
    return Identity(account_id, login, installations)


def signed_in(
    client: TestClient[Any, Any],
    account_id: int | None,
    login: str,
    staff: bool = False,
    *,
    installations: frozenset[int] = frozenset(),
) -> None:
    """Let the client be signed in from now on, and send `Origin` as a browser does with our own forms.

    The Site's `staff` must hold the ids of those who are staff. `account_id` None: the operator at this machine
    (`staff=True`, on a Site without `sign_in`).
    """
    app = client.app
    assert app is not None
    root = client.make_url("/")
    who = _identity(app, account_id, login, installations, staff=staff)
    client.session.cookie_jar.update_cookies(_cookie(app, who), root)
    client.session.headers["Origin"] = str(root.origin())


def signed_out(client: TestClient[Any, Any]) -> None:
    """Let the client be nobody again."""
    client.session.cookie_jar.clear()


@asynccontextmanager
async def browser(
    root: str,
    app: web.Application,
    account_id: int | None = None,
    login: str = "",
    *,
    staff: bool = False,
    installations: frozenset[int] = frozenset(),
) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser at the pages below `root`, which are `app`'s: `get("/path")`, `post("/path", data=...)`.

    Without account nobody is signed in; `staff` without account: the operator at this machine.
    """
    jar = aiohttp.CookieJar(unsafe=True)  # unsafe: also for addresses of numbers, such as 127.0.0.1
    if account_id is not None or staff:
        jar.update_cookies(_cookie(app, _identity(app, account_id, login, installations, staff=staff)), URL(root))
    async with aiohttp.ClientSession(root, cookie_jar=jar, headers={"Origin": str(URL(root).origin())}) as session:
        yield session
