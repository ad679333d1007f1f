"""People: accounts by login and id, what a user token reaches, and its end."""

from __future__ import annotations

import time

import pytest

from sandbox import Installation, Sandbox, SandboxError
from tests.support.githost import ApiClient, basic

LAB = "octo-course/lab"


async def test_accounts_are_found_by_login_and_by_id(sandbox: Sandbox, api: ApiClient) -> None:
    """Anybody may look; a login that nobody has is a 404."""
    found = await api.call("GET", "/users/Octo-Course")
    assert (found.body["login"], found.body["type"]) == ("octo-course", "Organization")
    assert (await api.call("GET", f"/user/{found.body['id']}")).body["login"] == "octo-course"
    assert (await api.call("GET", "/users/nobody-at-all")).status == 404
    assert (await api.call("GET", "/user/1")).status == 404


async def test_a_renamed_account_keeps_its_id_and_its_addresses_redirect(sandbox: Sandbox, api: ApiClient) -> None:
    """The old login is unknown, the id leads to the new one, repositories redirect, the installation hears of it."""
    installation = await sandbox.install("octo-course", "all")
    account = sandbox.rename_account("octo-course", "octo-school")
    await sandbox.idle()
    assert (await api.call("GET", "/users/octo-course")).status == 404
    assert (await api.call("GET", f"/user/{account.id}")).body["login"] == "octo-school"
    assert (await api.call("GET", f"/repos/{LAB}")).status == 301
    assert (await api.call("GET", "/repos/octo-school/lab")).status == 200
    told = sandbox.deliveries[-1]
    assert (told.event, told.action, told.installation_id) == ("installation_target", "renamed", installation.id)
    with pytest.raises(SandboxError, match="exists already"):
        sandbox.rename_account("learner-one", "learner-two")


async def test_a_user_token_stands_for_the_person(sandbox: Sandbox, api: ApiClient, token: str) -> None:
    """GET /user names the person; an installation token, or none, is nobody."""
    person = sandbox.user_token("learner-one")
    assert person.startswith("ghu_")
    me = await api.call("GET", "/user", credentials=person)
    assert (me.status, me.body["login"]) == (200, "learner-one")
    assert (await api.call("GET", "/user", credentials=token)).status == 403
    assert (await api.call("GET", "/user")).status == 401


async def test_a_person_sees_the_installations_that_they_have_a_right_to(
    sandbox: Sandbox, api: ApiClient, installed: Installation
) -> None:
    """Owners and collaborators see an installation and what of it is theirs; others do not, public or not."""
    sandbox.add_account("octo-staff")
    sandbox.add_member("octo-course", "octo-staff")
    await sandbox.add_repository("octo-course", "secret", private=True)
    await sandbox.select(installed.id, add=["octo-course/secret"])
    reached = {}
    for login in ("octo-staff", "learner-one", "learner-two"):
        person = sandbox.user_token(login)
        seen = await api.call("GET", "/user/installations", credentials=person)
        listed = await api.call("GET", f"/user/installations/{installed.id}/repositories", credentials=person)
        names = [each["name"] for each in listed.body.get("repositories", ())]
        reached[login] = ([each["id"] for each in seen.body["installations"]], listed.status, names)
    assert reached == {
        "octo-staff": ([installed.id], 200, ["lab", "secret"]),
        "learner-one": ([installed.id], 200, ["lab"]),
        "learner-two": ([], 404, []),
    }


async def test_a_user_token_reaches_public_and_own_private_repositories(
    sandbox: Sandbox, api: ApiClient, installed: Installation
) -> None:
    """A private one only where both the person and an installation reach it, and to write never without a right."""
    await sandbox.add_repository("learner-one", "own", private=True)
    one, two = sandbox.user_token("learner-one"), sandbox.user_token("learner-two")
    assert (await api.call("GET", f"/repos/{LAB}", credentials=two)).body["permissions"]["push"] is False
    assert (await api.call("GET", f"/repos/{LAB}", credentials=one)).body["permissions"]["push"] is True
    assert (await api.call("GET", "/repos/learner-one/own", credentials=one)).status == 404
    await sandbox.install("learner-one", "all")
    assert (await api.call("GET", "/repos/learner-one/own", credentials=one)).body["permissions"]["admin"] is True
    assert (await api.call("GET", "/repos/learner-one/own", credentials=two)).status == 404
    body = {"state": "success"}
    written = await api.call("POST", f"/repos/{LAB}/statuses/{'0' * 40}", body, credentials=two)
    assert written.status == 403


async def test_a_user_token_ends_after_eight_hours(sandbox: Sandbox, api: ApiClient) -> None:
    """By the sandbox's clock."""
    person = sandbox.user_token("learner-one")
    sandbox.clock = lambda: time.time() + 28_801
    assert (await api.call("GET", "/user", credentials=person)).status == 401


async def test_the_app_ends_a_user_token(sandbox: Sandbox, api: ApiClient) -> None:
    """With its client secret only; an unknown token is a 404, and the ended one is no credential any more."""
    person = sandbox.user_token("learner-one")
    path, body = f"/applications/{sandbox.client_id}/token", {"access_token": person}
    assert (await api.call("DELETE", path, body, authorization=basic(sandbox, "wrong"))).status == 401
    assert (await api.call("DELETE", path, body)).status == 404
    assert (await api.call("DELETE", path, body, authorization=basic(sandbox))).status == 204
    assert (await api.call("DELETE", path, body, authorization=basic(sandbox))).status == 404
    assert (await api.call("GET", "/user", credentials=person)).status == 401


async def test_a_private_app_is_hidden_and_installs_on_its_owner_only(sandbox: Sandbox, api: ApiClient) -> None:
    """GET /apps/{slug} tells whether anybody may install it."""
    path = f"/apps/{sandbox.app_slug}"
    assert (await api.call("GET", path)).body["id"] == sandbox.app_id
    sandbox.public = False
    assert (await api.call("GET", path)).status == 404
    with pytest.raises(SandboxError, match="private"):
        await sandbox.install("learner-one", "all")
    owner = (await api.app("GET", "/app")).body["owner"]["login"]
    installation = await sandbox.install(owner, "all")
    assert (await api.call("GET", path, credentials=await api.token(installation.id))).status == 200


async def test_the_date_header_is_the_sandboxs_clock(sandbox: Sandbox, api: ApiClient) -> None:
    """An App compares it with its own clock."""
    sandbox.clock = lambda: 1_700_000_000.0
    assert (await api.call("GET", "/meta")).headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
