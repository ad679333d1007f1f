"""How installations are spoken to: fresh, revoked and narrowed tokens; installations that are suspended or gone."""

from __future__ import annotations

import asyncio

import pytest

from github.access import AWAY_FOR
from github.client import InstallationClient
from github.errors import (
    GitHubError,
    InstallationGone,
    InstallationSuspended,
    MissingPermission,
    Rejected,
    Transient,
    Unauthorized,
)
from github.permissions import IN_USE
from tests.support.fault_server import FakeClock, FaultServer, Raw, Reply, Seen
from tests.support.github_answers import (
    BAD,
    BRANCH,
    HEAD,
    INSTALLATION,
    NO_PERMISSION,
    REPO,
    REPORT,
    SUSPENDED,
    TOKENS,
    bearer,
    head,
    installation,
    token_reply,
)


@pytest.mark.parametrize("refusal", [BAD, NO_PERMISSION])
async def test_a_fresh_token_that_is_not_known_yet_is_retried(
    client: InstallationClient, server: FaultServer, clock: FakeClock, refusal: Reply
) -> None:
    """401 and 403 in the first seconds: tried again with the same token after 1, 2 and 3 s."""
    server.on("GET", BRANCH, refusal, refusal, refusal, HEAD)
    assert await head(client) == "a" * 40
    assert clock.slept == [1, 2, 3]
    assert len(server.calls("POST", TOKENS)) == 1


@pytest.mark.parametrize("given_up", [(BAD, Unauthorized, 2), (NO_PERMISSION, MissingPermission, 1)])
async def test_a_fresh_token_that_stays_refused_is_given_up_after_ten_seconds(
    client: InstallationClient,
    server: FaultServer,
    clock: FakeClock,
    given_up: tuple[Reply, type[GitHubError], int],
) -> None:
    """Ten seconds in all, then one try with another token if this one is not known, then the refusal itself."""
    refusal, kind, tokens = given_up
    server.on("GET", BRANCH, refusal)
    with pytest.raises(kind):
        await head(client)
    assert sum(clock.slept) == 10
    assert len(server.calls("POST", TOKENS)) == tokens


