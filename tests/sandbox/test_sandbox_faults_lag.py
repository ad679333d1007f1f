"""Replication lag: what was pushed or reported is not there yet, for a while or for some requests."""

from __future__ import annotations

import time

import pytest

from sandbox import Fault, Sandbox
from sandbox.effects import Lag
from tests.support.githost import Answer, ApiClient, WorkingCopy

LAB = "octo-course/lab"
REPO = f"/repos/{LAB}"


async def push(lab: WorkingCopy) -> tuple[str, str, str]:
    """Push a commit; the old head, the new one, and the sha of its new file."""
    old = await lab.git("rev-parse", "HEAD")
    new = await lab.commit({"src/new.py": "print(2)\n"})
    await lab.push()
    return old, new, await lab.git("rev-parse", "HEAD:src/new.py")


async def head_of(api: ApiClient, token: str) -> str:
    """The head of main that the API tells."""
    sha = (await api.call("GET", f"{REPO}/git/ref/heads/main", credentials=token)).body["object"]["sha"]
    return str(sha)


async def test_a_pushed_commit_is_unknown_for_some_requests(
    sandbox: Sandbox, api: ApiClient, lab: WorkingCopy, token: str
) -> None:
    """Commit, tree, blob are 404 or 422, the branch is at its old head, no report is taken; later all is there.

    What does not need the new commit is answered all the while, and does not count.
    """
    lag = sandbox.faults.add(Fault(Lag(), times=8))
    old, new, blob = await push(lab)
    tree = await lab.git("rev-parse", "HEAD^{tree}")

    async def get(path: str) -> Answer:
        return await api.call("GET", f"{REPO}{path}", credentials=token)

    assert (await get(f"/git/commits/{new}")).status == 404
    assert (await get(f"/commits/{new}")).body["message"] == f"No commit found for SHA: {new}"
    assert (await get(f"/git/trees/{new}")).status == 404
    assert (await get(f"/git/trees/{tree}")).status == 404
    assert (await get(f"/git/blobs/{blob}")).status == 404
    assert await head_of(api, token) == old
    report = {"name": "steps", "head_sha": new, "conclusion": "success"}
    refused = await api.call("POST", f"{REPO}/check-runs", report, credentials=token)
    assert (refused.status, refused.body["message"]) == (422, f"No commit found for SHA: {new}")
    assert (await get(f"/git/commits/{old}")).status == 200
    assert (await get("")).status == 200
    assert (lag.fired, lag.left) == (7, 1)
    assert (await get("/commits/main")).body["sha"] == old
    assert [(await get(path)).status for path in (f"/git/commits/{new}", f"/git/trees/{tree}")] == [200, 200]
    assert await head_of(api, token) == new
    assert lag.fired == 8
    assert sandbox.faults.fired[5].detail == "refs"


async def test_a_replica_is_seconds_behind(sandbox: Sandbox, api: ApiClient, lab: WorkingCopy, token: str) -> None:
    """After that many seconds of the sandbox's clock what was pushed is there; what is older has always been."""
    now = time.time() + 60
    sandbox.clock = lambda: now
    old, new, _ = await push(lab)
    lag = sandbox.faults.add(Fault(Lag(seconds=10)))
    assert await head_of(api, token) == old
    now += 9
    assert (await api.call("GET", f"{REPO}/git/commits/{new}", credentials=token)).status == 404
    now += 2
    assert (await api.call("GET", f"{REPO}/git/commits/{new}", credentials=token)).status == 200
    assert await head_of(api, token) == new
    assert lag.fired == 2


async def test_a_stale_ref_shows_the_old_head_of_what_is_there(
    sandbox: Sandbox, api: ApiClient, lab: WorkingCopy, token: str
) -> None:
    """With refs alone the new commit can be read while its branch is still at the old one, or not there."""
    sandbox.faults.add(Fault(Lag(hides=("refs",))))
    old, new, _ = await push(lab)
    await lab.push("HEAD:refs/heads/aside")
    assert await head_of(api, token) == old
    assert (await api.call("GET", f"{REPO}/git/commits/{new}", credentials=token)).status == 200
    assert (await api.call("GET", f"{REPO}/git/ref/heads/aside", credentials=token)).status == 404
    sandbox.faults.clear()
    await lab.push(":refs/heads/aside")
    sandbox.faults.add(Fault(Lag(hides=("refs",))))
    assert (await api.call("GET", f"{REPO}/git/ref/heads/aside", credentials=token)).status == 404, "deleted before"


async def test_the_first_push_of_all_leaves_an_empty_repository(
    sandbox: Sandbox, api: ApiClient, lab: WorkingCopy, token: str
) -> None:
    """Before its first commit a repository answers 409."""
    now = time.time()
    sandbox.clock = lambda: now
    sandbox.faults.add(Fault(Lag(seconds=600)))
    answer = await api.call("GET", f"{REPO}/git/ref/heads/main", credentials=token)
    assert (answer.status, answer.body["message"]) == (409, "Git Repository is empty.")


@pytest.mark.parametrize("hides", [("reports",), ("objects", "refs")])
async def test_a_report_may_not_be_listed_yet(
    sandbox: Sandbox, api: ApiClient, head: str, token: str, hides: tuple[str, ...]
) -> None:
    """A check run and a status are written, and not listed until the replica has them; only if reports lag."""
    body = {"name": "steps", "head_sha": head, "conclusion": "success"}
    assert (await api.call("POST", f"{REPO}/check-runs", body, credentials=token)).status == 201
    lag = sandbox.faults.add(Fault(Lag(hides=hides)))  # type: ignore[arg-type]
    assert (await api.call("POST", f"{REPO}/check-runs", body | {"name": "more"}, credentials=token)).status == 201
    assert (await api.call("POST", f"{REPO}/statuses/{head}", {"state": "success"}, credentials=token)).status == 201

    async def listed() -> tuple[int, int]:
        runs = await api.call("GET", f"{REPO}/commits/{head}/check-runs", credentials=token)
        statuses = await api.call("GET", f"{REPO}/commits/{head}/statuses", credentials=token)
        return runs.body["total_count"], len(statuses.body)

    lagging = "reports" in hides
    assert await listed() == ((1, 0) if lagging else (2, 1))
    assert lag.fired == (2 if lagging else 0)
    assert len(sandbox.check_runs(LAB, head)) == 2, "who looks from outside sees what is there"
    lag.remove()
    assert await listed() == (2, 1)


async def test_writes_go_to_the_primary(sandbox: Sandbox, api: ApiClient, lab: WorkingCopy, token: str) -> None:
    """A file is written on top of the newest commit, whatever replicas show."""
    sandbox.installations[0].permissions["contents"] = "write"
    writer = await api.token(sandbox.installations[0].id)
    sandbox.faults.add(Fault(Lag()))
    _, new, _ = await push(lab)
    body = {"message": "m", "content": "eA=="}
    made = await api.call("PUT", f"{REPO}/contents/more.txt", body, credentials=writer)
    assert made.status == 201
    assert made.body["commit"]["parents"][0]["sha"] == new
