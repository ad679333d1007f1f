"""The App and its tokens: JWT, clocks, installations, life of a token."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from github.client import GitHubApp, InstallationClient
from github.clock import SKEW
from github.errors import (
    InstallationGone,
    Misconfigured,
    RateLimited,
    Transient,
    Unauthorized,
)
from rules.model import AccountKind, InstallationState
from tests.support.fault_server import FakeClock, FaultServer, Reply, Seen
from tests.support.github_answers import (
    APP_ID,
    BRANCH,
    HEAD,
    INSTALLATION,
    REPO,
    TOKENS,
    account,
    bearer,
    head,
    installation,
    token_reply,
)

# --------------------------------------------------------------------------------------------------------------- JWT


async def test_the_jwt_keeps_githubs_rules(
    app: GitHubApp, server: FaultServer, clock: FakeClock, private_key: str
) -> None:
    """RS256, issued 60 s ago, ending in 540 s (at most 600 are allowed), the App id as a string."""
    server.on("GET", f"/app/installations/{INSTALLATION}", Reply(200, installation()))
    await app.installation_record(INSTALLATION)
    token = bearer(server.seen[-1])
    public = serialization.load_pem_private_key(private_key.encode(), None).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    claims = jwt.decode(token, public, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False})
    assert claims == {"iat": int(clock.now()) - 60, "exp": int(clock.now()) + 540, "iss": str(APP_ID)}
    assert jwt.get_unverified_header(token)["alg"] == "RS256"


async def test_each_jwt_is_of_its_time(app: GitHubApp, server: FaultServer, clock: FakeClock) -> None:
    """A day later the JWT is a new one."""
    server.on("GET", f"/app/installations/{INSTALLATION}", Reply(200, installation()))
    await app.installation_record(INSTALLATION)
    clock.time += 86_400
    await app.installation_record(INSTALLATION)
    assert bearer(server.seen[0]) != bearer(server.seen[1])


@pytest.fixture
def verified(app: GitHubApp, server: FaultServer, clock: FakeClock) -> FakeClock:
    """GitHub with a clock of its own (which is returned), by which it judges JWTs."""
    theirs = FakeClock(clock.now())
    server.now = theirs.now

    def judge(seen: Seen) -> Reply:
        claims = jwt.decode(bearer(seen), options={"verify_signature": False})
        fine = claims["iat"] <= theirs.now() < claims["exp"] <= theirs.now() + 600
        return Reply(200, installation()) if fine else Reply(401, {"message": "'Issued at' claim ('iat') ..."})

    server.on("GET", f"/app/installations/{INSTALLATION}", judge)
    return theirs


@pytest.mark.parametrize("skew", [0, 59, -59])
async def test_a_clock_within_a_minute_of_githubs_works_at_once(
    app: GitHubApp, server: FaultServer, clock: FakeClock, verified: FakeClock, skew: float
) -> None:
    """The first JWT is accepted, and the metric tells the difference."""
    clock.time += skew
    await app.installation_record(INSTALLATION)
    assert len(server.seen) == 1
    assert abs(SKEW._value.get() - skew) <= 1


@pytest.mark.parametrize("skew", [601, -600, 86_400, -86_400 * 365])
async def test_a_wrong_clock_is_corrected_by_githubs(
    app: GitHubApp, server: FaultServer, clock: FakeClock, verified: FakeClock, skew: float
) -> None:
    """One refusal, then JWTs by GitHub's Date are accepted at once; that the clock is mended is noticed likewise."""
    clock.time += skew
    await app.installation_record(INSTALLATION)
    await app.installation_record(INSTALLATION)
    assert len(server.seen) == 3
    assert abs(SKEW._value.get() - skew) <= 1
    clock.time -= skew
    await app.installation_record(INSTALLATION)
    assert len(server.seen) == 5
    assert abs(SKEW._value.get()) <= 1


