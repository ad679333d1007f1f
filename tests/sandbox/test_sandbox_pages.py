"""Pages of repositories, commits and check runs, for people and for hostile names."""

from __future__ import annotations

import orjson
import pytest

from sandbox import Installation, Repository, Sandbox
from tests.support.clicking import Clicker, clicking
from tests.support.githost import ApiClient, run, seed

LAB = "octo-course/lab"
HOSTILE = '<script>alert("x")</script>'
HEADERS = {"Content-Security-Policy", "X-Content-Type-Options"}


async def signed_in(browser: Clicker, sandbox: Sandbox, login: str) -> None:
    """Sign in as the person."""
    await browser.open(f"{sandbox.url}/login")
    await browser.press(f"Sign in as {login}")


async def test_a_learner_forks_and_finds_the_fork(sandbox: Sandbox, head: str) -> None:
    """Fork, land on the fork, which names its parent; forking again leads to the same."""
    async with clicking() as browser:
        await browser.open(f"{sandbox.url}/{LAB}")
        await browser.follow("Fork")
        await browser.press("Sign in as learner-one")
        await browser.press("Create fork")
        assert browser.address.path == "/learner-one/lab"
        assert "forked from octo-course/lab" in browser.text
        assert head[:7] in browser.text
        await browser.open(f"{sandbox.url}/{LAB}/fork")
        assert browser.address.path == "/learner-one/lab"
    fork = sandbox.repository("learner-one/lab")
    assert (fork.fork, fork.parent_id) == (True, sandbox.repository(LAB).id)


@pytest.mark.usefixtures("head")
async def test_a_template_is_used_and_others_are_none(sandbox: Sandbox) -> None:
    """The new repository belongs to the person, as private as chosen, under a cleaned name."""
    async with clicking() as browser:
        await signed_in(browser, sandbox, "learner-two")
        await browser.open(f"{sandbox.url}/{LAB}/generate")
        assert browser.status == 404
        sandbox.repository(LAB).is_template = True
        await browser.open(f"{sandbox.url}/{LAB}")
        await browser.follow("Use this template")
        await browser.press("Create repository", {"name": "my lab!", "visibility": "private"})
        assert browser.address.path == "/learner-two/my-lab-"
        await browser.open(f"{sandbox.url}/{LAB}/generate")
        await browser.press("Create repository", {"name": " !"})
        assert browser.status == 422
    made = sandbox.repository("learner-two/my-lab-")
    assert (made.private, made.template_id) == (True, sandbox.repository(LAB).id)


async def test_a_private_repository_is_hidden(sandbox: Sandbox, head: str) -> None:
    """404 for nobody and strangers on every page; its people see it; the front page lists it for them only."""
    await sandbox.set_visibility(LAB, private=True)
    paths = ["", "/fork", "/tree/main", "/blob/main/README.md", f"/commit/{head}", f"/compare/{head}...main"]
    async with clicking() as stranger, clicking() as friend:
        await signed_in(stranger, sandbox, "learner-two")
        await signed_in(friend, sandbox, "learner-one")
        for path in paths:
            await stranger.open(f"{sandbox.url}/{LAB}{path}")
            await friend.open(f"{sandbox.url}/{LAB}{path}")
            assert (stranger.status, friend.status) == (404, 200), path
        await stranger.open(f"{sandbox.url}/")
        await friend.open(f"{sandbox.url}/")
        assert (LAB in stranger.text, LAB in friend.text) == (False, True)


async def test_an_old_name_redirects(sandbox: Sandbox, head: str) -> None:
    """To the same page of the new name; `.git` leads to the repository."""
    await sandbox.rename(LAB, "steps")
    async with clicking() as browser:
        await browser.open(f"{sandbox.url}/{LAB}/commit/{head}")
        assert browser.address.path == f"/octo-course/steps/commit/{head}"
        await browser.open(f"{sandbox.url}/octo-course/steps.git")
        assert browser.address.path == "/octo-course/steps"
    assert head in await run("ls-remote", f"{sandbox.url}/octo-course/steps.git", cwd=sandbox._root)


async def reported(sandbox: Sandbox, api: ApiClient, token: str, head: str, path: str = "src/app.py") -> int:
    """A check run and a status with hostile words, as an App may report them; returns the run's id."""
    action = {"label": "Check again", "description": "Judge again", "identifier": "again"}
    annotation = {
        "path": path, "start_line": 1, "end_line": 1, "annotation_level": "failure",
        "title": HOSTILE, "message": HOSTILE,
    }  # fmt: skip
    body = {
        "name": f"steps {HOSTILE}", "head_sha": head, "conclusion": "failure", "actions": [action],
        "details_url": "https://stepgate.example.com/sessions/1",
        "output": {"title": HOSTILE, "summary": f"**{HOSTILE}**", "text": HOSTILE, "annotations": [annotation]},
    }  # fmt: skip
    made = await api.call("POST", f"/repos/{LAB}/check-runs", body, credentials=token)
    assert made.status == 201
    status = {"state": "failure", "context": HOSTILE, "target_url": "https://stepgate.example.com/"}
    assert (await api.call("POST", f"/repos/{LAB}/statuses/{head}", status, credentials=token)).status == 201
    return int(made.body["id"])


