"""Odd ways by which a repository comes to the App or leaves it: each ends in the right session, or is told why not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from rules.model import Account, AccountKind
from sandbox import Delivery, Repository
from storage import invitations, labs
from storage.invitations import Invitee
from tests.support.deliveries import headers_of
from tests.support.direct import DirectCopy, begin
from tests.support.githost import run, seed
from tests.support.learners import COURSE, Learner, open_course, open_lab, template_files
from tests.support.line import SECRET, Line, running_line

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB, OTHER_LAB, SCHOOL = "word-counter", "line-counter", "octo-school"
REPORT: dict[str, str | bytes | None] = {"report/bug.md": "Expected: 2\nActual: 3\n"}
WELCOME = "Welcome: begin with step 1"


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    """A running App with two labs that anybody may start, and an organisation that teaches in a classroom."""
    async with running_line(module_database) as line:
        await open_course(line)
        await open_lab(line, LAB, template_files())
        await open_lab(line, OTHER_LAB, template_files())
        line.sandbox.add_account(SCHOOL, "Organization")
        await line.sandbox.install(SCHOOL, "all")
        await line.settle()
        yield line


@pytest_asyncio.fixture(loop_scope="module", name="learner")
async def _learner(line: Line) -> Learner:
    """A learner of the first lab who has done its first step."""
    learner = await begin(line, LAB)
    await learner.push(REPORT)
    return learner


# ------------------------------------------------------------------------------------------------------- what is seen


async def head_of(repository: Repository) -> str:
    """The newest commit of a repository's default branch."""
    return await run("rev-parse", repository.default_branch, cwd=repository.path)


async def told(line: Line, repository: Repository, head: str | None = None) -> dict[str, Any]:
    """The newest check run on a head (None: the branch's newest one)."""
    runs = line.sandbox.check_runs(repository.full_name, head or await head_of(repository))
    return max(runs, key=lambda each: int(each["id"]))


async def bound(line: Line, repository: Repository) -> UUID | None:
    """The session that the repository is bound to."""
    rows = await line.fetch(
        "SELECT session_id FROM repo_mapping WHERE provider_repo_id = $1 AND state = 'active'", repository.id
    )
    return rows[0]["session_id"] if rows else None


async def audited(line: Line, repository: Repository) -> list[tuple[str, str | None]]:
    """Kind and code of what the audit has on a repository, oldest first; of a session's status: the new one."""
    rows = await line.fetch(
        "SELECT kind, coalesce(code, detail->>'to') AS code FROM audit_event WHERE repo_id = $1 ORDER BY event_id",
        repository.id,
    )
    return [(row["kind"], row["code"]) for row in rows]


async def refusal(line: Line, repository: Repository) -> dict[str, Any]:
    """The newest refusal of a repository in the audit."""
    rows = await line.fetch(
        "SELECT * FROM audit_event WHERE repo_id = $1 AND kind = 'rejected' ORDER BY event_id DESC LIMIT 1",
        repository.id,
    )
    return rows[0]


async def assert_refused(line: Line, repository: Repository, code: str) -> dict[str, Any]:
    """The repository's head carries the reason, and so does the audit, which is returned."""
    run_ = await told(line, repository)
    assert (run_["conclusion"], code in run_["output"]["summary"]) == ("action_required", True), run_["output"]
    row = await refusal(line, repository)
    assert row["code"] == code
    return row


async def learner_of(line: Line, session_id: UUID | None) -> int:
    """The account id of a session's learner."""
    (row,) = await line.fetch("SELECT learner_account_id FROM lab_session WHERE session_id = $1", session_id)
    return int(row["learner_account_id"])


def installation_of(line: Line, login: str) -> int:
    """The App's installation on an account."""
    return next(each.id for each in line.sandbox.installations if each.account.login == login)


async def work_in(line: Line, repository: Repository, login: str, folder: Path) -> str:
    """Somebody clones a repository, does the first step and pushes; the head."""
    copy = await DirectCopy.of(line, repository.full_name, login)
    head = await copy.commit(dict(REPORT))
    await copy.push()
    await line.settle()
    return head


# ---------------------------------------------------------------------------------------------------- gone and back


async def test_a_deleted_and_re_created_fork(line: Line, learner: Learner, tmp_path: Path) -> None:
    """The new fork has another id: it takes over the same session, whose progress is judged anew on its files."""
    login = learner.fork.split("/")[0]
    old = line.sandbox.repository(learner.fork)
    await line.sandbox.delete_repository(learner.fork)
    await line.settle()
    new = await line.sandbox.fork(f"{COURSE}/{LAB}", login)
    await line.sandbox.select(installation_of(line, login), add=[new.full_name])
    await line.settle()

    assert (new.full_name, new.id == old.id) == (learner.fork, False)
    assert await bound(line, new) == learner.session_id
    assert await bound(line, old) is None
    assert ("unbound", "REPOSITORY_GONE") in await audited(line, old)
    assert ("bound", None) in await audited(line, new)
    assert ((await learner.session())["status"], await learner.done()) == ("IN_PROGRESS", set())
    assert (await told(line, new))["output"]["title"].startswith(WELCOME)

    head = await work_in(line, new, login, tmp_path)
    assert (await told(line, new, head))["conclusion"] == "success"
    assert await learner.done() == {"report"}


