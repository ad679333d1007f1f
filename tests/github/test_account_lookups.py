"""Looking up people, the condition of a repository, and the App's installations."""

from __future__ import annotations

import pytest

from github.client import GitHubApp, InstallationClient
from github.errors import NotFound, Transient
from rules.model import Account, AccountKind, InstallationState
from tests.support.fault_server import FaultServer, Reply, Seen
from tests.support.github_answers import account, installation, repository


async def test_accounts_by_login_and_by_id(client: InstallationClient, server: FaultServer) -> None:
    """Both tell the account with the login of now; organisations and bots are told apart from people."""
    server.on("GET", "/users/Learner-One", Reply(200, account()))
    server.on("GET", "/users/octo-course", Reply(200, account(id=6, login="octo-course", type="Organization")))
    server.on("GET", "/user/5", Reply(200, account(login="renamed")))

    assert await client.account("Learner-One") == Account(5, "learner-one", AccountKind.USER)
    assert (await client.account("octo-course")).kind is AccountKind.ORGANIZATION
    assert await client.account_by_id(5) == Account(5, "renamed", AccountKind.USER)


@pytest.mark.parametrize("login", ["", "a/b", "..", "a b", "robo[bot]", "a" * 101])
async def test_what_is_no_login_is_not_asked(client: InstallationClient, server: FaultServer, login: str) -> None:
    """It cannot lead to another address of the API: NotFound without a request."""
    with pytest.raises(NotFound):
        await client.account(login)
    assert server.calls("GET", f"/users/{login}") == []


async def test_an_unknown_account(client: InstallationClient, server: FaultServer) -> None:
    """Neither login nor id: NotFound."""
    server.on("GET", "/users/nobody", Reply(404, {"message": "Not Found"}))
    server.on("GET", "/user/404", Reply(404, {"message": "Not Found"}))

    with pytest.raises(NotFound):
        await client.account("nobody")
    with pytest.raises(NotFound):
        await client.account_by_id(404)


async def test_the_condition_of_a_repository(client: InstallationClient, server: FaultServer) -> None:
    """Archived and disabled, as GitHub tells them; neither when it tells nothing."""
    path = "/repos/octo-course/lab"
    server.on("GET", path, Reply(200, repository(archived=True, disabled=True)), Reply(200, repository()))

    first, second = await client.condition("octo-course/lab"), await client.condition("octo-course/lab")

    assert (first.archived, first.disabled) == (True, True)
    assert (second.archived, second.disabled) == (False, False)


async def test_installations_page_by_page(app: GitHubApp, server: FaultServer) -> None:
    """All of them with their states; whoever stops early asks for no further page; no list is nonsense."""
    path = "/app/installations"

    def page(seen: Seen) -> Reply:
        if "&page=2" in seen.path:
            return Reply(200, [installation(id=3)])
        both = [installation(id=1, suspended_at="2026-01-01T00:00:00Z"), installation(id=2)]
        return Reply(200, both, {"Link": f'<{server.url}{path}?per_page=100&page=2>; rel="next"'})

    server.on("GET", path, page)
    found = [each async for each in app.installations()]
    assert [each.installation_id for each in found] == [1, 2, 3]
    assert [each.state for each in found] == [InstallationState.SUSPENDED, *[InstallationState.ACTIVE] * 2]

    asked = len(server.calls("GET", path))
    async for _ in app.installations():
        break
    assert len(server.calls("GET", path)) == asked + 1

    server.on("GET", path, Reply(200, {"message": "a proxy's"}))
    with pytest.raises(Transient):
        [each async for each in app.installations()]


async def test_an_installation_on_a_new_page_is_found(app: GitHubApp, server: FaultServer) -> None:
    """A first page that is as it was, with the same ETag, may have got a next one: it is read as a whole each time."""
    path, known = "/app/installations", [installation(id=1), installation(id=2)]
    more: list[Reply] = []

    def page(seen: Seen) -> Reply:
        if "&page=2" in seen.path:
            return more[0]
        if seen.headers.get("if-none-match") == '"two"':
            return Reply(304, headers={"ETag": '"two"'})
        link = {"Link": f'<{server.url}{path}?per_page=100&page=2>; rel="next"'} if more else {}
        return Reply(200, known, {"ETag": '"two"', **link})

    server.on("GET", path, page)
    assert [each.installation_id async for each in app.installations()] == [1, 2]
    more.append(Reply(200, [installation(id=3)]))
    assert [each.installation_id async for each in app.installations()] == [1, 2, 3]
