"""Signing in with the App: authorisation in the browser, codes, PKCE, tokens and their refresh."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import pytest
from yarl import URL

from sandbox import Sandbox, SandboxError
from sandbox.grants import challenge_of
from tests.support.clicking import Clicker, clicking
from tests.support.githost import ApiClient

CALLBACK = "https://stepgate.example.com/auth/callback"
VERIFIER = "a-verifier-of-at-least-forty-three-characters-0123456789"


def ask(sandbox: Sandbox, **changes: str) -> str:
    """The address that the App sends a browser to."""
    query = {"client_id": sandbox.client_id, "redirect_uri": CALLBACK, "state": "s+1&x"} | changes
    return str(URL(f"{sandbox.url}/login/oauth/authorize").with_query(query))


async def exchange(sandbox: Sandbox, **changes: str) -> dict[str, Any]:
    """What the App is answered for a code."""
    body = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret} | changes
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{sandbox.url}/login/oauth/access_token", data=body, headers={"Accept": "application/json"}
        ) as answer,
    ):
        assert answer.status == 200
        shown: dict[str, Any] = await answer.json()
        return shown


@pytest.fixture
def callbacks(sandbox: Sandbox) -> None:
    """The App has one callback URL."""
    sandbox.callback_urls = [CALLBACK]


pytestmark = pytest.mark.usefixtures("callbacks")


async def authorise(sandbox: Sandbox, browser: Clicker, **changes: str) -> URL:
    """Click through as learner-one; return where the App gets the browser back."""
    await browser.open(ask(sandbox, **changes))
    await browser.press("Sign in as learner-one")
    if browser.address.host == "127.0.0.1":
        await browser.press("Authorize stepgate")
    return browser.address


async def test_a_person_authorises_once_and_the_app_learns_who(sandbox: Sandbox, api: ApiClient) -> None:
    """Sign in, "Authorize", code and state at the callback, token, GET /user; the second time nothing is asked."""
    async with clicking(CALLBACK) as browser:
        back = await authorise(sandbox, browser, code_challenge=challenge_of(VERIFIER), code_challenge_method="S256")
        assert back.query["state"] == "s+1&x"
        token = await exchange(sandbox, code=back.query["code"], redirect_uri=CALLBACK, code_verifier=VERIFIER)
        assert (token["token_type"], token["expires_in"], token["scope"]) == ("bearer", 28_800, "")
        me = await api.call("GET", "/user", credentials=token["access_token"])
        assert me.body["login"] == "learner-one"
        await browser.open(ask(sandbox, state="again"))
        assert browser.address.query["state"] == "again"
        assert "code" in browser.address.query


async def test_cancel_tells_the_app_that_access_is_denied(sandbox: Sandbox) -> None:
    """No code, `access_denied`, and the state; the next time the person is asked again."""
    async with clicking(CALLBACK) as browser:
        await browser.open(ask(sandbox))
        await browser.press("Sign in as learner-two")
        await browser.press("Cancel")
        assert browser.address.query["error"] == "access_denied"
        assert browser.address.query["state"] == "s+1&x"
        assert "code" not in browser.address.query
        await browser.open(ask(sandbox))
        assert "Authorize stepgate" in browser.text


@pytest.mark.parametrize(
    "redirect",
    [
        "https://evil.example.com/auth/callback",
        "http://stepgate.example.com/auth/callback",
        "https://stepgate.example.com:8443/auth/callback",
        "https://stepgate.example.com/auth/callback/../evil",
        "https://stepgate.example.com/auth/callback?next=1",
        "https://stepgate.example.com@evil.example.com/auth/callback",
        "https://stepgate.example.com\\@evil.example.com/auth/callback",
        "javascript:alert(1)",
        "//stepgate.example.com/auth/callback",
    ],
)
async def test_a_redirect_to_another_address_is_refused(sandbox: Sandbox, redirect: str) -> None:
    """GitHub shows an error page and sends nobody anywhere."""
    async with clicking() as browser:
        await browser.open(ask(sandbox, redirect_uri=redirect))
        assert browser.status == 400
        assert "The redirect_uri is not associated with this application" in browser.text
        assert "Location" not in browser.headers


async def test_a_loopback_callback_may_have_any_port(sandbox: Sandbox) -> None:
    """The port need not be the registered one; host and path must."""
    sandbox.callback_urls = ["http://127.0.0.1:8080/auth/callback"]
    async with clicking("http://127.0.0.1:9999") as browser:
        back = await authorise(sandbox, browser, redirect_uri="http://127.0.0.1:9999/auth/callback")
        assert (back.port, back.path) == (9999, "/auth/callback")
        await browser.open(ask(sandbox, redirect_uri="http://localhost:9999/auth/callback"))
        assert browser.status == 400


async def test_without_redirect_uri_the_first_callback_counts(sandbox: Sandbox) -> None:
    """And an unknown client is a page not found."""
    async with clicking(CALLBACK) as browser:
        await browser.open(f"{sandbox.url}/login/oauth/authorize?client_id={sandbox.client_id}")
        await browser.press("Sign in as learner-one")
        await browser.press("Authorize stepgate")
        assert str(browser.address).startswith(f"{CALLBACK}?code=")
        await browser.open(f"{sandbox.url}/login/oauth/authorize?client_id=unknown")
        assert browser.status == 404


async def test_a_weak_code_challenge_is_refused(sandbox: Sandbox) -> None:
    """Only S256 is taken; the App is told so."""
    async with clicking(CALLBACK) as browser:
        await browser.open(ask(sandbox, code_challenge=VERIFIER, code_challenge_method="plain"))
        assert browser.address.query["error"] == "invalid_request"


async def test_a_code_works_once_and_for_ten_minutes(sandbox: Sandbox) -> None:
    """A used, an old and an invented code are bad verification codes."""
    code = sandbox.sign_in_code("learner-one", CALLBACK)
    assert "access_token" in await exchange(sandbox, code=code)
    old = sandbox.sign_in_code("learner-one", CALLBACK)
    sandbox.clock = lambda: time.time() + 601
    for wrong in (code, old, "0" * 20):
        assert (await exchange(sandbox, code=wrong))["error"] == "bad_verification_code"


async def test_what_does_not_fit_the_authorisation_gets_no_token(sandbox: Sandbox) -> None:
    """Wrong secret, other redirect_uri, no or a wrong verifier: GitHub's error names, with status 200."""

    def code() -> str:
        return sandbox.sign_in_code("learner-one", CALLBACK, code_challenge=challenge_of(VERIFIER))

    answers = [
        await exchange(sandbox, code=code(), code_verifier=VERIFIER, client_secret="wrong"),
        await exchange(sandbox, code=code(), code_verifier=VERIFIER, client_id="wrong"),
        await exchange(sandbox, code=code(), code_verifier=VERIFIER, redirect_uri="https://stepgate.example.com/"),
        await exchange(sandbox, code=code()),
        await exchange(sandbox, code=code(), code_verifier="wrong"),
        await exchange(sandbox, grant_type="password"),
    ]
    assert [answer["error"] for answer in answers] == [
        "incorrect_client_credentials", "incorrect_client_credentials", "redirect_uri_mismatch",
        "bad_verification_code", "bad_verification_code", "unsupported_grant_type",
    ]  # fmt: skip
    assert "access_token" in await exchange(sandbox, code=code(), code_verifier=VERIFIER)


