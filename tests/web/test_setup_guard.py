"""web/setup.py: who is let in, and which answers of GitHub are taken."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.setting_up import CREATE, World, setting_up
from web.access import RULES


@pytest.fixture(name="world")
async def _world(tmp_path: Path) -> AsyncIterator[World]:
    async with setting_up(tmp_path) as world:
        yield world


# ------------------------------------------------------------------------------------------------------ who is let in


async def test_the_link_works_once(world: World) -> None:
    """The first browser gets a cookie of its own and keeps it; the link is dead for a second one."""
    link = world.setup.link
    first, second = await world.stranger(), await world.stranger()
    await first.open(link)
    await second.open(link)

    assert (first.status, second.status) == (200, 404)
    await first.open(f"{world.setup.here}/setup")
    assert first.status == 200
    assert "setup?token" not in first.html


async def test_the_cookie_is_kept_from_scripts_and_other_sites(world: World) -> None:
    """HttpOnly, SameSite=Lax, for /setup only; Secure where the link is https."""
    browser = await world.stranger("/")
    async with browser.session.get(world.setup.link, allow_redirects=False) as answer:
        cookie = answer.headers["Set-Cookie"]
        assert (answer.status, answer.headers["Location"]) == (303, "/setup")

    assert {"HttpOnly", "Path=/setup", "SameSite=Lax"} <= set(re.split(r"; *", cookie))
    assert "Secure" not in cookie
    world.setup.token, world.setup.here = "another", "https://gate.example.org"
    async with browser.session.get(answer.url.with_query(token="another"), allow_redirects=False) as answer:
        assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong", "?token=%00", "?token=%F0%9F%98%80"])
async def test_without_the_link_there_is_no_setup(world: World, query: str) -> None:
    """A missing or wrong token, on any page and by any method, is 404; the right one still works afterwards."""
    stranger = await world.stranger()
    for path in ("/setup", "/setup/summary", "/setup/created"):
        await stranger.open(f"{world.setup.here}{path}{query}")
        assert stranger.status == 404
    await stranger.post(f"{world.setup.here}/setup{query}", {"name": "x"})
    assert stranger.status == 404

    await stranger.open(world.setup.link)
    assert stranger.status == 200


async def test_a_preview_of_the_link_does_not_use_it_up(world: World) -> None:
    """A HEAD request, as chat programs send it, neither opens the setup nor kills the link."""
    browser = await world.stranger()
    async with browser.session.head(world.setup.link, allow_redirects=False) as answer:
        assert answer.status == 404

    await browser.open(world.setup.link)
    assert browser.status == 200


async def test_a_second_browser_cannot_finish(world: World) -> None:
    """Code and state alone are worth nothing: only the browser that began may bring them."""
    browser, thief = await world.operator(), await world.stranger()
    address = await world.answer(browser)

    await thief.open(str(address))
    assert (thief.status, world.keeper.kept) == (404, [])

    await browser.open(str(address))
    assert len(world.keeper.kept) == 1


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example.com"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_another_sites_form_is_refused(world: World, headers: dict[str, str]) -> None:
    """A form sent from elsewhere with the operator's cookie changes nothing."""
    browser = await world.operator()

    await browser.post(f"{world.setup.here}/setup", {"name": "Evil", "github": "https://evil.example.com"}, headers)

    assert browser.status == 403
    assert world.setup.waiting() is None


def test_each_route_names_its_rule(world: World) -> None:
    """The routes of the setup are declared like all others."""
    declared = world.app[RULES]

    assert set(world.app.router.routes()) == set(declared)


async def test_the_probes_tell_that_there_is_no_app(world: World) -> None:
    """The process lives, but is not ready; other addresses say where the link is found, and never the link."""
    browser = await world.stranger()
    seen = []
    for path in ("/healthz", "/readyz", "/", "/webhook", "/join/lab"):
        await browser.open(f"{world.setup.here}{path}")
        seen.append(browser.status)
        assert world.setup.token not in browser.html

    assert seen == [200, 503, 404, 404, 404]


# ------------------------------------------------------------------------------------------------- state, code, hour


async def test_a_foreign_state_is_refused(world: World) -> None:
    """An answer that this form did not ask for is refused, and its code is not exchanged; the true one still works."""
    browser = await world.operator()
    address = await world.answer(browser)

    for query in ({"state": "foreign"}, {"state": ""}):
        await browser.open(str(address.update_query(query)))
        assert browser.status == 400
    await browser.open(str(address))

    assert len(world.keeper.kept) == 1
    assert len([each for each in world.sandbox.exchanges if "conversions" in each.path]) == 1


async def test_a_new_form_makes_the_old_answer_worthless(world: World) -> None:
    """Only the newest form is waited for."""
    browser = await world.operator()
    old = await world.answer(browser)
    await browser.open(f"{world.setup.here}/setup")
    await browser.press("Go on", {"name": "Stepgate-two"})

    await browser.open(str(old))

    assert (browser.status, world.keeper.kept) == (400, [])


async def test_a_state_ends_after_an_hour(world: World) -> None:
    """An answer that comes an hour later is refused; before, it is taken."""
    browser = await world.operator()
    address = await world.answer(browser)
    world.now += 3600

    await browser.open(str(address))

    assert (browser.status, world.keeper.kept) == (400, [])


async def test_an_old_summary_is_made_good_again(world: World) -> None:
    """Who comes back to the summary after a break gets a new state."""
    browser = await world.operator()
    await browser.press("Go on", {"name": "Stepgate-test"})
    before = world.setup.waiting()
    world.now += 4000
    await browser.open(f"{world.setup.here}/setup/summary")

    assert before is not None
    assert before[1] not in browser.html
    await browser.press(CREATE)
    await browser.press("Create GitHub App for octo-staff")
    assert len(world.keeper.kept) == 1


async def test_a_code_that_was_used_is_explained(world: World) -> None:
    """A code that somebody else used up is GitHub's 404: the page says so, and what to do with the App left over."""
    browser = await world.operator()
    address = await world.answer(browser)
    async with browser.session.post(
        f"{world.sandbox.api_url}/app-manifests/{address.query['code']}/conversions"
    ) as used:
        assert used.status == 201

    await browser.open(str(address))

    assert browser.status == 502
    assert "a code works once" in browser.text
    assert browser.links["your Apps on GitHub"] == f"{world.sandbox.url}/settings/apps"
    assert address.query["code"] not in browser.text


async def test_an_outage_can_be_waited_for(world: World) -> None:
    """When GitHub fails, reloading the same address later succeeds: neither state nor code is lost."""
    browser = await world.operator()
    address = await world.answer(browser)

    def away(request: web.Request) -> web.Response | None:
        return web.json_response({"message": "Server Error"}, status=502) if "conversions" in request.path else None

    world.sandbox.faults.append(away)
    await browser.open(str(address))
    assert browser.status == 502
    assert "Reload this page" in browser.text
    world.sandbox.faults.clear()

    await browser.open(str(address))
    assert (browser.status, len(world.keeper.kept)) == (200, 1)
