"""A person at GitHub's API with a token of theirs: whose it is, repositories made and deleted, reports read back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from github.errors import Forbidden, NotFound, Rejected, Unauthorized
from github.person import PersonClient, Reports
from sandbox import Sandbox
from tests.support.githost import seed

ME, NAME = "learner-one", "forgea/steps"
NOTHING = Reports(conclusion="none", title="", text="None\nNone\nNone", runs=0, status="none")


@pytest.fixture(name="sandbox")
async def _sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """A GitHub with a person and an organisation that they do not belong to."""
    async with Sandbox(tmp_path / "github") as sandbox:
        sandbox.add_account(ME)
        sandbox.add_account("octo-course", "Organization")
        yield sandbox


@pytest.fixture(name="me")
async def _me(sandbox: Sandbox) -> AsyncIterator[PersonClient]:
    """The person."""
    async with aiohttp.ClientSession() as http:
        yield client(sandbox, http, sandbox.personal_token(ME))


def client(sandbox: Sandbox, http: aiohttp.ClientSession, token: str) -> PersonClient:
    """A client that does not wait between writes."""
    return PersonClient(http, api_url=sandbox.api_url, token=SecretStr(token), write_interval=0.0)


async def test_a_token_tells_whose_it_is(sandbox: Sandbox, me: PersonClient) -> None:
    """Account and scopes of a classic token; a token that GitHub does not know is Unauthorized."""
    account, scopes = await me.me()
    assert (account.login, scopes) == (ME, frozenset({"repo", "delete_repo"}))

    async with aiohttp.ClientSession() as http:
        with pytest.raises(Unauthorized):
            await client(sandbox, http, "ghp_unknown").me()


async def test_a_fine_grained_token_tells_no_scopes(sandbox: Sandbox, me: PersonClient) -> None:
    """Without the header nothing is known of scopes, which is not the same as having none."""

    def without_scopes(request: web.Request) -> web.Response | None:
        body = {"id": 7, "login": ME, "type": "User"}
        return web.json_response(body) if request.path.endswith("/user") else None

    sandbox.faults.append(without_scopes)
    assert (await me.me())[1] is None


async def test_repositories_are_made_used_and_deleted(sandbox: Sandbox, me: PersonClient) -> None:
    """A template has no head until it is pushed to; a repository made from it has one; deleting twice is no error."""
    template = await me.create_template("lab", organization=None, description="d")
    assert template.full_name == f"{ME}/lab"
    assert await me.branch_head(template, "main") is None

    head = await seed(sandbox.repository(template.full_name), {"README.md": "# Lab\n"})
    assert await me.branch_head(template, "main") == head
    made = await me.generate(template, "mine", description="d")
    assert await me.branch_head(made, "main") not in (None, head)
    with pytest.raises(Rejected):
        await me.generate(template, "mine", description="d")

    assert await me.delete(made) is True
    assert await me.delete(made) is False
    assert await me.branch_head(made, "main") is None


async def test_what_is_not_ones_own_is_left_alone(sandbox: Sandbox, me: PersonClient) -> None:
    """An organisation that one does not belong to takes no repository, and gives none away; a fork is one's own."""
    with pytest.raises((Forbidden, NotFound)):
        await me.create_template("lab", organization="octo-course", description="")
    theirs = await sandbox.add_repository("octo-course", "lab")
    await seed(theirs, {"README.md": "# Lab\n"})

    sandbox.add_member("octo-course", ME)
    template = await me.create_template("other", organization="octo-course", description="")
    await seed(sandbox.repository(template.full_name), {"README.md": "# Lab\n"})
    fork = await me.fork(template, "my-fork")
    assert fork.full_name == f"{ME}/my-fork"
    assert sandbox.repository(fork.full_name).parent_id == template.repo_id


async def test_reports_of_a_head_are_read_back(sandbox: Sandbox, me: PersonClient) -> None:
    """Nothing at first; then the newest check-run of the name, the count of them all, and the status of the name."""
    repo = await me.create_template("lab", organization=None, description="")
    head = await seed(sandbox.repository(repo.full_name), {"README.md": "# Lab\n"})
    assert await me.reports(repo.full_name, head, NAME) == NOTHING

    installation = await sandbox.install(ME, "all")
    token = sandbox._auth.issue(installation, None, installation.permissions).value
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as app:
        for conclusion, name in (("failure", NAME), ("success", NAME), ("failure", "another")):
            run = {"name": name, "head_sha": head, "status": "completed", "conclusion": conclusion,
                   "output": {"title": f"It is a {conclusion}", "summary": "so"}}  # fmt: skip
            async with app.post(f"{sandbox.api_url}/repos/{repo.full_name}/check-runs", json=run) as answer:
                assert answer.status == 201
        status = {"state": "success", "context": NAME}
        async with app.post(f"{sandbox.api_url}/repos/{repo.full_name}/statuses/{head}", json=status) as answer:
            assert answer.status == 201

    told = await me.reports(repo.full_name, head, NAME)
    assert (told.conclusion, told.title, told.runs, told.status) == ("success", "It is a success", 2, "success")
    assert "so" in told.text
