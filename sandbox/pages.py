"""Web pages: who is signed in at this browser, forms, templates, errors. The pages themselves are in `pages_*.py`."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from aiohttp import web
from multidict import MultiDict
from yarl import URL

from .core import Core
from .errors import SandboxError
from .state import Account, Repository

COOKIE = "sandbox_session"
APP_ROOTS = ("/apps/{slug}", "/github-apps/{slug}")  # on github.com, and on a GitHub Enterprise Server
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PageError(Exception):
    """A page that says what is wrong, with this status."""

    def __init__(self, status: int, title: str, text: str = "") -> None:
        super().__init__(f"{status} {title}")
        self.status = status
        self.title = title
        self.text = text


def page_not_found() -> PageError:
    """It does not exist, or the person may not know that it does."""
    return PageError(404, "Page not found", "There is nothing here, or nothing that you may see.")


class Browsers:
    """The browsers that are signed in, and what every page is made with."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._accounts: dict[str, int] = {}

    def route(self, router: web.UrlDispatcher, method: str, path: str, handler: Handler) -> None:
        """Mount a page: what it refuses becomes a page that says so."""

        async def serve(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except PageError as error:
                title, text, status = error.title, error.text, error.status
            except SandboxError as error:
                title, text, status = "This cannot be done", str(error), 422
            return self.page(request, "message.html", status=status, title=title, text=text)

        router.add_route(method, path, serve)

    def account(self, request: web.Request) -> Account | None:
        """Return who is signed in at this browser."""
        account_id = self._accounts.get(request.cookies.get(COOKIE, ""))
        return None if account_id is None else self._core.state.account_by_id(account_id)

    def require(self, request: web.Request) -> Account:
        """Return who is signed in; HTTPFound to the sign-in page, which leads back, if nobody is."""
        account = self.account(request)
        if account is None:
            raise web.HTTPFound(str(URL("/login").with_query(return_to=str(request.rel_url))))
        return account

    def sign_in(self, account: Account, response: web.StreamResponse) -> None:
        """Let the browser that gets the response be the account's."""
        value = secrets.token_hex(20)
        self._accounts[value] = account.id
        response.set_cookie(COOKIE, value, httponly=True, samesite="Lax", path="/")

    def sign_out(self, request: web.Request, response: web.StreamResponse) -> None:
        """Forget who is signed in at this browser."""
        self._accounts.pop(request.cookies.get(COOKIE, ""), None)
        response.del_cookie(COOKIE, path="/")

    async def form(self, request: web.Request) -> tuple[Account, MultiDict[str]]:
        """Return who sends a form of ours, and its fields; PageError if it comes from another site's page."""
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{request.scheme}://{request.host}":
            raise PageError(403, "This form was not sent from here", "Open the page here and try again.")
        account = self.account(request)
        if account is None:
            raise PageError(401, "Signed out", "Sign in first, then try again.")
        return account, await fields_of(request)

    def page(self, request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """Return a page made of one of our templates; every value is escaped there."""
        shown = {"me": self.account(request), "here": str(request.rel_url), "core": self._core} | values
        text = templates().get_template(template).render(shown)
        return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=_HEADERS)


async def fields_of(request: web.Request) -> MultiDict[str]:
    """Return the text fields of a form."""
    fields: MultiDict[str] = MultiDict()
    for key, value in (await request.post()).items():
        if isinstance(value, str):
            fields.add(key, value)
    return fields


@cache
def templates() -> jinja2.Environment:
    """Return the templates; `href` makes an address of parts that may hold anything."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["href"] = href
    environment.globals["repo_href"] = repo_href
    environment.filters["external"] = external
    return environment


def href(*parts: object) -> str:
    """Return the local address of these path segments; a slash within a part stays one, as in branch names."""
    return "/" + "/".join(quote(str(part), safe="/") for part in parts)


def repo_href(repository: Repository, *parts: object) -> str:
    """Return a local address below a repository."""
    return href(repository.owner.login, repository.name, *parts)


def external(address: str | None) -> str | None:
    """Return the address if a link may lead there: the web, not a script."""
    return address if address is not None and address.startswith(("http://", "https://")) else None


def local_path(address: str | None) -> str:
    """Return where a browser may be sent after signing in: a path of this server, else its front page."""
    if address is None or not address.startswith("/") or address[1:2] in {"/", "\\"}:
        return "/"
    return "/" if any(ord(character) < 32 or character == "\\" for character in address) else address


def with_query(address: str, **values: str | None) -> str:
    """Return the address with more query parameters; None leaves one out."""
    return str(URL(address).update_query({key: value for key, value in values.items() if value is not None}))
