"""Real pushes become `push` deliveries as GitHub makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox import Delivery, Installation, Sandbox
from sandbox import pushes as limits
from tests.support.githost import WorkingCopy, fast_import

LAB = "octo-course/lab"
EXAMPLES = Path(__file__).parents[1] / "data" / "webhooks"
ZERO = "0" * 40


def pushes(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Return the payloads of all push deliveries, oldest first."""
    return [json.loads(delivery.payload) for delivery in sandbox.deliveries if delivery.event == "push"]


def named(sandbox: Sandbox, event: str) -> list[Delivery]:
    """Return the deliveries of one event."""
    return [delivery for delivery in sandbox.deliveries if delivery.event == event]


async def test_a_first_push_creates_the_branch(sandbox: Sandbox, installed: Installation, lab: WorkingCopy) -> None:
    """The first push says created, lists its commits with their files, and names ids, pusher and installation."""
    head = await lab.git("rev-parse", "HEAD")
    (payload,) = pushes(sandbox)
    repository = sandbox.repository(LAB)
    assert (payload["ref"], payload["before"], payload["after"]) == ("refs/heads/main", ZERO, head)
    assert (payload["created"], payload["deleted"], payload["forced"]) == (True, False, False)
    assert payload["installation"]["id"] == installed.id
    assert (payload["repository"]["id"], payload["repository"]["owner"]["login"]) == (repository.id, "octo-course")
    assert (payload["pusher"]["name"], payload["sender"]["login"]) == ("learner-one", "learner-one")
    assert isinstance(payload["repository"]["pushed_at"], int)
    (commit,) = payload["commits"]
    assert commit == payload["head_commit"]
    assert (commit["id"], commit["distinct"], commit["message"]) == (head, True, "Start")
    assert (commit["added"], commit["removed"], commit["modified"]) == (["README.md", "src/app.py"], [], [])
    assert commit["tree_id"] == await lab.git("rev-parse", "HEAD^{tree}")
    assert commit["author"]["email"] == "learner@example.org"


async def test_a_payload_has_the_keys_of_githubs_examples(
    sandbox: Sandbox, installed: Installation, lab: WorkingCopy
) -> None:
    """Whatever stands in any of GitHub's own examples of a push stands in the sandbox's, at the same place."""
    (payload,) = pushes(sandbox)
    examples = json.loads((EXAMPLES / "push.json").read_text())
    assert len(examples) == 7
    for example in examples:
        assert set(example) <= set(payload)
        assert set(example["repository"]) <= set(payload["repository"])
        for place in ("sender", "pusher"):
            assert set(example[place]) <= set(payload[place])
        for commit in [*example["commits"], *([example["head_commit"]] if example["head_commit"] else [])]:
            assert set(commit) <= set(payload["head_commit"])
            assert set(commit["author"]) - {"username"} <= set(payload["head_commit"]["author"])


async def test_a_second_push_lists_what_changed(sandbox: Sandbox, installed: Installation, lab: WorkingCopy) -> None:
    """Commits are listed oldest first with added, removed and modified files; a rename is both removed and added."""
    before = await lab.git("rev-parse", "HEAD")
    first = await lab.commit({"src/app.py": "print(2)\n", "src/new.py": "x = 1\n" * 30}, "Change")
    await lab.git("mv", "src/new.py", "src/moved.py")
    second = await lab.commit({"README.md": None}, "Move")
    await lab.push()
    payload = pushes(sandbox)[-1]
    assert (payload["before"], payload["after"], payload["created"]) == (before, second, False)
    assert [commit["id"] for commit in payload["commits"]] == [first, second]
    assert payload["commits"][0]["modified"] == ["src/app.py"]
    assert payload["commits"][0]["added"] == ["src/new.py"]
    assert sorted(payload["commits"][1]["removed"]) == ["README.md", "src/new.py"]
    assert payload["commits"][1]["added"] == ["src/moved.py"]
    assert payload["compare"] == f"{sandbox.url}/{LAB}/compare/{before[:12]}...{second[:12]}"


async def test_an_amended_commit_is_forced(sandbox: Sandbox, installed: Installation, lab: WorkingCopy) -> None:
    """A force-push whose old head is not an ancestor says forced; a force-push forward does not."""
    before = await lab.git("rev-parse", "HEAD")
    await lab.git("commit", "--quiet", "--amend", "-m", "Start again")
    await lab.push("--force", "HEAD")
    payload = pushes(sandbox)[-1]
    assert (payload["forced"], payload["before"], len(payload["commits"])) == (True, before, 1)
    await lab.commit({"b.txt": "b"})
    await lab.push("--force", "HEAD")
    assert pushes(sandbox)[-1]["forced"] is False


