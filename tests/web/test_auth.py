"""Signing in over (the sandbox's) GitHub: only who began it, once, in time; and nobody by a forged way."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from storage import accounts
from tests.support.line import Line, running_line
from web import auth
from web.cookies import ATTEMPT, COOKIES, SIGNED_IN, Attempt, Cookies, Identity
from web.site import SITE, SignIn, Site


@pytest.fixture
async def line(fresh_database: str) -> AsyncIterator[Line]:
    """A running App where one signs in with the sandbox's GitHub."""
    async with running_line(fresh_database, sign_in=True) as running:
        running.sandbox.add_account("learner-one")
        yield running


def _form(text: str, action: str) -> dict[str, str]:
    """The hidden fields of the page's first form with this action."""
    found = re.search(rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', text, re.DOTALL)
    assert found, text
    fields = {}
    for tag in re.findall(r"<input[^>]*>", found[1]):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        if name and value:
            fields[name[1]] = unescape(value[1])
    return fields


async def at_github(line: Line, me: aiohttp.ClientSession, address: str, *, agree: bool = True) -> URL:
    """Do at GitHub what a person does there from `address` on; returns where GitHub sends the browser."""
    root = line.sandbox.url
    async with me.get(address) as page:
        if page.url.path == "/login":
            back = page.url.query["return_to"]
            text = await page.text()
        else:
            back, text = "", await page.text()
    if back:
        fields = {**_form(text, "/login"), "login": "learner-one", "return_to": back}
        async with me.post(f"{root}/login", data=fields, headers={"Origin": root}) as page:
            text = await page.text()
    fields = {**_form(text, "/login/oauth/authorize"), "authorize": "1" if agree else "0"}
    post = me.post(f"{root}/login/oauth/authorize", data=fields, headers={"Origin": root}, allow_redirects=False)
    async with post as answer:
        return URL(answer.headers["Location"], encoded=True)


async def begun(me: aiohttp.ClientSession, address: str = "/login") -> str:
    """Begin a sign-in; returns where the browser is sent."""
    async with me.get(address, allow_redirects=False) as answer:
        assert answer.status == 303
        return answer.headers["Location"]


async def test_who_signs_in_is_known_by_id(line: Line) -> None:
    """The whole way: to GitHub with PKCE and state, back, and then one is known here, and lands where one wanted to."""
    async with line.browser() as me:
        address = await begun(me, "/login?next=/signed-out")
        query = URL(address).query
        assert query["client_id"] == line.sandbox.client_id
        assert query["code_challenge_method"] == "S256"
        assert len(query["state"]) >= 32
        back = await at_github(line, me, address)
        assert back.path == "/auth/callback"
        async with me.get(back, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/signed-out")
            cookie = answer.cookies["stepgate"]
            assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
            assert cookie["max-age"] == str(SIGNED_IN)
            assert "learner" not in cookie.value
            assert answer.cookies["stepgate-sign-in"].value == ""
        async with me.get("/signed-out") as page:
            assert "learner-one" in await page.text()
    learner = line.sandbox.account("learner-one")
    known = await accounts.account(line.pool, learner.id)
    assert known is not None
    assert known.login == "learner-one"


async def test_the_user_token_is_ended(line: Line) -> None:
    """What GitHub handed out for the sign-in works no more afterwards, and is in no cookie."""
    async with line.browser() as me:
        back = await at_github(line, me, await begun(me))
        async with me.get(back, allow_redirects=False) as answer:
            assert answer.status == 303
            assert "ghu_" not in str(answer.cookies)
    ended = line.sandbox.exchanges[-1]
    assert (ended.method, ended.path.rpartition("/")[2], ended.status) == ("DELETE", "token", 204)


async def test_a_sign_in_works_once_and_only_in_its_browser(line: Line) -> None:
    """The same address again, or in another browser, or with another state, signs nobody in."""
    async with line.browser() as me, line.browser() as another:
        back = await at_github(line, me, await begun(me))
        async with another.get(back, allow_redirects=False) as answer:
            assert (answer.status, "stepgate" in answer.cookies) == (400, False)
        await begun(another)
        async with another.get(back, allow_redirects=False) as answer:
            assert (answer.status, "stepgate" in answer.cookies) == (400, False)
        kept = {cookie.key: cookie.value for cookie in me.cookie_jar if cookie.key == "stepgate-sign-in"}
        async with me.get(back, allow_redirects=False) as answer:
            assert answer.status == 303
        async with me.get(back, cookies=kept, allow_redirects=False) as answer:
            assert answer.status == 400
            assert "used already" in await answer.text()


async def test_a_code_that_github_refuses_signs_nobody_in(line: Line) -> None:
    """A made-up code is no sign-in, and the page says what to do."""
    async with line.browser() as me:
        state = URL(await begun(me)).query["state"]
        async with me.get(f"/auth/callback?state={state}&code=made-up", allow_redirects=False) as answer:
            assert (answer.status, "stepgate" in answer.cookies) == (403, False)
            assert "Sign in again" in await answer.text()


async def test_cancelling_is_no_error_of_ours(line: Line) -> None:
    """Who cancels at GitHub reads so here, and is not signed in."""
    async with line.browser() as me:
        back = await at_github(line, me, await begun(me), agree=False)
        async with me.get(back, allow_redirects=False) as answer:
            assert (answer.status, "stepgate" in answer.cookies) == (403, False)
            assert "did not let Stepgate know" in await answer.text()


async def test_a_wrong_client_secret_is_told_as_the_operators(line: Line) -> None:
    """The learner reads whose fault it is; the page does not hold the secret."""
    site = line.web[SITE]
    assert site.sign_in is not None
    object.__setattr__(site.sign_in, "client_secret", "not-the-secret")
    async with line.browser() as me:
        back = await at_github(line, me, await begun(me))
        async with me.get(back, allow_redirects=False) as answer:
            text = await answer.text()
            assert answer.status == 502
            assert "operator" in text
            assert "not-the-secret" not in text


async def test_a_github_that_is_away_is_githubs_fault(line: Line) -> None:
    """When GitHub answers with an error the page says so, and that one may try again."""
    async with line.browser() as me:
        back = await at_github(line, me, await begun(me))
        line.sandbox.faults.append(
            lambda request: web.Response(status=502) if request.path == "/login/oauth/access_token" else None
        )
        async with me.get(back, allow_redirects=False) as answer:
            assert answer.status == 502
            assert "GitHub did not answer" in await answer.text()


async def test_signing_out_forgets(line: Line) -> None:
    """After signing out one is nobody, on a page that does not sign one in again."""
    learner = line.sandbox.account("learner-one")
    async with line.browser(learner.id, "learner-one") as me:
        async with me.get("/signed-out") as page:
            assert "learner-one" in await page.text()
        async with me.post("/logout") as page:
            assert page.url.path == "/signed-out"
            assert "learner-one" not in await page.text()


async def test_the_terminals_link_is_not_there_beside_github(line: Line) -> None:
    """Where one signs in with GitHub no link opens the pages, and its cookie means nothing."""
    async with line.browser() as me:
        async with me.get(line.web[SITE].local_link.address, allow_redirects=False) as answer:
            assert answer.status == 404
        me.cookie_jar.update_cookies({"stepgate": line.web[COOKIES].seal_identity(Identity(None))}, URL(line.pages))
        async with me.get("/class.csv", allow_redirects=False) as answer:
            assert answer.headers["Location"].startswith("/login")


async def test_the_terminals_link_opens_the_pages_once(fresh_database: str) -> None:
    """Without credentials the link makes one browser staff, a second one needs the next link, which is announced."""
    said: list[str] = []
    async with running_line(fresh_database) as line:
        line.web[SITE].local_link.announce(line.pages, said.append)
        async with line.browser() as me, line.browser() as another:
            async with me.get("/class.csv", allow_redirects=False) as answer:
                assert answer.status == 303
            async with me.get("/login") as page:
                assert (page.status, "terminal" in await page.text()) == (403, True)
            async with me.get("/login/local?token=guessed", allow_redirects=False) as answer:
                assert (answer.status, len(answer.cookies)) == (403, 0)
            async with me.head(said[0], allow_redirects=False) as answer:
                assert answer.status == 403
            async with me.get(said[0], allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (303, "/")
            async with me.get("/class.csv") as answer:
                assert answer.status == 200
            async with another.get(said[0], allow_redirects=False) as answer:
                assert answer.status == 403
            assert len(said) == 2
            async with another.get(said[1], allow_redirects=False) as answer:
                assert answer.status == 303


# ------------------------------------------------------------------------------------------------------ the cookies


class Clock:
    """A clock that is moved by hand, in seconds since 1970."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def cookies_at(public_url: str, clock: Clock, key: str = "k" * 32) -> Cookies:
    """The cookies of a site with sign-in at this address."""
    sign_in = SignIn("client", "secret", key, "https://api.github.com")
    site = Site(None, web_url="https://github.com", public_url=public_url, sign_in=sign_in)  # type: ignore[arg-type]
    return Cookies(site, clock=clock)


def request_with(name: str, value: str) -> web.Request:
    """A request that brings one cookie."""
    return make_mocked_request("GET", "/", headers={"Cookie": f"{name}={value}"})


def test_on_https_the_cookie_is_this_hosts_alone() -> None:
    """Secure, HttpOnly, Lax, for the whole site and no other host."""
    cookies = cookies_at("https://stepgate.example.com", Clock())
    answer = web.Response()
    cookies.sign_in(answer, Identity(7, "learner-one"))
    cookies.begin(answer, Attempt("state", "verifier", "/"))
    for name in ("__Host-stepgate", "__Host-stepgate-sign-in"):
        cookie = answer.cookies[name]
        assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
        assert (cookie["path"], cookie["domain"]) == ("/", "")


def test_a_sign_in_lasts_eight_hours_whatever_the_browser_says() -> None:
    """A cookie is believed for 8 hours after it was made, a sign-in under way for 10 minutes."""
    clock = Clock()
    cookies = cookies_at("https://stepgate.example.com", clock)
    answer = web.Response()
    cookies.sign_in(answer, Identity(7, "learner-one", frozenset({1, 2})))
    cookies.begin(answer, Attempt("state", "verifier", "/"))
    signed_in = request_with(cookies.name, answer.cookies[cookies.name].value)
    under_way = request_with(cookies.attempt_name, answer.cookies[cookies.attempt_name].value)
    clock.now += ATTEMPT
    assert cookies.attempt(under_way) == Attempt("state", "verifier", "/")
    clock.now += 2
    assert cookies.attempt(under_way) is None
    clock.now += SIGNED_IN - ATTEMPT - 3
    assert cookies.identity(signed_in) == Identity(7, "learner-one", frozenset({1, 2}))
    clock.now += 3
    assert cookies.identity(signed_in) is None


@pytest.mark.parametrize("value", ["", "x", "é", "gAAAAA", "gAAAAABh" + "A" * 120, "1" * 4000])
def test_a_forged_cookie_is_nobody(value: str) -> None:
    """What we did not make is as if it were not there."""
    cookies = cookies_at("https://stepgate.example.com", Clock())
    assert cookies.identity(request_with(cookies.name, value)) is None


def test_cookies_are_not_taken_for_one_another() -> None:
    """Neither another key's cookie nor the cookie of a sign-in under way tells who one is."""
    clock, answer = Clock(), web.Response()
    cookies = cookies_at("https://stepgate.example.com", clock)
    cookies.begin(answer, Attempt("state", "verifier", "/"))
    under_way = answer.cookies[cookies.attempt_name].value
    other = cookies_at("https://stepgate.example.com", clock, "j" * 32).seal_identity(Identity(7))
    for value in (under_way, other):
        assert cookies.identity(request_with(cookies.name, value)) is None


def test_a_cookie_with_many_installations_fits_a_browser() -> None:
    """The newest 50 installations are kept, and the cookie stays below what browsers keep."""
    cookies = cookies_at("https://stepgate.example.com", Clock())
    many = frozenset(range(95_737_001, 95_737_501))
    value = cookies.seal_identity(Identity(7, "a" * 39, many))
    assert len(value) < 4000
    found = cookies.identity(request_with(cookies.name, value))
    assert found is not None
    assert found.installations == frozenset(sorted(many)[-50:])


async def test_what_github_sets_for_one_person_is_not_sent_for_the_next() -> None:
    """All sign-ins share a session to GitHub, which keeps no cookies."""
    app = web.Application()
    desk = auth._open_desk(app)
    await anext(desk)
    assert isinstance(app[auth.DESK].http.cookie_jar, aiohttp.DummyCookieJar)
    with pytest.raises(StopAsyncIteration):
        await anext(desk)
