"""App JWTs and installation tokens are really checked."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from sandbox import Installation, Sandbox, new_private_key
from tests.support.githost import ApiClient, WorkingCopy

LAB = "/repos/octo-course/lab"


async def test_the_apps_jwt_names_it(sandbox: Sandbox, api: ApiClient) -> None:
    """A JWT within the rules is the App; the issuer may be its id or its client id."""
    for issuer in (str(sandbox.app_id), sandbox.client_id):
        answer = await api.call("GET", "/app", credentials=api.jwt(iss=issuer))
        assert (answer.status, answer.body["id"], answer.body["slug"]) == (200, sandbox.app_id, "stepgate")


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"exp": -1}, "'Expiration time' claim ('exp') must be a numeric value"),
        ({"exp": 640}, "'Expiration time' claim ('exp') is too far in the future"),
        ({"iat": 90}, "'Issued at' claim ('iat') must be an Integer"),
    ],
)
async def test_a_jwt_outside_of_its_time_is_refused(api: ApiClient, claims: dict[str, Any], words: str) -> None:
    """Expired, too long, or issued in the future: 401 with GitHub's words."""
    answer = await api.call("GET", "/app", credentials=api.jwt(**claims))
    assert answer.status == 401
    assert answer.body["message"].startswith(words)


async def test_a_jwt_of_another_key_is_refused(api: ApiClient) -> None:
    """A signature that is not the App's is no credential."""
    answer = await api.call("GET", "/app", credentials=api.jwt(key=new_private_key()))
    assert (answer.status, answer.body["message"]) == (401, "A JSON web token could not be decoded")


async def test_a_jwt_with_another_algorithm_is_refused(sandbox: Sandbox, api: ApiClient) -> None:
    """Neither an unsigned token nor one signed with a shared secret counts."""
    claims = {"iat": int(time.time()) - 60, "exp": int(time.time()) + 60, "iss": str(sandbox.app_id)}
    for wrong in (jwt.encode(claims, "", "none"), jwt.encode(claims, "s" * 32, "HS256")):
        assert (await api.call("GET", "/app", credentials=wrong)).status == 401


async def test_a_jwt_of_an_unknown_app_finds_no_integration(api: ApiClient) -> None:
    """The issuer must be the registered App."""
    answer = await api.call("GET", "/app", credentials=api.jwt(iss="1"))
    assert (answer.status, answer.body["message"]) == (404, "Integration not found")


async def test_app_addresses_need_the_jwt_and_installation_addresses_the_token(api: ApiClient, token: str) -> None:
    """Neither credential opens the other's door, and none opens no door."""
    assert (await api.call("GET", "/app", credentials=token)).status == 401
    assert (await api.call("GET", "/app")).status == 401
    assert (await api.app("GET", "/installation/repositories")).status == 403
    assert (await api.call("GET", "/installation/repositories")).status == 401
    assert (await api.app("GET", LAB)).status == 401


@pytest.mark.parametrize("credentials", ["ghs_" + "0" * 40, "nonsense", "a.b.c"])
async def test_unknown_credentials_are_bad(api: ApiClient, credentials: str) -> None:
    """Wrong credentials are refused even where none are needed."""
    assert (await api.call("GET", "/meta", credentials=credentials)).status == 401


async def test_a_token_is_long_lives_one_hour_and_expires(sandbox: Sandbox, api: ApiClient, token: str) -> None:
    """Tokens have the new length, and end after an hour by the sandbox's clock."""
    assert token.startswith("ghs_")
    assert len(token) == 520
    assert (await api.call("GET", LAB, credentials=token)).status == 200
    sandbox.clock = lambda: time.time() + 3601
    answer = await api.call("GET", LAB, credentials=token)
    assert (answer.status, answer.body["message"]) == (401, "Bad credentials")


async def test_a_revoked_token_is_bad(api: ApiClient, token: str) -> None:
    """After DELETE /installation/token the token is unknown."""
    assert (await api.call("DELETE", "/installation/token", credentials=token)).status == 204
    assert (await api.call("GET", LAB, credentials=token)).status == 401


async def test_a_suspended_installation_gets_and_has_no_token(
    sandbox: Sandbox, api: ApiClient, installed: Installation, token: str
) -> None:
    """While suspended neither old tokens work nor new ones are given."""
    await sandbox.suspend(installed.id)
    for answer in (
        await api.call("GET", LAB, credentials=token),
        await api.app("POST", f"/app/installations/{installed.id}/access_tokens"),
    ):
        assert (answer.status, answer.body["message"]) == (403, "This installation has been suspended")
    await sandbox.unsuspend(installed.id)
    assert (await api.call("GET", LAB, credentials=token)).status == 200