async def test_a_refresh_token_works_once_and_ends_the_old_token(sandbox: Sandbox, api: ApiClient) -> None:
    """The new pair works, the old one does not."""
    first = await exchange(sandbox, code=sandbox.sign_in_code("learner-one", CALLBACK))
    ask_again = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = await exchange(sandbox, **ask_again)
    assert (await api.call("GET", "/user", credentials=second["access_token"])).status == 200
    assert (await api.call("GET", "/user", credentials=first["access_token"])).status == 401
    assert (await exchange(sandbox, **ask_again))["error"] == "bad_refresh_token"


async def test_tokens_come_as_a_form_unless_json_is_asked_for(sandbox: Sandbox) -> None:
    """GitHub's default is form-encoded; a JSON request body is taken as well."""
    body = {
        "client_id": sandbox.client_id,
        "client_secret": sandbox.client_secret,
        "code": sandbox.sign_in_code("learner-one", CALLBACK),
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{sandbox.url}/login/oauth/access_token", json=body) as answer,
    ):
        assert answer.content_type == "application/x-www-form-urlencoded"
        assert (await answer.text()).startswith("access_token=ghu_")


@pytest.mark.parametrize(
    "back", ["https://evil.example.com/", "//evil.example.com", "/\\evil.example.com", "/\t/e.com"]
)
async def test_signing_in_leads_to_local_pages_only(sandbox: Sandbox, back: str) -> None:
    """A return address of another host leads to the front page."""
    async with clicking() as browser:
        await browser.open(str(URL(f"{sandbox.url}/login").with_query(return_to=back)))
        await browser.press("Sign in as learner-one")
        assert str(browser.address) == f"{sandbox.url}/"
        assert "Signed in as learner-one" in browser.text
        await browser.press("Sign out")
        assert "Signed in as" not in browser.text


async def test_a_form_from_another_site_is_refused(sandbox: Sandbox) -> None:
    """A signed-in browser does nothing for a page that is not ours."""
    async with clicking(CALLBACK) as browser:
        await browser.open(f"{sandbox.url}/login")
        await browser.press("Sign in as learner-one")
        fields = {"client_id": sandbox.client_id, "authorize": "1"}
        await browser.post(
            f"{sandbox.url}/login/oauth/authorize", fields, headers={"Origin": "https://evil.example.com"}
        )
        assert browser.status == 403


async def test_the_app_may_suggest_who_signs_in(sandbox: Sandbox) -> None:
    """`login` puts that person first; `prompt=select_account` asks although somebody is signed in."""
    async with clicking(CALLBACK) as browser:
        await browser.open(ask(sandbox, login="learner-two"))
        assert next(iter(browser.forms[0].buttons)) == "Sign in as learner-two"
        await browser.press("Sign in as learner-one")
        await browser.open(ask(sandbox, prompt="select_account"))
        await browser.press("Sign in as learner-two")
        assert "Signed in as learner-two" in browser.text
        assert "Authorize stepgate" in browser.text


def test_a_code_without_clicking_needs_a_callback_of_the_app(sandbox: Sandbox) -> None:
    """What the browser would be refused, a test is refused."""
    with pytest.raises(SandboxError, match="no callback URL"):
        sandbox.sign_in_code("learner-one", "https://evil.example.com/")
