"""Forks, templates, renames, transfers, installations: records, redirects and events."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox import Installation, Sandbox, SandboxError
from tests.support.githost import ApiClient, WorkingCopy, run

LAB = "octo-course/lab"
EXAMPLES = Path(__file__).parents[1] / "data" / "webhooks"


def last(sandbox: Sandbox) -> tuple[str, dict[str, Any]]:
    """Return event and payload of the newest delivery."""
    delivery = sandbox.deliveries[-1]
    return delivery.event, json.loads(delivery.payload)


def example(event: str, action: str) -> dict[str, Any]:
    """Return GitHub's first example of an event's action."""
    found = [each for each in json.loads((EXAMPLES / f"{event}.json").read_text()) if each["action"] == action]
    return dict(found[0])


async def test_a_fork_has_objects_refs_and_lineage(
    sandbox: Sandbox, api: ApiClient, installed: Installation, head: str
) -> None:
    """A fork of a fork names its parent and the network's source; lists do not; the parent's App gets `fork`."""
    first = await sandbox.fork(LAB, "learner-one")
    event, payload = last(sandbox)
    assert (event, payload["forkee"]["id"], payload["repository"]["full_name"]) == ("fork", first.id, LAB)
    second = await sandbox.fork("learner-one/lab", "learner-two", name="lab-of-lin")
    assert await run("rev-parse", "main", cwd=second.path) == head
    shown = (await api.call("GET", "/repos/learner-two/lab-of-lin")).body
    assert (shown["fork"], shown["parent"]["id"]) == (True, first.id)
    assert shown["source"]["full_name"] == LAB
    assert "parent" not in shown["parent"]
    assert (await api.call("GET", f"/repositories/{second.id}")).body["id"] == second.id


async def test_pushing_to_a_fork_leaves_the_parent_alone(
    sandbox: Sandbox, head: str, clone: Callable[..., Awaitable[WorkingCopy]], api: ApiClient
) -> None:
    """A fork's commits are not in the parent."""
    await sandbox.fork(LAB, "learner-two")
    work = await clone("learner-two/lab", "learner-two")
    sha = await work.commit({"mine.txt": "x"})
    await work.push()
    assert (await api.call("GET", f"/repos/learner-two/lab/git/commits/{sha}")).status == 200
    assert (await api.call("GET", f"/repos/{LAB}/git/commits/{sha}")).status == 404


async def test_a_generated_repository_has_the_tree_but_not_the_history(
    sandbox: Sandbox, api: ApiClient, head: str
) -> None:
    """Same tree, one new root commit, the template named; the template's commits are not there."""
    made = await sandbox.generate(LAB, "learner-one", "my-lab")
    assert await run("rev-parse", "main^{tree}", cwd=made.path) == await run(
        "rev-parse", "main^{tree}", cwd=sandbox.repository(LAB).path
    )
    shown = (await api.call("GET", "/repos/learner-one/my-lab")).body
    assert (shown["fork"], shown["template_repository"]["full_name"]) == (False, LAB)
    assert "parent" not in shown
    assert (await api.call("GET", f"/repos/learner-one/my-lab/git/commits/{head}")).status == 404
    (commit,) = (await run("rev-list", "main", cwd=made.path)).split()
    assert commit != head
    await sandbox.add_repository("octo-course", "empty")
    with pytest.raises(SandboxError, match="no commit"):
        await sandbox.generate("octo-course/empty", "learner-one", "x")


async def test_a_renamed_repository_redirects_to_its_id(
    sandbox: Sandbox, api: ApiClient, installed: Installation, token: str, head: str
) -> None:
    """Old names answer 301 (307 to writes) with the address by id, which works; a new owner of the name ends it."""
    record = await sandbox.rename(LAB, "lab-2")
    event, payload = last(sandbox)
    assert (event, payload["action"]) == ("repository", "renamed")
    assert payload["changes"] == {"repository": {"name": {"from": "lab"}}}
    moved = await api.call("GET", f"/repos/{LAB}/commits/heads%2Fmain/check-runs?filter=all", credentials=token)
    by_id = f"{sandbox.api_url}/repositories/{record.id}"
    assert (moved.status, moved.headers["Location"]) == (301, f"{by_id}/commits/heads%2Fmain/check-runs?filter=all")
    assert moved.body["url"] == moved.headers["Location"]
    assert (await api.call("GET", moved.headers["Location"], credentials=token)).status == 200
    assert (await api.call("GET", f"/repos/{LAB}", credentials=token)).headers["Location"] == by_id
    body = {"name": "x", "head_sha": head}
    assert (await api.call("POST", f"/repos/{LAB}/check-runs", body, credentials=token)).status == 307
    await sandbox.add_repository("octo-course", "lab")
    assert (await api.call("GET", f"/repos/{LAB}")).body["id"] != record.id