async def test_a_re_used_name(line: Line, learner: Learner, tmp_path: Path) -> None:
    """A name decides nothing: the renamed fork keeps its session, and what has its old name now is not the lab's."""
    login, name = learner.fork.split("/")
    moved = await line.sandbox.rename(learner.fork, "counter-of-mine")
    other = await line.sandbox.add_repository(login, name)
    await seed(other, template_files())
    await line.sandbox.select(installation_of(line, login), add=[other.full_name])
    await line.settle()
    await work_in(line, other, login, tmp_path)

    assert (other.full_name, await bound(line, other)) == (learner.fork, None)
    assert line.sandbox.check_runs(other.full_name, await head_of(other)) == []
    assert await audited(line, other) == []
    head = await work_in(line, moved, login, tmp_path / "moved")
    assert await bound(line, moved) == learner.session_id
    assert (await told(line, moved, head))["conclusion"] == "success"


async def test_a_re_used_login(line: Line, learner: Learner) -> None:
    """Somebody who takes over a learner's old login, and forks under the same full name, gets their own session."""
    login, name = learner.fork.split("/")
    moved = line.sandbox.repository(learner.fork)
    line.sandbox.rename_account(login, f"{login}-renamed")
    newcomer = line.sandbox.add_account(login)
    fork = await line.sandbox.fork(f"{COURSE}/{LAB}", login, name=name)
    await line.sandbox.install(login, "all")
    await line.settle()

    assert fork.full_name == learner.fork
    theirs = await bound(line, fork)
    assert theirs not in (None, learner.session_id)
    assert await learner_of(line, theirs) == newcomer.id
    assert await bound(line, moved) == learner.session_id
    assert await learner.done() == {"report"}


async def test_a_transfer_and_back(line: Line, learner: Learner, tmp_path: Path) -> None:
    """Under another account nothing is judged, and head and audit say so; back at its owner it goes on by itself."""
    login, buyer = learner.fork.split("/")[0], line.sandbox.add_account(f"buyer-of-{learner.repo_id}")
    await line.sandbox.install(buyer.login, "all")
    sold = await line.sandbox.transfer(learner.fork, buyer.login)
    await line.settle()
    away = await work_in(line, sold, buyer.login, tmp_path / "away")

    row = await assert_refused(line, sold, "OWNER_CHANGED")
    owner = line.sandbox.account(login)
    assert (row["owner_id"], row["expected_owner_id"]) == (buyer.id, owner.id)
    assert (await learner.session())["accepted_sha"] != away
    assert await learner_of(line, await bound(line, sold)) == owner.id, "nobody else's session has it"

    await line.sandbox.transfer(sold.full_name, login)
    await line.sandbox.select(installation_of(line, login), add=[sold.full_name])
    await line.settle()
    head = await work_in(line, sold, login, tmp_path / "back")

    assert (await told(line, sold, head))["conclusion"] == "success"
    session = await learner.session()
    assert (session["status"], session["accepted_sha"]) == ("IN_PROGRESS", head)


async def test_a_push_of_the_time_abroad_that_comes_after_the_return(
    line: Line, learner: Learner, tmp_path: Path
) -> None:
    """A delivery that names the other account's installation comes late: the mapping keeps the owner's one."""
    login, buyer = learner.fork.split("/")[0], line.sandbox.add_account(f"buyer-of-{learner.repo_id}")
    await line.sandbox.install(buyer.login, "all")
    sold = await line.sandbox.transfer(learner.fork, buyer.login)
    await line.settle()
    hook, line.sandbox.webhook_url = line.sandbox.webhook_url, None
    await work_in(line, sold, buyer.login, tmp_path / "away")
    await line.sandbox.idle()
    late = [each for each in line.sandbox.deliveries if (each.event, each.repository_id) == ("push", sold.id)][-1]
    await line.sandbox.transfer(sold.full_name, login)
    line.sandbox.webhook_url = hook
    await line.sandbox.select(installation_of(line, login), add=[sold.full_name])
    await line.settle()
    await line.sandbox.redeliver(late.guid)
    await line.settle()

    (mapping,) = await line.fetch(
        "SELECT installation_id, owner_account_id FROM repo_mapping WHERE provider_repo_id = $1 AND state = 'active'",
        sold.id,
    )
    assert mapping["installation_id"] == installation_of(line, login)
    assert (await learner.session())["status"] == "IN_PROGRESS"