async def test_a_force_push_backwards_has_no_commits(
    sandbox: Sandbox, installed: Installation, lab: WorkingCopy
) -> None:
    """Taking a commit away lists none, names the new head, and is forced."""
    start = await lab.git("rev-parse", "HEAD")
    await lab.commit({"b.txt": "b"})
    await lab.push()
    await lab.git("reset", "--quiet", "--hard", start)
    await lab.push("--force", "HEAD")
    payload = pushes(sandbox)[-1]
    assert (payload["forced"], payload["after"], payload["commits"]) == (True, start, [])
    assert (payload["head_commit"]["id"], payload["head_commit"]["distinct"]) == (start, False)


async def test_a_branch_of_a_known_head_names_its_base(
    sandbox: Sandbox, installed: Installation, lab: WorkingCopy
) -> None:
    """A new branch at a head that another branch has lists no commits and names that branch."""
    await lab.push("HEAD:refs/heads/copy")
    payload = pushes(sandbox)[-1]
    assert (payload["created"], payload["base_ref"], payload["commits"]) == (True, "refs/heads/main", [])
    assert payload["head_commit"]["id"] == await lab.git("rev-parse", "HEAD")


async def test_commits_known_from_another_branch_are_not_distinct(
    sandbox: Sandbox, installed: Installation, lab: WorkingCopy
) -> None:
    """A fast-forward to commits that another branch brought lists them, but not as distinct."""
    await lab.commit({"b.txt": "b"})
    await lab.push("HEAD:refs/heads/topic")
    await lab.push("HEAD:refs/heads/main")
    topic, main = pushes(sandbox)[-2:]
    assert [commit["distinct"] for commit in topic["commits"]] == [True]
    assert [commit["distinct"] for commit in main["commits"]] == [False]


async def test_a_deleted_branch_has_no_head(sandbox: Sandbox, installed: Installation, lab: WorkingCopy) -> None:
    """Deleting a branch says deleted, with the zero sha and without a head commit."""
    head = await lab.git("rev-parse", "HEAD")
    await lab.push("HEAD:refs/heads/topic")
    await lab.push("--delete", "topic")
    payload = pushes(sandbox)[-1]
    assert (payload["deleted"], payload["before"], payload["after"]) == (True, head, ZERO)
    assert (payload["head_commit"], payload["commits"]) == (None, [])


async def test_up_to_three_tags_are_told_and_more_are_not(
    sandbox: Sandbox, installed: Installation, lab: WorkingCopy
) -> None:
    """More than three tags in one push make no push event, as on GitHub."""
    for number in range(3):
        await lab.git("tag", f"v{number}")
    await lab.push("--tags")
    assert [payload["ref"] for payload in pushes(sandbox)[1:]] == [f"refs/tags/v{number}" for number in range(3)]
    assert pushes(sandbox)[-1]["base_ref"] == "refs/heads/main"
    for number in range(3, 7):
        await lab.git("tag", "-a", f"v{number}", "-m", "annotated")
    await lab.push("--tags")
    assert len(pushes(sandbox)) == 4


async def test_an_annotated_tag_names_its_commit(sandbox: Sandbox, installed: Installation, lab: WorkingCopy) -> None:
    """`after` of an annotated tag is the tag object; the head commit is what it points to."""
    await lab.git("tag", "-a", "v1", "-m", "annotated")
    await lab.push("v1")
    payload = pushes(sandbox)[-1]
    assert payload["after"] == await lab.git("rev-parse", "v1")
    assert payload["head_commit"]["id"] == await lab.git("rev-parse", "HEAD")


async def test_a_tag_of_a_file_does_not_disturb(sandbox: Sandbox, installed: Installation, lab: WorkingCopy) -> None:
    """A tag may point to a blob: it has no head commit, and later pushes are told as usual."""
    await lab.git("tag", "file", "HEAD:README.md")
    await lab.push("file")
    assert (pushes(sandbox)[-1]["head_commit"], pushes(sandbox)[-1]["commits"]) == (None, [])
    head = await lab.commit({"b.txt": "b"})
    await lab.push("HEAD:refs/heads/topic")
    assert [commit["id"] for commit in pushes(sandbox)[-1]["commits"]] == [head]