async def test_a_hidden_repository_does_not_redirect(sandbox: Sandbox, api: ApiClient) -> None:
    """Whoever may not see it does not learn that it was renamed."""
    await sandbox.set_visibility(LAB, private=True)
    await sandbox.rename(LAB, "secret")
    assert (await api.call("GET", f"/repos/{LAB}")).status == 404


async def test_a_transfer_leaves_the_old_installation(
    sandbox: Sandbox, api: ApiClient, installed: Installation, token: str
) -> None:
    """The new owner's installation on all repositories gets `transferred`; the old token does not reach it."""
    new = await sandbox.install("learner-one", "all")
    record = await sandbox.transfer(LAB, "learner-one")
    event, payload = last(sandbox)
    assert (event, payload["action"], payload["installation"]["id"]) == ("repository", "transferred", new.id)
    assert payload["changes"]["owner"]["from"]["organization"]["login"] == "octo-course"
    assert record.full_name == "learner-one/lab"
    listed = await api.call("GET", "/installation/repositories", credentials=token)
    assert listed.body["total_count"] == 0


async def test_visibility_archive_and_deletion_are_told(
    sandbox: Sandbox, api: ApiClient, installed: Installation, head: str
) -> None:
    """Each change sends its action; a change that is none sends nothing; deleted is gone from disk and API."""
    before = len(sandbox.deliveries)
    record = await sandbox.set_visibility(LAB, private=True)
    await sandbox.set_visibility(LAB, private=True)
    await sandbox.archive(LAB)
    await sandbox.archive(LAB, archived=False)
    await sandbox.set_visibility(LAB, private=False)
    await sandbox.delete_repository(LAB)
    told = [(each.event, each.action) for each in sandbox.deliveries[before:]]
    actions = ["privatized", "archived", "unarchived", "publicized"]
    expected = [("repository", action) for action in actions]
    assert told == [*expected, ("public", None), ("repository", "deleted")]
    assert not record.path.exists()
    assert (await api.call("GET", f"/repos/{LAB}")).status == 404
    assert (await api.call("GET", f"/repositories/{record.id}")).status == 404


async def test_the_default_branch_can_change(
    sandbox: Sandbox, api: ApiClient, installed: Installation, head: str
) -> None:
    """Another branch becomes the default one, and `edited` says what it was."""
    with pytest.raises(SandboxError, match="no branch"):
        await sandbox.set_default_branch(LAB, "trunk")
    await run("branch", "trunk", "main", cwd=sandbox.repository(LAB).path)
    await sandbox.set_default_branch(LAB, "trunk")
    assert last(sandbox)[1]["changes"] == {"default_branch": {"from": "main"}}
    assert (await api.call("GET", f"/repos/{LAB}")).body["default_branch"] == "trunk"


async def test_installing_and_uninstalling_name_the_repositories(sandbox: Sandbox, api: ApiClient) -> None:
    """`created` and `deleted` list the repositories, with the keys of GitHub's examples."""
    installation = await sandbox.install("octo-course", "all")
    event, payload = last(sandbox)
    assert (event, payload["action"]) == ("installation", "created")
    assert [each["full_name"] for each in payload["repositories"]] == [LAB]
    assert set(example("installation", "created")["installation"]) <= set(payload["installation"])
    assert (await api.app("GET", f"/repos/{LAB}/installation")).body["id"] == installation.id
    with pytest.raises(SandboxError, match="already installed"):
        await sandbox.install("octo-course", "all")
    assert (await api.app("DELETE", f"/app/installations/{installation.id}")).status == 204
    assert last(sandbox)[1]["action"] == "deleted"
    assert (await api.app("GET", f"/repos/{LAB}/installation")).status == 404
    assert (await api.app("GET", f"/app/installations/{installation.id}")).status == 404