async def test_a_check_run_is_shown_and_its_buttons_send_events(
    sandbox: Sandbox, api: ApiClient, token: str, head: str
) -> None:
    """Who may push sees the App's buttons and "Re-run"; each sends the event of the click."""
    number = await reported(sandbox, api, token, head)
    async with clicking() as reader, clicking() as writer:
        await reader.open(f"{sandbox.url}/{LAB}/runs/{number}")
        assert (reader.status, [form for form in reader.forms if form.method == "POST"]) == (200, [])
        assert reader.links["View more details"] == "https://stepgate.example.com/sessions/1"
        assert HOSTILE in reader.text
        await signed_in(writer, sandbox, "learner-one")
        await writer.open(f"{sandbox.url}/{LAB}/runs/{number}")
        await writer.press("Check again")
        await writer.press("Re-run")
    await sandbox.idle()
    pressed = [orjson.loads(each.payload) for each in sandbox.deliveries if each.event == "check_run"][-2:]
    assert [each["action"] for each in pressed] == ["requested_action", "rerequested"]
    assert pressed[0]["requested_action"] == {"identifier": "again"}
    assert {each["sender"]["login"] for each in pressed} == {"learner-one"}


async def test_who_may_not_push_presses_nothing(sandbox: Sandbox, api: ApiClient, token: str, head: str) -> None:
    """Neither a stranger, nor a button that is not there, nor a signed-out browser."""
    number = await reported(sandbox, api, token, head)
    page = f"{sandbox.url}/{LAB}/runs/{number}"
    async with clicking() as browser:
        await browser.post(page, {"button": "again"})
        assert browser.status == 401
        await signed_in(browser, sandbox, "learner-two")
        await browser.post(page, {"button": "again"})
        assert browser.status == 403
    async with clicking() as browser:
        await signed_in(browser, sandbox, "learner-one")
        await browser.post(page, {"button": "other"})
        assert browser.status == 422


async def hostile_lab(sandbox: Sandbox) -> tuple[Repository, str]:
    """A lab whose branch, files, contents and message try to be markup."""
    record = sandbox.repository(LAB)
    record.description = HOSTILE
    folder = '<img src=x onerror=alert(1)> "&#'
    head = await seed(record, {f"{folder}/ü?%2e #.txt": HOSTILE, "README.md": HOSTILE}, branch="main")
    await run("update-ref", 'refs/heads/x/"><script>', head, cwd=record.path)
    return record, head


async def test_hostile_names_stay_text_on_every_page(sandbox: Sandbox, api: ApiClient, installed: Installation) -> None:
    """No page has an element that a name, a message, a file or a report made; and every link works."""
    _, head = await hostile_lab(sandbox)
    number = await reported(sandbox, api, await api.token(installed.id), head, "README.md")
    async with clicking() as browser:
        waiting, seen = ["/", f"/{LAB}/runs/{number}", f"/{LAB}/compare/{head}...main"], set()
        while waiting:
            path = waiting.pop()
            seen.add(path)
            await browser.open(f"{sandbox.url}{path}")
            assert browser.status == 200, path
            assert not {"script", "img"} & set(browser.tags), path
            assert set(browser.headers) >= HEADERS, path
            local = {link for link in browser.links.values() if link.startswith("/")}
            waiting += [link for link in local - seen - set(waiting) if not link.startswith(("/login", "/apps"))]
        assert sum("/blob/" in path for path in seen) >= 4
        assert sum("/tree/" in path for path in seen) >= 3


async def test_a_commit_and_a_comparison_show_the_difference(sandbox: Sandbox) -> None:
    """As text; a first commit against nothing; two histories without a common commit have none."""
    record = sandbox.repository(LAB)
    first = await seed(record, {"a.txt": "one\n"})
    second = await seed(record, {"a.txt": "one\n"}, {"a.txt": "two\n"}, branch="next")
    await seed(record, {"b.txt": "other\n"}, branch="apart")
    async with clicking() as browser:
        for path, words in (
            (f"/commit/{first}", "+one"), (f"/commit/{second}", "-one +two"), ("/compare/main...next", "-one +two"),
            ("/compare/next...next", "both have the same files"),
        ):  # fmt: skip
            await browser.open(f"{sandbox.url}/{LAB}{path}")
            assert (browser.status, words in browser.text) == (200, True), path
        for path in ("/compare/main...apart", "/compare/main...none", "/compare/main", "/commit/none", "/tree/none"):
            await browser.open(f"{sandbox.url}/{LAB}{path}")
            assert browser.status == 404, path


async def test_what_is_not_there_is_a_page_that_says_so(sandbox: Sandbox) -> None:
    """Unknown accounts, repositories, runs, files: 404 with words, and the way to sign in."""
    async with clicking() as browser:
        for path in ("/nobody", "/nobody/none", f"/{LAB}/runs/1", f"/{LAB}/blob/main/x", "/apps/none"):
            await browser.open(f"{sandbox.url}{path}")
            assert (browser.status, "Page not found" in browser.text) == (404, True), path
        await browser.open(f"{sandbox.url}/{LAB}")
        assert "This repository is empty" in browser.text
        await browser.open(f"{sandbox.url}/sandbox.css")
        assert browser.status == 200
