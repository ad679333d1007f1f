"""Which results of checks and workflows are stored at all."""

from __future__ import annotations

import pytest

from bot.payloads import Envelope
from bot.wanted import ResultFilter

OURS, THEIRS, ACTIONS = 4711, 77, 15368
BOUND, OTHER = 501, 502


async def _awaited(repo_id: int) -> bool:
    return repo_id == BOUND


def parts(
    app_id: int | None, slug: str = "acme-lint", *, action: str = "completed", repo: int | None = BOUND
) -> Envelope:
    """What is read of a body."""
    return Envelope(action=action, installation_id=1, repo_id=repo, app_id=app_id, app_slug=slug)


@pytest.mark.parametrize(
    ("event", "given", "wanted"),
    [
        ("check_run", parts(THEIRS), True),
        ("check_suite", parts(THEIRS), True),
        ("workflow_run", parts(None), True),
        ("check_suite", parts(ACTIONS, "github-actions"), True),  # the end of a workflow, for Apps without workflow_run
        ("check_run", parts(ACTIONS, "github-actions"), False),  # a job of it
        ("check_run", parts(99, "github-actions"), False),  # on a GitHub Enterprise Server
        ("check_run", parts(OURS, "stepgate"), False),
        ("check_suite", parts(OURS, "stepgate"), False),
        ("check_run", parts(THEIRS, action="created"), False),
        ("check_suite", parts(OURS, "stepgate", action="requested"), False),
        ("workflow_run", parts(None, action="requested"), False),
        ("check_run", parts(THEIRS, repo=OTHER), False),
        ("workflow_run", parts(None, repo=None), False),
    ],
)
async def test_only_finished_results_of_others_that_a_lab_waits_for_are_wanted(
    event: str, given: Envelope, wanted: bool
) -> None:
    """Not our own echoes, not jobs of workflows, not beginnings, and nothing of repositories that wait for nothing."""
    assert await ResultFilter(OURS, _awaited).wants(event, given) is wanted
