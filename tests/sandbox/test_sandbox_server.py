"""The server as a whole: every operation of the description, ETags, faults, errors, the record."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sandbox import Sandbox, SandboxError
from tests.support.apispec import check_exchange, description
from tests.support.githost import ApiClient, basic, seed

LAB = "octo-course/lab"


async def _make_repositories(sandbox: Sandbox, api: ApiClient) -> None:
    """Every way in which a person makes a repository."""
    sandbox.add_member("octo-course", "learner-two")
    token = sandbox.personal_token("learner-two")
    for path, body, status in (
        ("/user/repos", {"name": "mine", "is_template": True}, 201),
        ("/orgs/octo-course/repos", {"name": "theirs"}, 201),
        (f"/repos/{LAB}/forks", {"name": "forked"}, 202),
        ("/repos/learner-two/mine/generate", {"name": "generated"}, 201),
    ):
        made = await api.call("POST", path, body, credentials=token)
        assert made.status == status, (path, made.body)
        if path == "/user/repos":
            await seed(sandbox.repository("learner-two/mine"), {"a.txt": "a\n"})


async def test_every_operation_of_the_description_is_served(sandbox: Sandbox, api: ApiClient, head: str) -> None:
    """One successful exchange of each operation, each as GitHub describes it."""
    sandbox.permissions.update(contents="write", administration="write")
    installation = await sandbox.install("octo-course", "all")
    await sandbox.idle()
    installation.permissions["actions"] = "read"
    token = await api.token(installation.id, repositories=["lab"])
    repo = f"/repos/{LAB}"

    async def call(method: str, path: str, body: Any = None) -> Any:
        answer = await api.call(method, path, body, credentials=token)
        assert answer.status < 300, (method, path, answer.body)
        return answer.body

    run = await call("POST", f"{repo}/check-runs", {"name": "steps", "head_sha": head})
    await call("PATCH", f"{repo}/check-runs/{run['id']}", {"conclusion": "success"})
    await call("POST", f"{repo}/check-suites", {"head_sha": head})
    await call("POST", f"{repo}/statuses/{head}", {"state": "success"})
    made = await call("PUT", f"{repo}/contents/new.txt", {"message": "m", "content": "eA=="})
    blob = made["content"]["sha"]
    for path in (
        "", "/commits/main", f"/commits/{head}/check-runs", "/commits/heads/main/status", "/commits/main/statuses",
        f"/check-runs/{run['id']}", f"/compare/{head}...main", "/contents/README.md", f"/git/blobs/{blob}",
        f"/git/commits/{head}", "/git/ref/heads/main", "/git/trees/main?recursive=1", "/actions/runs",
    ):  # fmt: skip
        await call("GET", repo + path)
    for path in ("/meta", "/rate_limit", "/installation/repositories"):
        await call("GET", path)
    await call("DELETE", f"{repo}/contents/new.txt", {"message": "m", "sha": blob})
    await call("PATCH", repo, {"description": "x"})
    await sandbox.idle()
    delivery = f"/app/hook/deliveries/{sandbox.deliveries[0].id}"
    one = f"/app/installations/{installation.id}"
    for path in ("/app", "/app/hook/config", "/app/hook/deliveries", delivery, "/app/installations", one):
        assert (await api.app("GET", path)).status == 200
    assert (await api.app("GET", f"{repo}/installation")).status == 200
    assert (await api.app("PATCH", "/app/hook/config", {"content_type": "json"})).status == 200
    assert (await api.app("POST", f"{delivery}/attempts")).status == 202
    person = sandbox.user_token("learner-one")
    account = sandbox.add_account("octo-staff")
    mine = f"/user/installations/{installation.id}/repositories"
    for path in ("/user", "/user/installations", mine):
        assert (await api.call("GET", path, credentials=person)).status == 200
    for path in ("/users/octo-staff", f"/user/{account.id}", f"/apps/{sandbox.app_slug}"):
        assert (await api.call("GET", path)).status == 200
    ended = await api.call(
        "DELETE", f"/applications/{sandbox.client_id}/token", {"access_token": person}, authorization=basic(sandbox)
    )
    assert ended.status == 204
    await _make_repositories(sandbox, api)
    code = sandbox.new_manifest_code({"hook_attributes": {"url": "http://127.0.0.1:1/webhook"}})
    converted = await api.call("POST", f"/app-manifests/{code}/conversions")
    assert (converted.status, converted.body["pem"]) == (201, sandbox.private_key_pem)
    assert (await api.call("POST", f"/app-manifests/{code}/conversions")).status == 404
    await call("DELETE", repo)
    await call("DELETE", "/installation/token")
    assert (await api.app("DELETE", one)).status == 204

    served = {(each.method, each.operation) for each in sandbox.exchanges if each.status < 300}
    described = {(method.upper(), path) for path, methods in description()["paths"].items() for method in methods}
    assert described - served == set()


async def test_an_etag_saves_the_body_and_is_the_callers_own(
    sandbox: Sandbox, api: ApiClient, token: str, head: str
) -> None:
    """If-None-Match answers 304 until something changes; another caller or Accept has another ETag."""
    path = f"/repos/{LAB}/git/trees/main"
    first = await api.call("GET", path, credentials=token)
    etag = first.headers["ETag"]
    assert not etag.startswith("W/")
    again = await api.call("GET", path, credentials=token, if_none_match=etag)
    assert (again.status, again.raw) == (304, b"")
    assert again.headers["ETag"] == etag
    for other in (
        await api.call("GET", path, if_none_match=etag),
        await api.call("GET", path, credentials=token, accept="application/json", if_none_match=etag),
        await api.call("GET", f"/repos/{LAB}", credentials=token, if_none_match=etag),
    ):
        assert other.status == 200
        assert other.headers["ETag"] != etag
    statuses = f"/repos/{LAB}/commits/main/statuses"
    empty = await api.call("GET", statuses, credentials=token)
    await api.call("POST", f"/repos/{LAB}/statuses/{head}", {"state": "success"}, credentials=token)
    changed = await api.call("GET", statuses, credentials=token, if_none_match=empty.headers["ETag"])
    assert (changed.status, len(changed.body)) == (200, 1)


async def test_every_answer_has_githubs_headers(api: ApiClient, token: str) -> None:
    """Request id, media type and rate limit stand on good and on bad answers."""
    for path in (f"/repos/{LAB}", "/repos/nobody/nothing", "/nothing/at/all"):
        answer = await api.call("GET", path, credentials=token)
        for name in ("X-GitHub-Request-Id", "X-GitHub-Media-Type", "X-RateLimit-Limit", "X-RateLimit-Reset"):
            assert answer.headers[name]
        assert answer.status in {200, 404}
    assert (answer.status, answer.body["message"]) == (404, "Not Found")


async def test_a_body_that_is_no_object_is_refused(sandbox: Sandbox, api: ApiClient, token: str, head: str) -> None:
    """Text that is not JSON, or not an object, is a 400."""
    path = f"/repos/{LAB}/check-runs"
    answer = await api.call("POST", path, [1], credentials=token)
    assert (answer.status, answer.body["message"]) == (400, "Body should be a JSON object")


async def test_a_scripted_fault_answers_once(sandbox: Sandbox, api: ApiClient, token: str) -> None:
    """A fault may answer instead of the sandbox, and may take itself out; the record marks it."""

    async def bad_gateway(request: web.Request) -> web.Response | None:
        if request.path.endswith("/meta"):
            sandbox.faults.remove(bad_gateway)
            return web.Response(status=502, text="<html>Unicorn</html>", content_type="text/html")
        return None

    sandbox.faults.append(bad_gateway)
    assert (await api.call("GET", f"/repos/{LAB}", credentials=token)).status == 200
    assert [(await api.call("GET", "/meta")).status for _ in range(2)] == [502, 200]
    assert [each.scripted for each in sandbox.exchanges][-2:] == [True, False]


async def test_the_record_has_no_credentials(sandbox: Sandbox, api: ApiClient, token: str) -> None:
    """Exchanges keep the request but never its Authorization."""
    await api.call("GET", f"/repos/{LAB}?x=1", credentials=token, accept="application/json")
    exchange = sandbox.exchanges[-1]
    assert (exchange.method, exchange.operation, exchange.query) == ("GET", "/repos/{owner}/{repo}", {"x": "1"})
    assert exchange.request_headers["Accept"] == "application/json"
    assert "Authorization" not in exchange.request_headers
    assert exchange.response_json["full_name"] == LAB
    assert token not in repr(exchange)


async def test_a_failure_of_the_sandbox_is_a_500(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of the sandbox is answered as GitHub answers its own."""

    def fail(*_: Any) -> Any:
        raise RuntimeError("scripted")

    monkeypatch.setattr("sandbox.rest_repos.full_repository", fail)
    answer = await api.call("GET", f"/repos/{LAB}")
    assert (answer.status, answer.body["message"]) == (500, "Server Error")