async def test_tokens_die_with_the_installation(
    sandbox: Sandbox, api: ApiClient, installed: Installation, token: str
) -> None:
    """After uninstalling, the token is bad and the installation unknown; a new installation has a new id."""
    await sandbox.uninstall(installed.id)
    assert (await api.call("GET", LAB, credentials=token)).status == 401
    assert (await api.app("POST", f"/app/installations/{installed.id}/access_tokens")).status == 404
    assert (await sandbox.install("octo-course", "all")).id != installed.id


async def test_a_foreign_repository_is_hidden_if_private_and_readable_if_public(
    sandbox: Sandbox, api: ApiClient, token: str
) -> None:
    """Outside of the installation: private 404, public readable but not writable."""
    await sandbox.add_repository("learner-one", "own")
    assert (await api.call("GET", "/repos/learner-one/own", credentials=token)).status == 200
    body = {"name": "steps", "head_sha": "0" * 40}
    answer = await api.call("POST", "/repos/learner-one/own/check-runs", body, credentials=token)
    assert (answer.status, answer.body["message"]) == (403, "Resource not accessible by integration")
    await sandbox.set_visibility("learner-one/own", private=True)
    for method, path in (("GET", "/repos/learner-one/own"), ("POST", "/repos/learner-one/own/check-runs")):
        assert (await api.call(method, path, body, credentials=token)).status == 404
    assert (await api.call("GET", "/repos/learner-one/own")).status == 404


async def test_a_missing_permission_is_named(api: ApiClient, installed: Installation, lab: WorkingCopy) -> None:
    """A token narrowed to reading cannot write; the header tells which permission it takes."""
    token = await api.token(installed.id, permissions={"metadata": "read", "contents": "read"})
    answer = await api.call("POST", f"{LAB}/check-runs", {"name": "x", "head_sha": "0" * 40}, credentials=token)
    assert (answer.status, answer.body["message"]) == (403, "Resource not accessible by integration")
    assert answer.headers["X-Accepted-GitHub-Permissions"] == "checks=write"
    assert (await api.call("GET", f"{LAB}/git/trees/main", credentials=token)).status == 200


async def test_the_app_has_no_more_than_its_permissions(api: ApiClient, token: str) -> None:
    """Contents are readable only: writing a file is refused."""
    body = {"message": "m", "content": ""}
    answer = await api.call("PUT", f"{LAB}/contents/a.txt", body, credentials=token)
    assert answer.headers["X-Accepted-GitHub-Permissions"] == "contents=write"
    assert answer.status == 403


async def test_a_token_can_be_narrowed_to_repositories(
    sandbox: Sandbox, api: ApiClient, installed: Installation
) -> None:
    """By name or id; a repository outside of the installation is a 422."""
    other = await sandbox.add_repository("octo-course", "other", private=True)
    await sandbox.select(installed.id, add=["octo-course/other"])
    path = f"/app/installations/{installed.id}/access_tokens"
    narrow = await api.app("POST", path, {"repositories": ["lab"]})
    assert narrow.body["repository_selection"] == "selected"
    assert [each["name"] for each in narrow.body["repositories"]] == ["lab"]
    token = narrow.body["token"]
    assert (await api.call("GET", "/repos/octo-course/other", credentials=token)).status == 404
    by_id = await api.token(installed.id, repository_ids=[other.id])
    assert (await api.call("GET", "/repos/octo-course/other", credentials=by_id)).status == 200
    listed = await api.call("GET", "/installation/repositories", credentials=by_id)
    assert [each["id"] for each in listed.body["repositories"]] == [other.id]
    for wrong in ({"repositories": ["nothing"]}, {"permissions": {"contents": "write"}}):
        assert (await api.app("POST", path, wrong)).status == 422


async def test_the_rate_limit_is_counted_per_caller_and_kept(
    sandbox: Sandbox, api: ApiClient, token: str, private_key: str, tmp_path: Any
) -> None:
    """Headers count down; a 304 costs nothing; beyond the limit comes a 403."""
    first = await api.call("GET", LAB, credentials=token)
    second = await api.call("GET", LAB, credentials=token, if_none_match=first.headers["ETag"])
    third = await api.call("GET", LAB, credentials=token)
    left = [int(answer.headers["X-RateLimit-Remaining"]) for answer in (first, second, third)]
    assert (second.status, left) == (304, [left[0], left[0], left[0] - 1])
    async with Sandbox(tmp_path / "small", private_key_pem=private_key, rate_limit=2) as small:
        answers = [await api.call("GET", f"{small.api_url}/meta") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 403]
    assert "rate limit exceeded" in answers[2].body["message"]
