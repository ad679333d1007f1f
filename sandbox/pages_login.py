"""Signing in, authorising the App, and the exchange of codes: GitHub's `/login`.

GitHub docs, "Generating a user access token for a GitHub App", "Refreshing user access tokens".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import orjson
from aiohttp import web

from .core import Core
from .grants import REFRESH_LIFETIME, TOKEN_LIFETIME, GrantError, Grants, callback_of
from .pages import Browsers, PageError, fields_of, local_path, page_not_found, with_query

_UNKNOWN_REDIRECT = (
    "The redirect_uri is not associated with this application. The application might be misconfigured or could be"
    " trying to redirect you to a website you weren't expecting."
)
_TROUBLE = "https://docs.github.com/apps/oauth-apps/maintaining-oauth-apps"
_PARAMETERS = ("client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method", "login")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for authorisation that may be answered: `redirect_uri` is one of the App's."""

    redirect_uri: str
    state: str | None
    challenge: str | None
    wrong: str | None  # what the App is told instead of a code

    def refusal(self, error: str, description: str) -> str:
        """Return where the browser takes the refusal."""
        return with_query(self.redirect_uri, error=error, error_description=description, state=self.state)


class LoginPages:
    """Handlers of `/login`, `/logout` and `/login/oauth`."""

    def __init__(self, core: Core, browsers: Browsers, grants: Grants) -> None:
        self._core = core
        self._browsers = browsers
        self._grants = grants

    def register(self, router: web.UrlDispatcher) -> None:
        """Mount the pages."""
        add = self._browsers.route
        add(router, "GET", "/login", self.choose)
        add(router, "POST", "/login", self.sign_in)
        add(router, "POST", "/logout", self.sign_out)
        add(router, "GET", "/login/oauth/authorize", self.authorise)
        add(router, "POST", "/login/oauth/authorize", self.decide)
        add(router, "POST", "/login/oauth/access_token", self.exchange)

    # ------------------------------------------------------------------------------------------------ who it is

    async def choose(self, request: web.Request) -> web.StreamResponse:
        """Show every person of this GitHub with a button; one that the App suggests comes first."""
        back = local_path(request.query.get("return_to"))
        suggested = request.query.get("login", "").casefold()
        people = [each for each in self._core.state.accounts.values() if each.kind == "User"]
        people.sort(key=lambda each: (each.login.casefold() != suggested, each.login.casefold()))
        return self._browsers.page(request, "login.html", people=people, back=back)

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Sign in as the chosen person and go on."""
        fields = await fields_of(request)
        account = self._core.state.accounts.get(fields.get("login", "").casefold())
        if account is None or account.kind != "User":
            raise PageError(422, "Nobody has this login")
        response = web.Response(status=303, headers={"Location": local_path(fields.get("return_to"))})
        self._browsers.sign_in(account, response)
        return response

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """Sign out."""
        response = web.Response(status=303, headers={"Location": "/"})
        self._browsers.sign_out(request, response)
        return response

    # ------------------------------------------------------------------------------------------------ authorise

    def _asked(self, given: Mapping[str, str]) -> Asked:
        """Check a request for authorisation; PageError where GitHub shows an error instead of asking."""
        app = self._core.registered
        if app is None or given.get("client_id") != app.client_id:
            raise page_not_found()
        redirect = callback_of(app, given.get("redirect_uri"))
        if redirect is None:
            raise PageError(400, "Be careful!", _UNKNOWN_REDIRECT)
        challenge, method = given.get("code_challenge"), given.get("code_challenge_method")
        wrong = None
        if (challenge or method) and (not challenge or method != "S256"):
            wrong = "code_challenge must come with the code_challenge_method S256."
        return Asked(redirect, given.get("state"), challenge or None, wrong)

    async def authorise(self, request: web.Request) -> web.StreamResponse:
        """Ask once per person and App; whoever agreed before is sent on at once."""
        asked = self._asked(request.query)
        if asked.wrong is not None:
            return _to(asked.refusal("invalid_request", asked.wrong))
        account = self._browsers.account(request)
        if account is None or request.query.get("prompt") == "select_account":
            back = request.rel_url.without_query_params("prompt")
            login = request.query.get("login")
            return _to(with_query("/login", return_to=str(back), login=login))
        if self._grants.authorised(account):
            code = self._grants.code(account, asked.redirect_uri, asked.challenge)
            return _to(with_query(asked.redirect_uri, code=code, state=asked.state))
        given = {key: request.query[key] for key in _PARAMETERS if key in request.query}
        return self._browsers.page(
            request, "authorize.html", app=self._core.app, given=given, target=asked.redirect_uri
        )

    async def decide(self, request: web.Request) -> web.StreamResponse:
        """Take "Authorize" or "Cancel", and send the browser to the App."""
        account, fields = await self._browsers.form(request)
        asked = self._asked(fields)
        if asked.wrong is not None:
            return _to(asked.refusal("invalid_request", asked.wrong))
        if fields.get("authorize") != "1":
            return _to(asked.refusal("access_denied", "The user has denied your application access."))
        code = self._grants.code(account, asked.redirect_uri, asked.challenge)
        return _to(with_query(asked.redirect_uri, code=code, state=asked.state))

    # ------------------------------------------------------------------------------------------------ tokens

    async def exchange(self, request: web.Request) -> web.StreamResponse:
        """POST /login/oauth/access_token: a code or a refresh token for a user token; errors come with status 200."""
        given = dict(request.query) | await _body(request)
        try:
            shown = self._exchange(given)
        except GrantError as error:
            anchor = f"troubleshooting-oauth-app-access-token-request-errors#{error.error.replace('_', '-')}"
            shown = {
                "error": error.error,
                "error_description": error.description,
                "error_uri": f"{_TROUBLE}/{anchor}",
            }
        if "json" in request.headers.get("Accept", ""):
            return web.Response(body=orjson.dumps(shown), content_type="application/json", charset="utf-8")
        form = urlencode(shown).encode()
        return web.Response(body=form, content_type="application/x-www-form-urlencoded", charset="utf-8")

    def _exchange(self, given: Mapping[str, str]) -> dict[str, str | int]:
        app = self._core.registered
        known = app is not None and given.get("client_id") == app.client_id
        if app is None or not known or not app.has_secret(given.get("client_secret", "")):
            raise GrantError("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect.")
        kind = given.get("grant_type", "authorization_code")
        if kind == "refresh_token":
            token = self._grants.refresh(given.get("refresh_token", ""))
        elif kind == "authorization_code":
            token = self._grants.exchange(given.get("code", ""), given.get("redirect_uri"), given.get("code_verifier"))
        else:
            raise GrantError("unsupported_grant_type", f"The grant type {kind!r} is not supported.")
        return {
            "access_token": token.value,
            "expires_in": TOKEN_LIFETIME,
            "refresh_token": token.refresh,
            "refresh_token_expires_in": REFRESH_LIFETIME,
            "scope": "",
            "token_type": "bearer",
        }


async def _body(request: web.Request) -> dict[str, str]:
    if request.content_type != "application/json":
        return dict(await fields_of(request))
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        return {}
    return {key: value for key, value in body.items() if isinstance(value, str)} if isinstance(body, dict) else {}


def _to(address: str) -> web.Response:
    """Send the browser on; 303, so that a form's POST becomes a GET."""
    return web.Response(status=303, headers={"Location": address})