async def test_an_installation_deleted_within_seconds_is_recognised(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """Its fresh token is refused as one that is not known yet would be; that there is no other one tells."""
    server.on("POST", TOKENS, token_reply(clock), Reply(404, {"message": "Not Found"}))
    server.on("GET", BRANCH, HEAD, BAD)
    await head(client)
    with pytest.raises(InstallationGone):
        await head(client)
    assert sum(clock.slept) == 10


async def test_a_revoked_token_is_replaced_once(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """401 in mid-life: one new token, and the request again."""
    server.on("POST", TOKENS, token_reply(clock, "ghs_first"), token_reply(clock, "ghs_second"))
    server.on("GET", BRANCH, HEAD, BAD, HEAD)
    await head(client)
    clock.time += 600
    assert await head(client) == "a" * 40
    assert [bearer(seen) for seen in server.calls("GET", BRANCH)] == ["ghs_first", "ghs_first", "ghs_second"]
    assert clock.slept == []


async def test_many_401s_at_once_make_one_new_token(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """All that hold the revoked token share its replacement."""
    replies = {"ghs_first": BAD, "ghs_second": HEAD}
    server.on("POST", TOKENS, token_reply(clock, "ghs_first"), token_reply(clock, "ghs_second"))
    server.on("GET", BRANCH, HEAD)
    await head(client)
    clock.time += 600
    server.on("GET", BRANCH, lambda seen: replies[bearer(seen)])
    assert await asyncio.gather(*(head(client) for _ in range(10))) == ["a" * 40] * 10
    assert len(server.calls("POST", TOKENS)) == 2


async def test_a_late_401_does_not_drop_the_new_token(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """A slow request that went out with the old token is refused after the new one was made: it uses that."""
    gate = asyncio.Event()
    slow = f"{REPO}/git/ref/heads/slow"

    async def refused_late(seen: Seen) -> Reply:
        if bearer(seen) == "ghs_first":
            await gate.wait()
            return BAD
        return Reply(200, {"ref": "refs/heads/slow", "object": {"sha": "b" * 40}})

    replies = {"ghs_first": BAD, "ghs_second": HEAD}
    server.on("POST", TOKENS, token_reply(clock, "ghs_first"), token_reply(clock, "ghs_second"))
    server.on("GET", BRANCH, HEAD)
    await head(client)
    clock.time += 600
    server.on("GET", BRANCH, lambda seen: replies[bearer(seen)])
    server.on("GET", slow, refused_late)
    late = asyncio.create_task(client.branch_head("octo-course/lab", "slow"))
    while not server.calls("GET", slow):
        await asyncio.sleep(0.005)
    await head(client)
    gate.set()
    assert await late == "b" * 40
    assert len(server.calls("POST", TOKENS)) == 2


async def test_a_permission_that_lacks_later_is_told_at_once(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """403 in mid-life: no waiting and no new token, which would have the same permissions."""
    server.on("GET", BRANCH, HEAD, NO_PERMISSION)
    await head(client)
    clock.time += 600
    with pytest.raises(MissingPermission):
        await head(client)
    assert clock.slept == []
    assert len(server.calls("POST", TOKENS)) == 1


def accepted(sets: str) -> Reply:
    """A refusal that names the permissions that would do."""
    headers = {"X-Accepted-GitHub-Permissions": sets}
    return Reply(403, {"message": "Resource not accessible by integration"}, headers)


def asked_for(server: FaultServer) -> list[dict[str, str]]:
    """The permissions that tokens were asked to have."""
    return [seen.json()["permissions"] for seen in server.calls("POST", TOKENS)]


async def test_tokens_are_narrowed_to_the_permissions_in_use(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """Whatever was granted; another one is added from when it is needed, with a new token, and once."""
    server.on("POST", TOKENS, token_reply(clock))
    server.on("GET", BRANCH, HEAD)
    await head(client)
    for _ in range(2):
        client.needs({"actions": "read", "checks": "read"})
        await head(client)
    assert asked_for(server) == [dict(IN_USE), {**IN_USE, "actions": "read"}]
    assert IN_USE == {"metadata": "read", "contents": "read", "checks": "write", "statuses": "write"}


async def test_an_installation_without_one_of_them_gets_a_token_with_the_rest(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """422: what was granted is asked for, and then no more than that; more than in use is never asked for."""
    granted = {"metadata": "read", "contents": "write", "checks": "read", "issues": "write"}
    refusal = Reply(422, {"message": "The permissions requested are not granted to this installation."})
    server.on("POST", TOKENS, refusal, token_reply(clock))
    server.on("GET", f"/app/installations/{INSTALLATION}", Reply(200, installation(permissions=granted)))
    server.on("GET", BRANCH, HEAD)
    await head(client)
    assert asked_for(server)[1] == {"metadata": "read", "contents": "read", "checks": "read"}


async def test_a_422_for_another_reason_is_told(client: InstallationClient, server: FaultServer) -> None:
    """All was granted and the token is refused all the same: no third request, no token without limits."""
    server.on("POST", TOKENS, Reply(422, {"message": "Nobody knows why"}))
    server.on("GET", f"/app/installations/{INSTALLATION}", Reply(200, installation(permissions=dict(IN_USE))))
    with pytest.raises(Rejected, match="Nobody knows why"):
        await head(client)
    assert len(server.calls("POST", TOKENS)) == 1


@pytest.mark.parametrize(
    ("sets", "waits"),
    [
        ("checks=write", True),
        ("administration=write; contents=read,checks=read", True),
        ("actions=read", False),
        ("checks=write,administration=write; administration=admin", False),
        ("checks=admin", False),
    ],
)
async def test_a_fresh_token_without_the_permission_is_not_waited_for(
    client: InstallationClient, server: FaultServer, clock: FakeClock, sets: str, waits: bool
) -> None:
    """A write refused for what its token was made without fails at once; for what it has, it may only be too early."""
    server.on("POST", TOKENS, token_reply(clock, permissions=dict(IN_USE)))
    server.on("POST", f"{REPO}/check-runs", accepted(sets), Reply(201, {"id": 12}))
    if waits:
        assert await client.create_check_run("octo-course/lab", REPORT) == 12
    else:
        with pytest.raises(MissingPermission):
            await client.create_check_run("octo-course/lab", REPORT)
    assert clock.slept == ([1] if waits else [])


async def test_a_permission_that_was_granted_since_is_found(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """Another process heard of it: an older token is replaced, at most once in five minutes, and not for anything."""
    less = {"metadata": "read", "contents": "read"}
    server.on("GET", BRANCH, HEAD, accepted("checks=write"))
    server.on("POST", TOKENS, token_reply(clock, permissions=less))
    await head(client)
    for tokens in (1, 1, 2, 2):
        with pytest.raises(MissingPermission):
            await head(client)
        assert len(server.calls("POST", TOKENS)) == tokens
        clock.time += 160
    server.on("GET", BRANCH, accepted("administration=write"))
    clock.time += 600
    with pytest.raises(MissingPermission):
        await head(client)
    assert len(server.calls("POST", TOKENS)) == 2
    server.on("POST", TOKENS, token_reply(clock, permissions=dict(IN_USE)))
    server.on("GET", BRANCH, accepted("checks=write"), HEAD)
    assert await head(client) == "a" * 40
    assert clock.slept == []


async def test_a_token_that_was_under_way_when_things_changed_is_not_kept(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """What was asked for before the change may have the old permissions: it serves who waits for it, nobody else."""
    gate = asyncio.Event()

    async def slowly(_: Seen) -> Reply:
        await gate.wait()
        return token_reply(clock, "ghs_old")

    server.on("POST", TOKENS, slowly, token_reply(clock, "ghs_new"))
    server.on("GET", BRANCH, HEAD)
    early = asyncio.create_task(head(client))
    while not server.calls("POST", TOKENS):
        await asyncio.sleep(0.005)
    client.forget_token()
    await head(client)
    gate.set()
    await early
    await head(client)
    assert sorted(bearer(seen) for seen in server.calls("GET", BRANCH)) == ["ghs_new", "ghs_new", "ghs_old"]


async def test_a_write_refused_with_401_is_repeated_safely(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """401 means that nothing was written: the write is sent again with the new token."""
    server.on("GET", BRANCH, HEAD)
    server.on("POST", f"{REPO}/check-runs", BAD, Reply(201, {"id": 12}))
    await head(client)
    clock.time += 600
    assert await client.create_check_run("octo-course/lab", REPORT) == 12


async def test_a_forgotten_token_is_made_anew(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """After a change of permissions the caller forgets the token, which still has the old ones."""
    server.on("GET", BRANCH, HEAD)
    await head(client)
    client.forget_token()
    await head(client)
    assert len(server.calls("POST", TOKENS)) == 2


async def test_a_lost_token_answer_is_transient(client: InstallationClient, server: FaultServer) -> None:
    """Making a token twice is harmless, although it is a POST."""
    server.on("POST", TOKENS, Raw(), Reply(502, body=b"<html>"), Reply(201, {"token": "", "expires_at": "x"}))
    for _ in range(3):
        with pytest.raises(Transient):
            await head(client)


@pytest.mark.parametrize("told", [True, False])
async def test_a_suspended_installation_is_left_alone(
    client: InstallationClient, server: FaultServer, clock: FakeClock, told: bool
) -> None:
    """Suspended, in mid-life as when a token is made, it is asked nothing for a minute, or until we hear of it."""
    server.on("POST", TOKENS, token_reply(clock), SUSPENDED, token_reply(clock))
    server.on("GET", BRANCH, HEAD, SUSPENDED, HEAD)
    await head(client)
    clock.time += 600
    for asked in (3, 4):
        for _ in range(20):
            with pytest.raises(InstallationSuspended) as caught:
                await head(client)
            assert caught.value.installation_id == INSTALLATION
        assert len(server.seen) == asked
        if told:
            client.forget_token()
        else:
            clock.time += AWAY_FOR
    assert await head(client) == "a" * 40
    assert clock.slept == []


async def test_a_refusal_from_before_we_heard_silences_nothing(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """A request that was sent while the App was suspended ends after the news that it is not: the next one is sent."""

    def late(_: Seen) -> Reply:
        client.forget_token()  # `installation.unsuspend` has come, while this answer is on its way
        return SUSPENDED

    server.on("GET", BRANCH, late, HEAD)
    with pytest.raises(InstallationSuspended):
        await head(client)
    assert await head(client) == "a" * 40


async def test_a_clock_that_is_set_back_does_not_prolong_the_silence(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """What was to end in a minute ends now, not in an hour and a minute."""
    server.on("POST", TOKENS, SUSPENDED, token_reply(clock))
    server.on("GET", BRANCH, HEAD)
    with pytest.raises(InstallationSuspended):
        await head(client)
    clock.time -= 3600
    assert await head(client) == "a" * 40


async def test_a_deleted_installation_is_recognised(
    client: InstallationClient, server: FaultServer, clock: FakeClock
) -> None:
    """Its token is refused in mid-life, and the request for another answers 404."""
    server.on("POST", TOKENS, token_reply(clock), Reply(404, {"message": "Not Found"}))
    server.on("GET", BRANCH, HEAD, BAD)
    await head(client)
    clock.time += 600
    with pytest.raises(InstallationGone) as gone:
        await head(client)
    assert gone.value.installation_id == INSTALLATION
    asked = len(server.seen)
    with pytest.raises(InstallationGone):
        await head(client)
    assert len(server.seen) == asked
