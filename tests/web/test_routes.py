"""Every route of the App has a rule; what is open to everybody is listed here, with the reason."""

from __future__ import annotations

from typing import cast

import pytest
from aiohttp import web

from app import build_web, sign_in_of
from settings import Settings, SettingsError
from storage.database import Pool
from web import access
from web.access import Rule
from web.look import FILES

# Method and path -> why anybody may.
UNGUARDED = {
    ("POST", "/webhook"): "GitHub's deliveries: their signature is checked",
    ("GET", "/healthz"): "a host's probe: says that the process lives",
    ("GET", "/readyz"): "a host's probe: says ready or which part is not, in fixed words",
    ("GET", "/metrics"): "for this machine, or who brings METRICS_TOKEN: checked by itself",
    ("GET", "/schema/steps.json"): "the lab file's schema: the same for all, read by editors",
    **{("GET", f"/static/{name}"): "a file that is the same for all" for name in FILES},
}
PUBLIC = {
    ("GET", "/"): "sends who is not signed in to the sign-in; a learner sees their own labs, staff the class",
    ("GET", "/login"): "the way in",
    ("GET", "/auth/callback"): "the way in: state, cookie and GitHub's code are checked",
    ("GET", "/login/local"): "the way in at this machine: its one-time secret is checked",
    ("GET", "/signed-out"): "holds nothing",
    ("POST", "/logout"): "ends the browser's own sign-in",
    (
        "GET",
        "/sessions/{session_id}",
    ): "shows strangers what the check-run shows; nothing of a private repository",
    ("GET", "/sessions/{session_id}/events"): "looks itself whether the visitor may see the session; tells its id only",
    ("GET", "/join/{slug}"): "a lab's public invitation; who is signed in sees their own steps",
    ("GET", "/installed"): "where GitHub sends people after installing; believes nothing of its address",
}


def settings_of(**given: str) -> Settings:
    """Settings of a web process."""
    return Settings.model_validate({"github_webhook_secret": "0f1e2d3c4b5a69788796a5b4c3d2e1f0", **given})


def applications() -> list[web.Application]:
    """The App before and after signing in with GitHub is set up."""
    with_sign_in = settings_of(github_client_id="client", github_client_secret="s3cr3t-of-the-client")
    unused = cast("Pool", None)  # nothing is asked of the pages here
    return [build_web(settings_of(), unused), build_web(with_sign_in, unused)]


async def test_every_route_has_a_rule() -> None:
    """No route is without a rule, and no rule without its route."""
    for app in applications():
        routes, rules = list(app.router.routes()), app[access.RULES]
        assert [route for route in routes if route not in rules] == []
        assert len(rules) == len(routes) > 10


async def test_what_is_open_is_listed() -> None:
    """Exactly the listed routes are open to people who are not signed in; HEAD goes with GET."""
    found: dict[Rule, set[tuple[str, str]]] = {rule: set() for rule in Rule}
    for app in applications():
        for route, rule in app[access.RULES].items():
            assert route.resource is not None
            method = "GET" if route.method == "HEAD" else route.method
            found[rule].add((method, route.resource.canonical))
    assert found[Rule.UNGUARDED] == set(UNGUARDED)
    assert found[Rule.PUBLIC] == set(PUBLIC)


async def test_what_changes_something_is_never_open() -> None:
    """Apart from the webhook and signing out, whatever is not reading asks who one is."""
    for app in applications():
        writing = {
            (rule, route.resource.canonical)
            for route, rule in app[access.RULES].items()
            if route.method not in ("GET", "HEAD") and route.resource is not None
        }
        open_ones = {path for rule, path in writing if rule in (Rule.UNGUARDED, Rule.PUBLIC)}
        assert open_ones == {"/webhook", "/logout"}


@pytest.mark.parametrize("path", ["/login/local", "/auth/callback"])
async def test_there_is_one_way_in(path: str) -> None:
    """With GitHub's sign-in there is no local link, and without it no callback."""
    before, after = (
        {route.resource.canonical for route in app.router.routes() if route.resource} for app in applications()
    )
    assert (path in before) != (path in after)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"github_client_id": "client"}, "GITHUB_CLIENT_SECRET is missing"),
        ({"github_client_secret": "s3cr3t-of-the-client"}, "GITHUB_CLIENT_ID is missing"),
        (
            {
                "github_client_id": "client",
                "github_client_secret": "s3cr3t-of-the-client",
                "public_url": "https://stepgate.example.com",
            },
            "SESSION_KEY is missing",
        ),
    ],
)
def test_half_a_sign_in_is_refused(given: dict[str, str], named: str) -> None:
    """Credentials that are not complete, and a public site whose cookies would not last, are named in one line."""
    with pytest.raises(SettingsError, match=named):
        sign_in_of(settings_of(**given))


def test_a_laptop_needs_no_session_key() -> None:
    """On loopback a random key does, a new one for each process; the operator's own is taken where it is set."""
    credentials = {"github_client_id": "client", "github_client_secret": "s3cr3t-of-the-client"}
    first, second = sign_in_of(settings_of(**credentials)), sign_in_of(settings_of(**credentials))
    assert first is not None
    assert second is not None
    assert first.session_key != second.session_key
    key = "0123456789abcdef0123456789abcdef"
    kept = sign_in_of(settings_of(**credentials, session_key=key, public_url="https://stepgate.example.com"))
    assert kept is not None
    assert kept.session_key == key
    assert key not in repr(kept)
    assert "s3cr3t" not in repr(kept)
    assert sign_in_of(settings_of()) is None