# --------------------------------------------------------------------------------------------------- several of a kind


async def test_two_forks_by_one_learner(line: Line, learner: Learner, tmp_path: Path) -> None:
    """A second copy is told where the session lives, and the first goes on."""
    login = learner.fork.split("/")[0]
    second = await line.sandbox.generate(f"{COURSE}/{LAB}", login, "second-copy")
    await line.sandbox.select(installation_of(line, login), add=[second.full_name])
    await line.settle()

    row = await assert_refused(line, second, "MAPPING_CONFLICT")
    assert row["detail"]["detail"] == f"the session is bound to repository {learner.repo_id}"
    assert await bound(line, second) is None
    head = await learner.push({"src/wordcount.js": "export const countWords = (text) => text.trim().length;\n"})
    assert learner.told(head) == ("success", "success")
    await work_in(line, second, login, tmp_path)
    await assert_refused(line, second, "MAPPING_CONFLICT")
    assert (await learner.session())["accepted_sha"] == head


async def test_one_learner_in_two_labs(line: Line, learner: Learner, tmp_path: Path) -> None:
    """A fork of another lab has a session of its own; what is pushed to one is not the other's."""
    login = learner.fork.split("/")[0]
    fork = await line.sandbox.fork(f"{COURSE}/{OTHER_LAB}", login)
    await line.sandbox.select(installation_of(line, login), add=[fork.full_name])
    await line.settle()

    other = await bound(line, fork)
    assert other not in (None, learner.session_id)
    assert await learner_of(line, other) == await learner_of(line, learner.session_id)
    before = await learner.session()
    head = await work_in(line, fork, login, tmp_path)
    assert (await told(line, fork, head))["conclusion"] == "success"
    assert await learner.session() == before


async def test_a_generated_repository_is_worked_in_like_a_fork(line: Line, tmp_path: Path) -> None:
    """It shares no history with the template, and is bound and judged all the same."""
    person = line.sandbox.add_account("learner-generates")
    made = await line.sandbox.generate(f"{COURSE}/{LAB}", person.login, "my-counter")
    await line.sandbox.install(person.login, [made.full_name])
    await line.settle()
    head = await work_in(line, made, person.login, tmp_path)

    assert (await told(line, made, head))["conclusion"] == "success"
    assert await learner_of(line, await bound(line, made)) == person.id
    assert await audited(line, made) == [("bound", None)]


@pytest.mark.parametrize("parent", ["a learner's", "a stranger's"])
async def test_a_fork_of_a_fork(line: Line, learner: Learner, parent: str) -> None:
    """It is the lab's by its source. That the parent is another learner's, whose work came along, is in the audit."""
    person = line.sandbox.add_account(f"second-{learner.repo_id}")
    if parent == "a stranger's":
        line.sandbox.add_account(f"stranger-{learner.repo_id}")
        middle = await line.sandbox.fork(f"{COURSE}/{LAB}", f"stranger-{learner.repo_id}")
    else:
        middle = line.sandbox.repository(learner.fork)
    fork = await line.sandbox.fork(middle.full_name, person.login)
    await line.sandbox.install(person.login, [fork.full_name])
    await line.settle()

    session_id = await bound(line, fork)
    assert session_id not in (None, learner.session_id)
    assert await learner_of(line, session_id) == person.id
    code = "FORK_OF_LEARNER" if parent == "a learner's" else None
    assert await audited(line, fork) == [("bound", code)]
    (row,) = await line.fetch("SELECT parent_id FROM audit_event WHERE repo_id = $1", fork.id)
    assert row["parent_id"] == middle.id
    async with line.browser(staff=True) as staff, staff.get("/audit?code=FORK_OF_LEARNER") as page:
        assert (str(session_id) in await page.text()) == (code is not None), "staff see it"


# ------------------------------------------------------------------------------------------------------- a classroom


async def test_a_classroom_by_repository(line: Line, tmp_path: Path) -> None:
    """An organisation's repository is the person's whom an invitation names for it; another one is nobody's."""
    person = line.sandbox.add_account("pupil-one")
    mine = await line.sandbox.fork(f"{COURSE}/{LAB}", SCHOOL, name="lab-pupil-one")
    other = await line.sandbox.fork(f"{COURSE}/{LAB}", SCHOOL, name="lab-pupil-two")
    await line.settle()
    for fork in (mine, other):
        line.sandbox.add_collaborator(fork.full_name, person.login)
        await work_in(line, fork, person.login, tmp_path)
        await assert_refused(line, fork, "NO_SESSION")
    await invite_to(line, Invitee(Account(person.id, person.login, AccountKind.USER), repo_id=mine.id))
    for fork in (mine, other):
        await work_in(line, fork, person.login, tmp_path / "again")

    session_id = await bound(line, mine)
    assert await learner_of(line, session_id) == person.id, "not the organisation"
    assert (await told(line, mine))["conclusion"] == "success"
    await assert_refused(line, other, "NO_SESSION")
    assert await bound(line, other) is None