async def test_several_branches_make_one_delivery_each(
    sandbox: Sandbox, installed: Installation, lab: WorkingCopy
) -> None:
    """One git push of two branches is two events; the commits are distinct only in the first."""
    await lab.commit({"b.txt": "b"})
    await lab.push("HEAD:refs/heads/one", "HEAD:refs/heads/two")
    one, two = pushes(sandbox)[-2:]
    assert {one["ref"], two["ref"]} == {"refs/heads/one", "refs/heads/two"}
    assert [commit["distinct"] for commit in one["commits"]] == [True]
    assert all(not commit["distinct"] for commit in two["commits"])


async def test_at_most_3000_files_of_a_commit_are_listed(
    sandbox: Sandbox, installed: Installation, lab: WorkingCopy
) -> None:
    """A very large commit is listed up to GitHub's limit."""
    files = {f"many/{number:05}.txt": str(number) for number in range(3100)}
    await lab.git("fast-import", "--quiet", stdin=fast_import([files], "many", start="refs/heads/main"))
    await lab.push("many")
    assert len(pushes(sandbox)[-1]["commits"][0]["added"]) == 3000


async def test_more_than_2048_commits_are_cut_to_the_newest(
    sandbox: Sandbox, installed: Installation, lab: WorkingCopy
) -> None:
    """A push of very many commits lists 2048, the head among them."""
    await lab.git("fast-import", "--quiet", stdin=fast_import([{}] * 2100, "long", start="refs/heads/main"))
    await lab.push("long")
    payload = pushes(sandbox)[-1]
    assert len(payload["commits"]) == 2048
    assert payload["commits"][-1]["id"] == payload["after"]


async def test_names_that_are_not_utf8_do_not_break_a_delivery(
    sandbox: Sandbox, installed: Installation, lab: WorkingCopy
) -> None:
    """Bytes that are not UTF-8 come as U+FFFD."""
    blob = await lab.git("hash-object", "-w", "--stdin", stdin=b"x")
    await lab.git("update-index", "-z", "--index-info", stdin=f"100644 {blob}\t".encode() + b"caf\xe9.txt\0")
    await lab.git("commit", "--quiet", "-m", "Latin")
    await lab.push()
    assert pushes(sandbox)[-1]["commits"][0]["added"] == ["caf�.txt"]


async def test_repositories_without_the_app_are_silent(sandbox: Sandbox, lab: WorkingCopy) -> None:
    """Without an installation that covers the repository nothing is sent."""
    await sandbox.add_repository("octo-course", "other")
    installation = await sandbox.install("octo-course", ["octo-course/other"])
    await lab.commit({"b.txt": "b"})
    await lab.push()
    await sandbox.select(installation.id, add=[LAB])
    await sandbox.suspend(installation.id)
    await lab.commit({"c.txt": "c"})
    await lab.push()
    assert pushes(sandbox) == []


async def test_a_payload_above_25_mb_is_not_sent(
    sandbox: Sandbox, installed: Installation, lab: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub does not fire an event whose payload is too large."""
    monkeypatch.setattr("sandbox.deliveries.PAYLOAD_LIMIT", 20_000)
    await lab.commit({f"{'n' * 100}/{'m' * 100}{number}.txt": "x" for number in range(200)})
    await lab.push()
    assert len(pushes(sandbox)) == 1


async def test_a_pushed_head_requests_a_check_suite_once(
    sandbox: Sandbox, installed: Installation, lab: WorkingCopy
) -> None:
    """Each new head of a branch brings one `check_suite` requested, after its push."""
    await lab.push("HEAD:refs/heads/copy")
    (delivery,) = named(sandbox, "check_suite")
    payload = json.loads(delivery.payload)
    assert payload["action"] == "requested"
    assert payload["check_suite"]["head_sha"] == await lab.git("rev-parse", "HEAD")
    assert payload["check_suite"]["head_branch"] == "main"
    example = json.loads((EXAMPLES / "check_suite.json").read_text())[4]
    assert set(example["check_suite"]) <= set(payload["check_suite"])
    assert [delivery.event for delivery in sandbox.deliveries[:3]] == ["installation", "push", "check_suite"]


async def test_too_many_branches_at_once_are_not_told(
    sandbox: Sandbox, installed: Installation, lab: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push of more branches than GitHub's limit (lowered here) makes no push event; one of just so many does."""
    monkeypatch.setattr(limits, "BRANCHES_MAX", 3)
    for number in range(3):
        await lab.git("branch", f"b{number}")
    await lab.push("--all")
    assert [payload["ref"] for payload in pushes(sandbox)[1:]] == [f"refs/heads/b{number}" for number in range(3)]
    for number in range(4):
        await lab.git("branch", f"c{number}")
    await lab.push("--all")
    assert len(pushes(sandbox)) == 4