async def test_a_wrong_exchange_is_noticed(sandbox: Sandbox, api: ApiClient) -> None:
    """The checker is no rubber stamp: a missing field, a wrong type, an unknown status are all named."""
    await api.call("GET", "/rate_limit")
    good = sandbox.exchanges[-1]
    check_exchange(good)
    for change, words in (
        ({"response_body": b"{}"}, "is a required property"),
        ({"response_body": good.response_body.replace(b'"used":', b'"used":"x","y":')}, r"\$\.r.*'x' is not of type"),
        ({"status": 201}, "answer 201 is not in the description"),
        ({"path": "/api/v3/nothing"}, "no operation"),
        ({"method": "POST"}, "no such operation"),
    ):
        with pytest.raises(AssertionError, match=words):
            check_exchange(replace(good, **change))


async def test_a_used_folder_is_refused(sandbox: Sandbox, tmp_path: Path, private_key: str) -> None:
    """Repositories of an earlier run are neither served nor overwritten."""
    with pytest.raises(SandboxError, match="earlier run"):
        await Sandbox(tmp_path / "github", private_key_pem=private_key).start()


async def test_a_sandbox_can_be_stopped_and_started_again(sandbox: Sandbox, api: ApiClient, head: str) -> None:
    """Records and repositories stay; deliveries that were not sent do not hold it back."""
    await sandbox.install("octo-course", "all")
    await sandbox.stop()
    await sandbox.start()
    await sandbox.idle(timeout=5)
    assert (await api.call("GET", f"/repos/{LAB}/commits/main")).body["sha"] == head


async def test_many_repositories_share_few_processes(
    sandbox: Sandbox, api: ApiClient, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer readers than repositories in use at a time every answer is still right."""
    monkeypatch.setattr("sandbox.gitstore.OPEN_REPOSITORIES", 2)
    names = [(await sandbox.fork(LAB, "learner-one", name=f"lab-{number}")).full_name for number in range(6)]
    calls = [api.call("GET", f"/repos/{name}/git/ref/heads/main") for name in names * 5]
    answers = await asyncio.gather(*calls)
    assert {answer.body["object"]["sha"] for answer in answers} == {head}
    assert len(sandbox._core.store._readers) <= 2