async def test_a_classroom_by_account(line: Line, tmp_path: Path) -> None:
    """An invitation of a person alone is for that person's own copy: which of the organisation's repositories is
    theirs it does not say, whoever pushes there."""
    person = line.sandbox.add_account("pupil-three")
    await invite_to(line, Invitee(Account(person.id, person.login, AccountKind.USER)))
    shared = await line.sandbox.fork(f"{COURSE}/{LAB}", SCHOOL, name="lab-pupil-three")
    line.sandbox.add_collaborator(shared.full_name, person.login)
    await work_in(line, shared, person.login, tmp_path)
    await assert_refused(line, shared, "NO_SESSION")

    own = await line.sandbox.fork(f"{COURSE}/{LAB}", person.login)
    await line.sandbox.install(person.login, [own.full_name])
    await line.settle()
    session_id = await bound(line, own)
    assert await learner_of(line, session_id) == person.id
    assert await line.fetch("SELECT FROM invitation WHERE session_id = $1", session_id), "the invitation is used"
    school = line.sandbox.account(SCHOOL)
    assert await line.fetch("SELECT FROM lab_session WHERE learner_account_id = $1", school.id) == []


async def invite_to(line: Line, invitee: Invitee) -> None:
    """Put somebody on the class list of the first lab."""
    lab = await labs.by_slug(line.pool, LAB)
    assert lab is not None
    assert await invitations.invite(line.pool, lab.lab_id, [invitee]) == ["invited"]


# ---------------------------------------------------------------------------------------------------- installations


async def test_an_installation_of_another_account_claims_a_repository(
    line: Line, learner: Learner, tmp_path: Path
) -> None:
    """A delivery that joins a learner's repository to somebody else's installation changes nothing."""
    line.sandbox.add_account(f"claims-{learner.repo_id}")
    claimer = await line.sandbox.install(f"claims-{learner.repo_id}", "all")
    await line.settle()
    clone = learner.clone
    head = await clone.commit({"notes.txt": "mine\n"})
    hook, line.sandbox.webhook_url = line.sandbox.webhook_url, None
    await clone.push()
    await line.sandbox.idle()
    line.sandbox.webhook_url = hook
    push = [each for each in line.sandbox.deliveries if each.event == "push"][-1]
    before = await mapping_of(line, learner)

    assert await post(line, push, installation={"id": claimer.id}) == 202
    await line.settle()

    assert await mapping_of(line, learner) == before
    row = await refusal(line, line.sandbox.repository(learner.fork))
    assert (row["code"], row["installation_id"]) == ("REPO_NOT_SELECTED", claimer.id)
    assert line.sandbox.check_runs(learner.fork, head) == []
    assert (await learner.session())["accepted_sha"] != head


async def test_a_second_installation_after_a_reinstall(line: Line, learner: Learner) -> None:
    """The mapping takes the new installation's id, which is audited; progress is kept and pushes go on."""
    login = learner.fork.split("/")[0]
    first = installation_of(line, login)
    await line.sandbox.uninstall(first)
    await line.settle()
    again = await line.sandbox.install(login, [learner.fork])
    await line.settle()

    assert (await mapping_of(line, learner))["installation_id"] == again.id != first
    assert ("reinstalled", "REINSTALLED") in await audited(line, line.sandbox.repository(learner.fork))
    assert ((await learner.session())["status"], await learner.done()) == ("IN_PROGRESS", {"report"})
    head = await learner.push({"notes.txt": "after\n"})
    assert learner.told(head) == ("success", "success")


async def mapping_of(line: Line, learner: Learner) -> dict[str, Any]:
    """The active mapping of a learner's fork."""
    (row,) = await line.fetch(
        "SELECT mapping_id, installation_id, owner_account_id, session_id FROM repo_mapping "
        "WHERE provider_repo_id = $1 AND state = 'active'",
        learner.repo_id,
    )
    return row


async def post(line: Line, delivery: Delivery, **changed: object) -> int:
    """Send a delivery of the log as a new one, with some of its fields changed, and rightly signed."""
    body = json.dumps(json.loads(delivery.payload) | changed).encode()
    headers = headers_of(delivery.event, body, guid=uuid4(), secret=SECRET)
    async with line.http.post(line.hook, data=body, headers=headers) as answer:
        return answer.status