def _pem(key: Any) -> str:
    form = serialization.PrivateFormat.PKCS8
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return pem.decode()


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "public", "elliptic", "encrypted"])
async def test_an_unusable_private_key_is_the_operators_fault(
    http: aiohttp.ClientSession, private_key: str, kind: str
) -> None:
    """One type for all of it, and nothing of the key in it."""
    key = serialization.load_pem_private_key(private_key.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    lock = serialization.BestAvailableEncryption(b"password")
    pems = {
        "empty": "",
        "text": "not a key",
        "cut": private_key[: len(private_key) // 2],
        "public": key.public_key().public_bytes(serialization.Encoding.PEM, spki).decode(),
        "elliptic": _pem(ec.generate_private_key(ec.SECP256R1())),
        "encrypted": key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock).decode(),
    }
    with pytest.raises(Misconfigured) as caught:
        GitHubApp(http, api_url="https://api.github.com", app_id=1, private_key=pems[kind])
    assert private_key[100:140] not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


async def test_app_credentials_that_are_refused(app: GitHubApp, server: FaultServer) -> None:
    """A 401 for the JWT is told as it is, without further tries."""
    server.on("GET", "/app", Reply(401, {"message": "A JSON web token could not be decoded"}))
    with pytest.raises(Unauthorized):
        await app.app()
    server.on("POST", TOKENS, Reply(401, {"message": "Integration not found"}))
    with pytest.raises(Unauthorized):
        await head(app.installation(INSTALLATION))
    assert len(server.seen) == 2


# ---------------------------------------------------------------------------------------------------- installations


async def test_installation_record(app: GitHubApp, server: FaultServer) -> None:
    """Account, selection, permissions and state are read."""
    server.on(
        "GET",
        f"/app/installations/{INSTALLATION}",
        Reply(200, installation()),
        Reply(200, installation(suspended_at="2026-01-01T00:00:00Z", repository_selection="all")),
        Reply(404, {"message": "Not Found"}),
    )
    active = await app.installation_record(INSTALLATION)
    assert (active.state, active.repository_selection) == (InstallationState.ACTIVE, "selected")
    assert (active.account.account_id, active.account.kind) == (5, AccountKind.USER)
    assert active.permissions == {"checks": "write"}
    assert (await app.installation_record(INSTALLATION)).state is InstallationState.SUSPENDED
    with pytest.raises(InstallationGone) as gone:
        await app.installation_record(INSTALLATION)
    assert gone.value.installation_id == INSTALLATION


@pytest.mark.parametrize("fields", [{"type": "Mannequin"}, {"type": ""}, {"login": None, "slug": "octo"}])
async def test_accounts_of_other_kinds_are_never_learners(
    app: GitHubApp, server: FaultServer, fields: dict[str, Any]
) -> None:
    """An unknown kind counts as an organisation; an enterprise has a slug and no login."""
    shape = {name: value for name, value in account(**fields).items() if value is not None}
    if "slug" in fields:
        del shape["type"]
    server.on("GET", f"/app/installations/{INSTALLATION}", Reply(200, installation(account=shape)))
    record = await app.installation_record(INSTALLATION)
    assert record.account.kind is AccountKind.ORGANIZATION
    assert record.account.login


async def test_installation_of_a_repository(app: GitHubApp, server: FaultServer) -> None:
    """The installation that covers it, or None."""
    server.on("GET", f"{REPO}/installation", Reply(200, installation()), Reply(404, {"message": "Not Found"}))
    found = await app.installation_of("octo-course/lab")
    assert found is not None
    assert found.installation_id == INSTALLATION
    assert await app.installation_of("octo-course/lab") is None


async def test_the_client_of_an_installation_is_one_object(app: GitHubApp) -> None:
    """So that its token is shared by all who ask."""
    assert app.installation(1) is app.installation(1)
    assert app.installation(1) is not app.installation(2)


@pytest.mark.parametrize("data", [{}, [], {"id": "x"}, {"id": 1, "account": None}, {"message": "hello"}])
async def test_json_of_another_shape_is_transient(app: GitHubApp, server: FaultServer, data: Any) -> None:
    """A proxy's JSON with status 200 is no answer of GitHub's."""
    server.on("GET", f"/app/installations/{INSTALLATION}", Reply(200, data))
    with pytest.raises(Transient):
        await app.installation_record(INSTALLATION)


# ------------------------------------------------------------------------------------------------------------ tokens


async def test_a_token_serves_until_five_minutes_before_its_end(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """One token for 55 minutes, then another."""
    server.on("GET", BRANCH, HEAD)
    server.on("POST", TOKENS, token_reply(clock, "ghs_first"), lambda _: token_reply(clock, "ghs_second"))
    assert await head(client) == "a" * 40
    clock.time += 3299
    await head(client)
    assert len(server.calls("POST", TOKENS)) == 1
    clock.time += 2
    await head(client)
    assert len(server.calls("POST", TOKENS)) == 2
    assert [bearer(seen) for seen in server.calls("GET", BRANCH)] == ["ghs_first", "ghs_first", "ghs_second"]


@pytest.mark.parametrize("skew", [-290, 290, 3000])
async def test_a_tokens_end_is_reckoned_by_githubs_clock(
    client: InstallationClient, server: FaultServer, clock: FakeClock, skew: float
) -> None:
    """With our clock wrong by minutes a token is still used for 55 minutes."""
    theirs = FakeClock(clock.now() + skew)
    server.on("POST", TOKENS, token_reply(theirs))
    server.on("GET", BRANCH, HEAD)
    await head(client)
    clock.time += 3290
    await head(client)
    assert len(server.calls("POST", TOKENS)) == 1
    clock.time += 15
    await head(client)
    assert len(server.calls("POST", TOKENS)) == 2


@pytest.mark.parametrize("length", [40, 520, 600])
async def test_tokens_of_any_length(
    client: InstallationClient, server: FaultServer, clock: FakeClock, length: int
) -> None:
    """The old form and the staged long one are passed on as they are."""
    token = "ghs_" + "A1-_." * length
    server.on("POST", TOKENS, token_reply(clock, token[:length]))
    server.on("GET", BRANCH, HEAD)
    await head(client)
    assert bearer(server.seen[-1]) == token[:length]


async def test_many_at_once_make_one_token_even_if_the_first_is_cancelled(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """Single flight: one token request for 20 readers, and the cancelled starter does not take it away."""
    gate = asyncio.Event()

    async def slow(_: Seen) -> Reply:
        await gate.wait()
        return token_reply(clock)

    server.on("POST", TOKENS, slow)
    server.on("GET", BRANCH, HEAD)
    readers = [asyncio.create_task(head(client)) for _ in range(20)]
    while not server.calls("POST", TOKENS):
        await asyncio.sleep(0.005)
    readers[0].cancel()
    gate.set()
    assert await asyncio.gather(*readers[1:]) == ["a" * 40] * 19
    assert len(server.calls("POST", TOKENS)) == 1


async def test_no_token_or_key_is_shown(
    app: GitHubApp, client: InstallationClient, server: FaultServer, clock: FakeClock, private_key: str
) -> None:
    """An answer that holds a token and is otherwise wrong: no text, cause, repr or local variable shows it."""
    token = "ghs_" + "Zq9" * 60
    server.on("POST", TOKENS, Reply(201, {"token": token, "expires_at": "never"}))
    with pytest.raises(Transient) as caught:
        await head(client)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "/github/" in frame.filename and "/tests/" not in frame.filename]
    text = str([frame.locals for frame in ours]) + repr(caught.value) + repr((app, vars(app), client, vars(client)))
    assert ours
    assert token[:30] not in text
    assert "PRIVATE KEY" not in text
    assert caught.value.__context__ is None
    server.on("POST", TOKENS, token_reply(clock, token))
    server.on("GET", BRANCH, HEAD)
    await head(client)
    assert token[:30] not in repr((vars(client), vars(client._access), vars(client._access._tokens)))


async def test_one_404_ends_no_installation(app: GitHubApp, client: InstallationClient, server: FaultServer) -> None:
    """Deleted is for ever, and a replica may not know a new installation yet: the list of all is asked as well."""
    record, token = f"/app/installations/{INSTALLATION}", server._scripts["POST", TOKENS][0]
    server.on("POST", TOKENS, Reply(404, {"message": "Not Found"}), token)
    server.on("GET", BRANCH, HEAD)
    server.on("GET", record, Reply(404, {"message": "Not Found"}))
    server.on("GET", "/app/installations", Reply(200, [installation(id=5), installation()]))
    assert (await app.installation_record(INSTALLATION)).state is InstallationState.ACTIVE
    with pytest.raises(Transient):
        await head(client)
    assert await head(client) == "a" * 40
    server.on("GET", "/app/installations", Reply(502))
    with pytest.raises(Transient):
        await app.installation_record(INSTALLATION)
    server.on("GET", "/app/installations", Reply(200, [installation(id=5)]))
    with pytest.raises(InstallationGone):
        await app.installation_record(INSTALLATION)


@pytest.mark.parametrize("left", ["1", "0"])
async def test_the_apps_budget_is_not_that_of_its_installations(
    app: GitHubApp, client: InstallationClient, server: FaultServer, clock: FakeClock, left: str
) -> None:
    """Tokens are paid for by the App: when its hour is used up none is made until the reset; who has one goes on."""
    until = str(int(clock.now()) + 900)
    reset = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": left, "x-ratelimit-reset": until}
    made = token_reply(clock)
    others = f"/app/installations/{INSTALLATION + 1}/access_tokens"
    server.on("POST", TOKENS, Reply(made.status, made.data, {**made.headers, **reset}))
    server.on("POST", others, Reply(403, {"message": "API rate limit exceeded for app."}, reset), made)
    server.on("GET", BRANCH, HEAD)
    other = app.installation(INSTALLATION + 1)
    await head(client)
    assert await head(client) == "a" * 40
    for _ in range(3):
        with pytest.raises(RateLimited):
            await head(other)
        with pytest.raises(RateLimited):
            await app.app()
    assert await head(client) == "a" * 40
    assert server.calls("POST", others) == server.calls("GET", "/app") == []
    clock.time += 902
    server.on("POST", others, made)
    assert await head(other) == "a" * 40
