"""Group L: metrics, and the trail of a delivery, on the running line."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from tests.support.deliveries import WORK, World, commit, world
from tests.support.githost import WorkingCopy
from tests.support.line import Line

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="here")
async def _here(module_database: str) -> AsyncIterator[World]:
    """A running App with a published lab."""
    async with world(module_database) as here:
        yield here


def logged(here: World, since: int = 0) -> list[dict[str, Any]]:
    """The lines that Stepgate logged; `since`: how many characters there were before."""
    return [json.loads(line) for line in here.logs.getvalue()[since:].splitlines() if line.startswith("{")]


async def push(here: World, fork: Any, folder: Path, *, number: int = 0) -> str:
    """Push one accepted commit; the head, once it is answered."""
    clone = await WorkingCopy.clone(here.line.sandbox, fork.full_name, fork.owner.login, folder)
    for path, text in WORK[number].items():
        target = clone.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(str(text))
    await clone.git("add", "--all")
    await clone.git("commit", "--quiet", "-m", "work")
    await clone.git("push", "--quiet", "origin", "HEAD")
    await here.line.settle()
    return await clone.git("rev-parse", "HEAD")


async def scrape(line: Line) -> dict[str, float]:
    """/metrics as Prometheus reads it: 'name{label="value"}' -> value."""
    async with line.http.get(f"{line.pages}/metrics") as response:
        assert response.status == 200
        text = await response.text()
    return {
        sample.name + "".join(f'{{{key}="{value}"}}' for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_delivery_is_followed_from_its_guid_to_its_check_run(here: World, tmp_path: Path) -> None:
    """The log has received, judged, processed and reported of each push under its GUID, the last with GitHub's id, and
    nothing of one push under another one's GUID, session or repository.
    """
    forks = [await here.learner("learner-one"), await here.learner("learner-two")]
    since = len(here.logs.getvalue())
    heads = [await push(here, fork, tmp_path / fork.owner.login) for fork in forks]

    guids = [str(delivery.guid) for delivery in here.line.sandbox.deliveries if delivery.event == "push"][-2:]
    lines = logged(here, since)
    for fork, head, guid in zip(forks, heads, guids, strict=True):
        trail = {line["event"]: line for line in lines if line.get("delivery") == guid}
        ((run_id, _),) = here.runs(fork, head)
        (row,) = await here.line.fetch("SELECT session_id FROM repo_mapping WHERE provider_repo_id = $1", fork.id)
        assert {"delivery", "judged", "processed", "check_run"} <= trail.keys()
        assert trail["judged"] | {"verdict": "accepted", "head": head, "answers": [guid]} == trail["judged"]
        assert (trail["check_run"]["check_run"], trail["check_run"]["head"]) == (run_id, head)
        assert {trail[event]["session"] for event in ("judged", "processed", "check_run")} == {str(row["session_id"])}
        assert {trail[event]["repo"] for event in ("judged", "processed", "check_run")} == {fork.id}
    for line in lines:
        lane = re.fullmatch(r"repo:(\d+)", str(line.get("lane", "")))
        assert lane is None or line.get("repo", int(lane[1])) == int(lane[1]), line


async def test_pushes_that_are_judged_together_are_all_named(here: World) -> None:
    """A push that a newer one overtook is found in the line of the verdict that answers both."""
    fork = await here.learner("learner-three")
    start, first, second = await commit(fork, *WORK[:2])
    since = len(here.logs.getvalue())
    await here.line.pool.execute("UPDATE lane SET holder = 'x', leased_until = now() + interval '1 hour'")
    guids = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"]
    for guid, (before, after) in zip(guids, [(start, first), (first, second)], strict=True):
        assert await here.post("push", here.push_body(fork, before, after), guid) == 202
    await here.line.pool.execute("UPDATE lane SET holder = NULL, leased_until = NULL, due_at = now()")
    await here.line.settle()

    lines = logged(here, since)
    (verdict,) = (line for line in lines if line["event"] == "judged")
    assert sorted(verdict["answers"]) == guids


async def test_a_push_moves_the_metrics(here: World, tmp_path: Path) -> None:
    """Deliveries, verdicts, latency, calls of GitHub and saves of one push are counted; nothing waits afterwards."""
    fork = await here.learner("learner-four")
    before = await scrape(here.line)
    await push(here, fork, tmp_path / "clone")
    async with here.line.http.post(here.line.hook, data=b"{}", headers={"X-Hub-Signature-256": "sha256=0"}) as refused:
        assert refused.status == 401
    after = await scrape(here.line)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert grown('stepgate_deliveries_total{event="push"}{result="stored"}') == 1
    assert grown('stepgate_deliveries_total{event="unknown"}{result="bad_signature"}') == 1
    assert grown('stepgate_verdicts_total{outcome="accepted"}{trigger="push"}') == 1
    assert grown('stepgate_report_latency_seconds_count{conclusion="success"}') == 1
    assert 0 < grown('stepgate_report_latency_seconds_sum{conclusion="success"}') < 30
    assert grown('stepgate_reports_total{kind="check_run"}{result="sent"}') == 1
    assert grown('stepgate_github_requests_total{class="write"}{outcome="fine"}') == 2  # a check run and a status
    assert grown('stepgate_saves_total{result="SAVED"}') == 1
    assert after["stepgate_database_up"] == 1
    assert 0 < after['stepgate_github_budget_left_ratio{of="installations"}'] < 1
