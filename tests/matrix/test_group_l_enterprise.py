"""GitHub Enterprise Server: another base path, no rate-limit headers, more headers on deliveries, longer windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bot.webhook import READ_TIMEOUT
from sandbox import Fault
from sandbox.effects import Headers
from settings import Settings
from storage.retention import KEEP_DEAD_BODIES
from tests.support.deliveries import headers_of, world
from tests.support.githost import WorkingCopy

HOST = "https://github.example.com"


def settings_of(**given: Any) -> Settings:
    """Settings of an App on an Enterprise Server."""
    return Settings.model_validate({"github_api_url": f"{HOST}/api/v3/", **given})


def test_addresses_follow_from_the_api() -> None:
    """From the API's address alone come GitHub's pages; another one for them is taken where it is given."""
    assert (settings_of().github_api_url, settings_of().web_url) == (f"{HOST}/api/v3", HOST)
    assert settings_of(github_web_url="https://pages.example.com/").web_url == "https://pages.example.com"


def test_what_is_kept_outlasts_the_server_s_window() -> None:
    """An Enterprise Server can redeliver for 7 days (GitHub docs, "Redelivering webhooks"): what is needed is there."""
    assert settings_of().retention_days > 7
    assert KEEP_DEAD_BODIES.days > 7


def test_the_answer_comes_within_the_shorter_time_out() -> None:
    """github.com waits for 10 s, an Enterprise Server for 30 s: we keep to the first on both."""
    assert READ_TIMEOUT <= 10


async def test_the_story_without_rate_limit_headers(fresh_database: str, tmp_path: Path) -> None:
    """Below /api/v3, with no x-ratelimit header on any answer, a push is judged and reported like everywhere.

    Deliveries name the server and its version (GitHub docs, "Webhook events and payloads").
    """
    async with world(fresh_database) as here:
        sandbox = here.line.sandbox
        assert sandbox.api_url.endswith("/api/v3")
        hidden = sandbox.faults.add(Fault(Headers(remove=("x-ratelimit-*",))))
        fork = await here.learner("learner-one")
        clone = await WorkingCopy.clone(sandbox, fork.full_name, "learner-one", tmp_path / "clone")
        (clone.path / "report").mkdir()
        (clone.path / "report" / "bug.md").write_text("Expected: 2\nActual: 3\n")
        await clone.git("add", "--all")
        await clone.git("commit", "--quiet", "-m", "work")
        await clone.git("push", "--quiet", "origin", "HEAD")
        await here.line.settle()

        head = await clone.git("rev-parse", "HEAD")
        assert [conclusion for _, conclusion in here.runs(fork, head)] == ["success"]
        assert hidden.fired > 3

        body = here.push_body(fork, "a" * 40, "b" * 40, ref="refs/tags/v1")  # with a server's own headers
        more = {"X-GitHub-Enterprise-Host": "github.example.com", "X-GitHub-Enterprise-Version": "3.19.0"}
        async with here.line.http.post(here.line.hook, data=body, headers=headers_of("push", body) | more) as answer:
            assert answer.status == 202
        await here.line.settle()
        assert (await here.rows("push"))[-1]["state"] == "done"
