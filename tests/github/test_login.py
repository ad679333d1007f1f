"""Signing in against a GitHub that answers as scripted: odd answers become errors that say whose fault they are."""

from __future__ import annotations

import base64
import json

import aiohttp
import pytest
from pydantic import SecretStr
from yarl import URL

from github import login
from github.errors import Fault, GitHubError, Misconfigured, Transient
from github.login import Client, NotSignedIn
from github.transport import Credential
from tests.support.fault_server import FaultServer, Hang, Raw, Reply

TOKEN = "ghu_16C7e42F292c6912E7710c838347Ae178B4a"
EXCHANGE = "/login/oauth/access_token"
ENDED = "/applications/Iv23li0123456789abcd/token"
PERSON = {"id": 21_031_067, "login": "learner-one", "type": "User"}


@pytest.fixture
def client(server: FaultServer) -> Client:
    """The App's credentials at the scripted GitHub."""
    return Client(server.url, server.url, "Iv23li0123456789abcd", "the-client-secret")


def well(server: FaultServer) -> None:
    """Everything works."""
    server.on("POST", EXCHANGE, Reply(data={"access_token": TOKEN, "token_type": "bearer", "scope": ""}))
    server.on("GET", "/user", Reply(data=PERSON))
    server.on("GET", "/user/installations", Reply(data={"total_count": 1, "installations": [{"id": 71}]}))
    server.on("DELETE", ENDED, Reply(status=204))


async def signed_in(http: aiohttp.ClientSession, client: Client) -> login.SignedIn:
    """Sign in with any code."""
    return await login.sign_in(http, client, code="c0de", verifier="v" * 43, redirect_uri="https://x.example.com/cb")


def test_the_challenge_is_that_of_the_standard() -> None:
    """RFC 7636, appendix B."""
    assert (
        login.challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
        == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )


def test_the_browser_is_sent_with_state_and_challenge_only(client: Client) -> None:
    """Neither the verifier nor the secret is in the address."""
    address = login.authorize_url(client, state="st&te", verifier="v" * 43, redirect_uri="https://x.example.com/a?b=c")
    query = dict(URL(address).query)
    assert query == {
        "client_id": client.client_id,
        "redirect_uri": "https://x.example.com/a?b=c",
        "state": "st&te",
        "code_challenge": login.challenge_of("v" * 43),
        "code_challenge_method": "S256",
    }


async def test_the_token_is_used_and_ended(server: FaultServer, http: aiohttp.ClientSession, client: Client) -> None:
    """Code and secret go into the body, the token asks who it is and is then ended with the App's own credentials."""
    well(server)
    found = await signed_in(http, client)
    assert (found.account.account_id, found.account.login, found.installations) == (
        PERSON["id"],
        "learner-one",
        frozenset({71}),
    )
    (exchange,) = server.calls("POST", EXCHANGE)
    assert exchange.path == EXCHANGE
    assert exchange.headers["accept"] == "application/json"
    assert "authorization" not in exchange.headers
    assert json.loads(exchange.body)["code_verifier"] == "v" * 43
    (ended,) = server.calls("DELETE", ENDED)
    assert base64.b64decode(ended.headers["authorization"].removeprefix("Basic ")) == (
        b"Iv23li0123456789abcd:the-client-secret"
    )
    assert ended.json() == {"access_token": TOKEN}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Reply(data={"error": "incorrect_client_credentials"}), Misconfigured),
        (Reply(data={"error": "redirect_uri_mismatch"}), Misconfigured),
        (Reply(data={"error": "bad_verification_code", "error_description": "incorrect or expired"}), NotSignedIn),
        (Reply(data={"error": "unverified_user_email"}), NotSignedIn),
        (Reply(data={}), Transient),
        (Reply(data=["x"]), Transient),
        (Reply(body=b"<html>", content_type="text/html"), GitHubError),
        (Reply(status=502), GitHubError),
        (Reply(status=404), GitHubError),
        (Raw(), GitHubError),
        (Raw(b"nonsense"), GitHubError),
    ],
)
async def test_without_a_token_nobody_is_signed_in(
    server: FaultServer, http: aiohttp.ClientSession, client: Client, answer: Reply | Raw, kind: type[GitHubError]
) -> None:
    """Every other answer to the exchange is a typed error, without the secret."""
    well(server)
    server.on("POST", EXCHANGE, answer)
    with pytest.raises(kind) as caught:
        await signed_in(http, client)
    assert client.client_secret not in str(caught.value)
    assert server.calls("GET", "/user") == []


async def test_the_operators_fault_is_told_as_such(
    server: FaultServer, http: aiohttp.ClientSession, client: Client
) -> None:
    """A wrong secret names the settings to be mended."""
    server.on("POST", EXCHANGE, Reply(data={"error": "incorrect_client_credentials"}))
    with pytest.raises(Misconfigured, match="GITHUB_CLIENT_SECRET") as caught:
        await signed_in(http, client)
    assert caught.value.fault is Fault.OPERATOR


async def test_a_token_is_ended_also_when_something_fails(
    server: FaultServer, http: aiohttp.ClientSession, client: Client
) -> None:
    """If GitHub does not say who it is the sign-in fails, and the token is ended all the same."""
    well(server)
    server.on("GET", "/user", Reply(status=500))
    with pytest.raises(GitHubError):
        await signed_in(http, client)
    assert len(server.calls("DELETE", ENDED)) == 1


@pytest.mark.parametrize("failing", [("GET", "/user/installations"), ("DELETE", ENDED)])
async def test_what_is_not_needed_may_fail(
    server: FaultServer, http: aiohttp.ClientSession, client: Client, failing: tuple[str, str]
) -> None:
    """Unknown installations and a token that could not be ended do not keep anybody out."""
    well(server)
    server.on(*failing, Reply(status=500))
    found = await signed_in(http, client)
    assert found.account.account_id == PERSON["id"]


async def test_a_github_that_hangs_is_given_up(
    server: FaultServer, http: aiohttp.ClientSession, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser is not kept waiting for ever."""
    well(server)
    server.on("POST", EXCHANGE, Hang(1.0))
    monkeypatch.setattr(login, "TIMEOUT", aiohttp.ClientTimeout(total=0.1))
    with pytest.raises(GitHubError):
        await signed_in(http, client)


async def test_pages_of_installations_are_followed_to_an_end(
    server: FaultServer, http: aiohttp.ClientSession, client: Client
) -> None:
    """All pages count, up to a limit, and no page of another host is asked for."""
    link = {"Link": f'<{server.url}/user/installations?page=2>; rel="next"'}
    pages = [Reply(data={"installations": [{"id": number}]}, headers=link) for number in range(1, 20)]
    server.on("GET", "/user/installations", *pages)
    token = Credential("token", SecretStr(TOKEN))
    assert await login.installations_of(http, client, token) == frozenset(range(1, login.MOST_PAGES + 1))
    away = {"Link": '<http://evil.example.com/user/installations?page=2>; rel="next"'}
    server.on("GET", "/user/installations", Reply(data={"installations": []}, headers=away))
    with pytest.raises(GitHubError, match="outside"):
        await login.installations_of(http, client, token)
