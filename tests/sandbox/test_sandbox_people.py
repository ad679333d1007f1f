"""People with a personal access token: repositories of their own, forks, templates, deletion; scopes and rights."""

from __future__ import annotations

import pytest

from sandbox import Sandbox, SandboxError
from tests.support.githost import ApiClient, seed

LAB = "octo-course/lab"


async def test_a_personal_token_is_the_person_without_the_app(sandbox: Sandbox, api: ApiClient) -> None:
    """It names the person and its scopes, reads what is public, and reaches nothing that belongs to Apps."""
    token = sandbox.personal_token("learner-one")

    me = await api.call("GET", "/user", credentials=token)

    assert (me.body["login"], me.headers["X-OAuth-Scopes"]) == ("learner-one", "delete_repo, repo")
    assert (await api.call("GET", f"/repos/{LAB}", credentials=token)).status == 200
    assert (await api.call("GET", "/user/installations", credentials=token)).status == 403
    assert (await api.call("GET", "/app", credentials=token)).status == 401
    assert (await api.call("GET", "/user", credentials="ghp_unknown")).status == 401


async def test_people_make_use_and_delete_repositories(sandbox: Sandbox, api: ApiClient) -> None:
    """A template of one's own, a repository made from it, a fork of a course's; each can be deleted again."""
    await seed(sandbox.repository(LAB), {"README.md": "# Lab\n"})
    token = sandbox.personal_token("learner-two")

    made = await api.call(
        "POST", "/user/repos", {"name": "mine", "is_template": True, "description": "d"}, credentials=token
    )
    assert (made.status, made.body["full_name"], made.body["is_template"]) == (201, "learner-two/mine", True)
    await seed(sandbox.repository("learner-two/mine"), {"a.txt": "a\n"})
    used = await api.call("POST", "/repos/learner-two/mine/generate", {"name": "copy"}, credentials=token)
    assert (used.status, used.body["template_repository"]["full_name"]) == (201, "learner-two/mine")
    forked = await api.call("POST", f"/repos/{LAB}/forks", {"name": "my-lab"}, credentials=token)
    assert (forked.status, forked.body["parent"]["full_name"]) == (202, LAB)
    again = await api.call("POST", f"/repos/{LAB}/forks", {"name": "my-lab"}, credentials=token)
    assert (again.status, again.body["message"]) == (422, "Validation Failed")

    for name in ("mine", "copy", "my-lab"):
        assert (await api.call("DELETE", f"/repos/learner-two/{name}", credentials=token)).status == 204
        with pytest.raises(SandboxError):
            sandbox.repository(f"learner-two/{name}")


async def test_organisations_let_their_members_make_repositories(sandbox: Sandbox, api: ApiClient) -> None:
    """A member may, another person may not, and an unknown organisation is not found."""
    sandbox.add_member("octo-course", "learner-one")
    one, two = sandbox.personal_token("learner-one"), sandbox.personal_token("learner-two")

    async def make(organisation: str, token: str) -> int:
        answer = await api.call("POST", f"/orgs/{organisation}/repos", {"name": "new"}, credentials=token)
        return answer.status

    assert await make("octo-course", one) == 201
    assert await make("octo-course", two) == 403
    assert await make("octo-nowhere", one) == 404
    assert await make("learner-one", one) == 404


async def test_rights_and_scopes_count(sandbox: Sandbox, api: ApiClient) -> None:
    """Nobody deletes what is not theirs; a token without a scope cannot do what it is for; checks are Apps'."""
    head = await seed(sandbox.repository(LAB), {"README.md": "# Lab\n"})
    one = sandbox.personal_token("learner-one")
    assert (await api.call("DELETE", f"/repos/{LAB}", credentials=one)).status == 403

    weak = sandbox.personal_token("learner-one", scopes=["repo"])
    made = await api.call("POST", "/user/repos", {"name": "keep"}, credentials=weak)
    assert made.status == 201
    assert (await api.call("DELETE", "/repos/learner-one/keep", credentials=weak)).status == 403
    none = sandbox.personal_token("learner-one", scopes=[])
    assert (await api.call("POST", "/user/repos", {"name": "x"}, credentials=none)).status == 404
    run = {"name": "forgea/steps", "head_sha": head, "status": "completed", "conclusion": "success"}
    assert (await api.call("POST", f"/repos/{LAB}/check-runs", run, credentials=one)).status == 403
    status = {"state": "success", "context": "forgea/steps"}
    assert (await api.call("POST", f"/repos/{LAB}/statuses/{head}", status, credentials=one)).status == 201