async def test_a_selection_changes(sandbox: Sandbox, api: ApiClient, installed: Installation, token: str) -> None:
    """Added and removed are two deliveries; the token reaches what is selected now."""
    await sandbox.add_repository("octo-course", "other")
    await sandbox.select(installed.id, add=["octo-course/other"], remove=[LAB])
    added, removed = (json.loads(each.payload) for each in sandbox.deliveries[-2:])
    assert [each["name"] for each in added["repositories_added"]] == ["other"]
    assert [each["name"] for each in removed["repositories_removed"]] == ["lab"]
    assert set(example("installation_repositories", "added")) <= set(added)
    listed = await api.call("GET", "/installation/repositories", credentials=token)
    assert [each["name"] for each in listed.body["repositories"]] == ["other"]
    await sandbox.add_repository("learner-one", "mine")
    with pytest.raises(SandboxError, match="does not belong"):
        await sandbox.select(installed.id, add=["learner-one/mine"])


async def test_suspending_is_told(sandbox: Sandbox, api: ApiClient, installed: Installation) -> None:
    """`suspend` and `unsuspend` with who and when."""
    await sandbox.suspend(installed.id)
    assert last(sandbox)[1]["installation"]["suspended_by"]["login"] == "octo-course"
    await sandbox.unsuspend(installed.id)
    assert (last(sandbox)[1]["action"], last(sandbox)[1]["installation"]["suspended_at"]) == ("unsuspend", None)


async def test_lists_come_in_pages(sandbox: Sandbox, api: ApiClient) -> None:
    """Repositories and installations are listed with Link headers that lead through all of them."""
    for number in range(5):
        await sandbox.add_repository("learner-one", f"repo-{number}")
    installation = await sandbox.install("learner-one", "all")
    token = await api.token(installation.id)
    names: list[str] = []
    url: str | None = f"{sandbox.api_url}/installation/repositories?per_page=2"
    while url is not None:
        answer = await api.call("GET", url, credentials=token)
        names += [each["name"] for each in answer.body["repositories"]]
        links = dict(part.split("; rel=")[::-1] for part in answer.headers["Link"].split(", "))
        url = links['"next"'].strip("<>") if '"next"' in links else None
    assert names == [f"repo-{number}" for number in range(5)]
    await sandbox.install("learner-two", "all")
    answer = await api.app("GET", "/app/installations?per_page=1&page=2")
    assert [each["account"]["login"] for each in answer.body] == ["learner-two"]


async def test_the_api_can_change_a_repository_with_the_permission(sandbox: Sandbox, api: ApiClient, head: str) -> None:
    """With administration: write, PATCH renames and describes, DELETE deletes."""
    sandbox.permissions["administration"] = "write"
    installation = await sandbox.install("octo-course", "all")
    token = await api.token(installation.id)
    body = {"name": "renamed", "description": "A lab", "is_template": True, "visibility": "private", "archived": True}
    shown = (await api.call("PATCH", f"/repos/{LAB}", body, credentials=token)).body
    assert (shown["full_name"], shown["description"], shown["is_template"]) == ("octo-course/renamed", "A lab", True)
    assert (shown["private"], shown["archived"]) == (True, True)
    path = "/repos/octo-course/renamed"
    for wrong in ({"default_branch": "nowhere"}, {"private": "yes"}):
        assert (await api.call("PATCH", path, wrong, credentials=token)).status == 422
    assert (await api.call("DELETE", path, credentials=token)).status == 204


async def test_a_description_changes(sandbox: Sandbox, api: ApiClient, installed: Installation) -> None:
    """`edited` says what it was; the same one again is no news."""
    await sandbox.describe(LAB, "A lab")
    await sandbox.describe(LAB, "The lab")
    before = len(sandbox.deliveries)
    await sandbox.describe(LAB, "The lab")
    event, payload = last(sandbox)
    assert (event, payload["action"], len(sandbox.deliveries)) == ("repository", "edited", before)
    assert set(example("repository", "edited")["changes"]) == set(payload["changes"]) == {"description"}
    assert payload["changes"]["description"] == {"from": "A lab"}
    assert (await api.call("GET", f"/repos/{LAB}")).body["description"] == "The lab"


async def test_an_installation_covers_all_and_then_only_some(
    sandbox: Sandbox, api: ApiClient, installed: Installation, token: str
) -> None:
    """Each way tells which repositories are covered now and were not, or were and are not."""
    await sandbox.add_repository("octo-course", "other")
    await sandbox.select_all(installed.id)
    payload = last(sandbox)[1]
    assert (payload["action"], payload["repository_selection"]) == ("added", "all")
    assert [each["name"] for each in payload["repositories_added"]] == ["other"]
    assert (await api.call("GET", "/installation/repositories", credentials=token)).body["total_count"] == 2
    await sandbox.select_only(installed.id, ["octo-course/other"])
    payload = last(sandbox)[1]
    assert (payload["action"], payload["repository_selection"]) == ("removed", "selected")
    assert [each["name"] for each in payload["repositories_removed"]] == ["lab"]
    assert set(example("installation_repositories", "removed")) <= set(payload)
    assert (await api.call("GET", "/installation/repositories", credentials=token)).body["total_count"] == 1
    await sandbox.add_repository("learner-one", "mine")
    with pytest.raises(SandboxError, match="does not belong"):
        await sandbox.select_only(installed.id, ["learner-one/mine"])


async def test_accepted_permissions_name_the_repositories(sandbox: Sandbox, installed: Installation) -> None:
    """With the keys of GitHub's example."""
    await sandbox.accept_permissions(installed.id)
    payload = last(sandbox)[1]
    assert set(example("installation", "new_permissions_accepted")) <= set(payload)
    assert [each["full_name"] for each in payload["repositories"]] == [LAB]


async def test_an_authorisation_is_revoked(sandbox: Sandbox, api: ApiClient) -> None:
    """The person's tokens end, and the delivery is about them alone; without an authorisation there is none to end."""
    mine, other = sandbox.user_token("learner-one"), sandbox.user_token("learner-two")
    sandbox.revoke_authorization("learner-one")
    event, payload = last(sandbox)
    assert event == "github_app_authorization"
    assert set(payload) == set(example("github_app_authorization", "revoked"))
    assert (payload["action"], payload["sender"]["login"]) == ("revoked", "learner-one")
    assert (await api.call("GET", "/user", credentials=mine)).status == 401
    assert (await api.call("GET", "/user", credentials=other)).status == 200
    with pytest.raises(SandboxError, match="not authorised"):
        sandbox.revoke_authorization("learner-one")


async def test_a_ping(sandbox: Sandbox) -> None:
    """As GitHub's example of an App's: no action, no installation."""
    sandbox.ping()
    event, payload = last(sandbox)
    examples = json.loads((EXAMPLES / "ping.json").read_text())
    (of_app,) = [each for each in examples if "app_id" in each["hook"]]
    assert (event, payload["hook"]["type"]) == ("ping", "App")
    assert set(of_app["hook"]) - {"last_response", "ping_url", "test_url", "url"} <= set(payload["hook"])
    assert (payload["hook"]["app_id"], payload["hook_id"]) == (sandbox.app_id, payload["hook"]["id"])


async def test_a_branch_moves_as_by_a_push(sandbox: Sandbox, installed: Installation, head: str) -> None:
    """The delivery is that of a push, and it is refused where a push would be."""
    await run("branch", "aside", "main", cwd=sandbox.repository(LAB).path)
    await sandbox.move_branch(LAB, "trunk", head, "learner-one")
    payload = next(json.loads(each.payload) for each in reversed(sandbox.deliveries) if each.event == "push")
    assert (payload["ref"], payload["created"], payload["after"]) == ("refs/heads/trunk", True, head)
    assert payload["sender"]["login"] == "learner-one"
    with pytest.raises(SandboxError, match="no commit"):
        await sandbox.move_branch(LAB, "trunk", "1" * 40, "learner-one")
    with pytest.raises(SandboxError, match="may not push"):
        await sandbox.move_branch(LAB, "trunk", head, "learner-two")
    await sandbox.archive(LAB)
    with pytest.raises(SandboxError, match="may not push"):
        await sandbox.move_branch(LAB, "trunk", head, "learner-one")
