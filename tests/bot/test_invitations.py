"""A class list against a sandbox: what GitHub knows of each row, what is stored, and who may start afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from bot import invitees
from bot.classlist import Row, parse
from bot.invitations import Line as ListLine
from bot.invitations import count, invite, look_again, uninvite
from bot.registry import RegistryError
from rules.model import Enrolment, LabRecord
from sandbox import Repository
from storage import invitations, labs
from storage.labs import LabChange
from tests.support.githost import WorkingCopy, run, seed
from tests.support.learners import COURSE, open_course, open_lab, template_files
from tests.support.line import Line, running_line

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORK = "octo-work"


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    """A running App with a course, and an organisation that owns learners' repositories."""
    async with running_line(module_database) as line:
        await open_course(line)
        line.sandbox.add_account(WORK, "Organization")
        yield line


@pytest_asyncio.fixture(loop_scope="module", name="lab")
async def _lab(line: Line, request: pytest.FixtureRequest) -> LabRecord:
    """A lab of this test's own, for invited learners only."""
    name = f"lab-{len(await labs.list_labs(line.pool))}"
    await open_lab(line, name, template_files())
    lab = await labs.by_slug(line.pool, name)
    assert lab is not None
    await labs.edit(line.pool, lab.lab_id, LabChange(enrolment=Enrolment.INVITED))
    return replace(lab, enrolment=Enrolment.INVITED)


async def call(line: Line, lab: LabRecord, text: str, **options: object) -> list[ListLine]:
    """Invite the people of a class list."""
    return await invite(line.pool, line.services.app, lab, parse(text.encode()).rows, **options)  # type: ignore[arg-type]


async def said(line: Line, lab: LabRecord, text: str, **options: object) -> list[str]:
    """What is reported of each line."""
    return [each.words() for each in await call(line, lab, text, **options)]


async def fork_of(line: Line, lab: LabRecord, login: str) -> Repository:
    """A new account's fork, with the App installed on it."""
    line.sandbox.add_account(login)
    fork = await line.sandbox.fork(lab.base_repo_full_name, login)
    await line.sandbox.install(login, [fork.full_name])
    await line.settle()
    return fork


async def codes(line: Line, fork: Repository) -> list[str]:
    """Why the repository was turned away, the latest first."""
    rows = await line.fetch(
        "SELECT code FROM audit_event WHERE repo_id = $1 AND kind = 'rejected' ORDER BY event_id DESC", fork.id
    )
    return [row["code"] for row in rows]


async def status(line: Line, fork: Repository) -> str | None:
    """The status of the session that the repository is bound to."""
    rows = await line.fetch(
        "SELECT status FROM lab_session JOIN repo_mapping USING (session_id) "
        "WHERE provider_repo_id = $1 AND state = 'active'",
        fork.id,
    )
    return rows[0]["status"] if rows else None


async def test_a_class_list_is_reported_line_by_line(line: Line, lab: LabRecord) -> None:
    """Good rows are stored; unknown logins, organisations, bots and duplicates are named by their line."""
    sandbox = line.sandbox
    ada, lin = sandbox.add_account("ada-1"), sandbox.add_account("lin-1")
    robot = sandbox.add_account("robo-1[bot]", "Bot")
    text = f"login,id\nada-1,\nADA-1,\n,{lin.id}\nocto-two,\n{COURSE},\nada 1,\nada-1,{lin.id}\n,424242\n,{robot.id}\n"

    assert await said(line, lab, text) == [
        "line 2: ada-1: invited",
        "line 3: ADA-1: the same as line 2",
        f"line 4: id {lin.id}: invited",
        "line 5: octo-two: unknown on GitHub (misspelt? renamed?)",
        "line 6: octo-course: is an organisation: only people can be invited",
        "line 7: ada 1: is no GitHub login",
        f"line 8: ada-1: login and id are two accounts: id {lin.id} is lin-1",
        "line 9: id 424242: no account at GitHub has the id 424242",
        f"line 10: id {robot.id}: is a bot: only people can be invited",
    ]
    listed = await invitations.class_list(line.pool, lab.lab_id)
    assert [(each.account_id, each.login) for each in listed] == [(ada.id, "ada-1"), (lin.id, "lin-1")]
    again = await call(line, lab, text)
    assert count(again) == {"already": 2, "duplicate": 1, "problem": 6}


async def test_a_renamed_learner_stays_invited_and_nobody_inherits_it(line: Line, lab: LabRecord) -> None:
    """The old login leads to the same account; once somebody else has taken it, the list must give an id."""
    sandbox = line.sandbox
    ada = sandbox.add_account("ada-2")
    await call(line, lab, "ada-2\n")
    sandbox.rename_account("ada-2", "ada-new-2")

    assert await said(line, lab, "ada-2\n") == [
        f"line 1: ada-2: already invited; is called ada-new-2 now (id {ada.id})"
    ]
    await pool_forgets_rename(line, ada.id, "ada-2")
    stranger = sandbox.add_account("ada-2")
    (told,) = await said(line, lab, "ada-2\n")
    assert told.startswith(f"line 1: ada-2: is another account (id {stranger.id})")
    assert "column `id`" in told
    assert await said(line, lab, f"login,id\nada-new-2,{ada.id}\n") == ["line 2: ada-new-2: already invited"]
    listed = await invitations.class_list(line.pool, lab.lab_id)
    assert [each.account_id for each in listed] == [ada.id]


async def pool_forgets_rename(line: Line, account_id: int, login: str) -> None:
    """The database has not heard of the new login (the App was told of it only by this command)."""
    await line.pool.execute("UPDATE github_account SET login = $2 WHERE account_id = $1", account_id, login)


async def test_a_dry_run_stores_nothing(line: Line, lab: LabRecord) -> None:
    """The report is that of a real run, and the class list stays empty."""
    line.sandbox.add_account("ada-3")

    lines = await call(line, lab, "ada-3\nocto-ghost\n", dry_run=True, keep_unknown=True)

    assert count(lines) == {"invited": 1, "pending": 1}
    assert await invitations.class_list(line.pool, lab.lab_id) == ()


async def test_an_invited_learner_is_bound_and_another_is_not(line: Line, lab: LabRecord) -> None:
    """Enrolment by invitation: the invited learner's fork starts a session, the other's is told NO_SESSION."""
    line.sandbox.add_account("octo-friend-4")
    await call(line, lab, "octo-friend-4\n")
    invited = await line.sandbox.fork(lab.base_repo_full_name, "octo-friend-4")
    await line.sandbox.install("octo-friend-4", [invited.full_name])
    other = await fork_of(line, lab, "ada-4")

    assert await status(line, invited) == "IN_PROGRESS"
    assert await status(line, other) is None
    assert (await codes(line, other))[0] == "NO_SESSION"
    (row,) = await invitations.class_list(line.pool, lab.lab_id)
    assert row.session_id is not None
    counts = await labs.counts(line.pool, lab.lab_id)
    assert (counts.invited, counts.not_started, counts.started) == (1, 0, 1)


async def test_who_was_turned_away_need_not_push_again(line: Line, lab: LabRecord) -> None:
    """A learner who came before the class list is bound and judged as soon as the list is there."""
    fork = await fork_of(line, lab, "ada-5")
    assert await status(line, fork) is None

    await call(line, lab, "ada-5\n")
    await line.settle()

    assert await status(line, fork) == "IN_PROGRESS"
    head = await run("rev-parse", "main", cwd=fork.path)
    newest = max(line.sandbox.check_runs(fork.full_name, head), key=lambda each: int(each["id"]))
    assert newest["conclusion"] != "action_required"


async def test_a_kept_login_may_start_when_it_appears(line: Line, lab: LabRecord) -> None:
    """The account that installs the App under a kept login is invited from its first push on."""
    (told,) = await said(line, lab, "Ada-6\n", keep_unknown=True)
    assert told.startswith("line 1: Ada-6: kept as a login; unknown on GitHub")

    fork = await fork_of(line, lab, "ada-6")

    assert await status(line, fork) == "IN_PROGRESS"
    assert await said(line, lab, "ada-6\n") == ["line 1: ada-6: already invited"]


async def test_repositories_of_an_organisation(line: Line, lab: LabRecord) -> None:
    """A row with a repository binds that one to its learner; what is odd about the others is told."""
    sandbox = line.sandbox
    ada, lin = sandbox.add_account("ada-7"), sandbox.add_account("lin-7")
    fork = await sandbox.fork(lab.base_repo_full_name, WORK, name="lab-ada-7")
    await sandbox.fork(lab.base_repo_full_name, WORK, name="lab-lin-7")
    await sandbox.add_repository(WORK, "own-7")
    text = (
        "login,repository\n"
        f"ada-7,{WORK}/lab-ada-7\n"
        f"lin-7,{WORK}/lab-ada-7\n"
        f"lin-7,{WORK}/nowhere\n"
        f"lin-7,{lab.base_repo_full_name}\n"
        f"lin-7,{WORK}/own-7\n"
        "lin-7,4242\n"
    )

    assert await said(line, lab, text) == [
        f"line 2: ada-7: invited; the App is not installed on {WORK}/lab-ada-7 yet",
        f"line 3: lin-7: {WORK}/lab-ada-7 is another learner's by an earlier invitation",
        f"line 4: lin-7: repository {WORK}/nowhere: not found, or private and the App is not installed on it",
        f"line 5: lin-7: {lab.base_repo_full_name} is the lab's template, not a learner's repository",
        f"line 6: lin-7: invited; the App is not installed on {WORK}/own-7 yet; "
        f"{WORK}/own-7 does not come from {lab.base_repo_full_name}, as far as the App can see",
        "line 7: lin-7: is invited for another repository of this lab: `labs uninvite` first",
    ]
    assert await uninvite(line.pool, line.services.app, lab, [Row(login="lin-7")]) == [(Row(login="lin-7"), "removed")]
    await sandbox.install(WORK, "all")
    await line.settle()
    (session,) = await line.fetch("SELECT learner_account_id FROM lab_session WHERE lab_id = $1", lab.lab_id)
    assert session["learner_account_id"] == ada.id
    assert await status(line, fork) == "IN_PROGRESS"
    by_id = await line.sandbox.fork(lab.base_repo_full_name, WORK, name="lab-lin-7-b")
    await line.settle()
    (told,) = await said(line, lab, f"id,repository\n{lin.id},{by_id.id}\n")
    assert told.startswith(f"line 2: id {lin.id}: invited")


async def test_a_repository_whose_origin_is_hidden(line: Line, lab: LabRecord) -> None:
    """Nothing shows which lab it belongs to (as when the template is private): nothing happens until the list names
    it, then it is bound and judged without a push."""
    line.sandbox.add_account("ada-14")
    copy = await line.sandbox.add_repository("ada-14", "copy")
    await seed(copy, template_files())
    await line.sandbox.install("ada-14", [copy.full_name])
    await call(line, lab, "ada-14\n")
    await line.settle()
    assert await status(line, copy) is None

    assert await said(line, lab, f"ada-14,{copy.full_name}\n") == [
        f"line 1: ada-14: invited; {copy.full_name} does not come from {lab.base_repo_full_name}, "
        "as far as the App can see"
    ]
    await line.settle()

    assert await status(line, copy) == "IN_PROGRESS"
    assert line.sandbox.check_runs(copy.full_name, await run("rev-parse", "main", cwd=copy.path))


async def test_another_persons_fork_is_no_learners(line: Line, lab: LabRecord) -> None:
    """A repository of a person can only be that person's."""
    fork = await fork_of(line, lab, "ada-8")
    line.sandbox.add_account("lin-8")

    assert await said(line, lab, f"lin-8,{fork.full_name}\n") == [f"line 1: lin-8: {fork.full_name} belongs to ada-8"]


async def test_limits_are_waited_for_or_left_to_another_run(
    line: Line, lab: LabRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure that ends soon costs a wait; one that does not leaves its row over, and the others are stored."""
    for login in ("ada-9", "lin-9"):
        line.sandbox.add_account(login)
    failures = {"ada-9": 1, "lin-9": 99}
    waits: list[float] = []

    async def fault(request: web.BaseRequest) -> web.StreamResponse | None:
        login = request.path.rpartition("/users/")[2]
        if failures.get(login, 0) > 0:
            failures[login] -= 1
            return web.json_response({"message": "Server Error"}, status=502)
        return None

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    answered: list[tuple[int, int]] = []
    line.sandbox.faults.append(fault)
    try:
        lines = await call(
            line, lab, "ada-9\nlin-9\n", sleep=sleep, progress=lambda done, total: answered.append((done, total))
        )
    finally:
        line.sandbox.faults.remove(fault)

    assert [each.words() for each in lines] == [
        "line 1: ada-9: invited",
        "line 2: lin-9: GitHub did not answer; run the command again",
    ]
    assert answered == [(1, 2), (2, 2)]
    assert len(waits) == 1 + (invitees.TRIES - 1)


async def test_uninviting(line: Line, lab: LabRecord) -> None:
    """An unused invitation goes, a used one stays, and a kept login goes by its name."""
    fork = await fork_of(line, lab, "ada-10")
    line.sandbox.add_account("lin-10")
    await call(line, lab, "ada-10\nlin-10\nocto-ghost-10\n", keep_unknown=True)
    await line.settle()
    assert await status(line, fork) == "IN_PROGRESS"
    rows = parse(b"ada-10\nlin-10\nocto-ghost-10\nocto-nobody\nbad login\n").rows

    removals = await uninvite(line.pool, line.services.app, lab, rows)

    assert [removal for _, removal in removals] == ["used", "removed", "removed", "none", "problem"]


async def test_without_any_installation_nobody_can_be_asked(line: Line, lab: LabRecord, fresh_database: str) -> None:
    """An App that is installed nowhere has no way to look people up, and says so."""
    async with running_line(fresh_database) as empty:
        with pytest.raises(RegistryError, match="installed nowhere"):
            await invite(empty.pool, empty.services.app, replace(lab, base_installation_id=None), [Row(login="ada")])


# ------------------------------------------------------------------------------------------- enrolment and deadline


async def test_a_closed_lab_takes_nobody_and_opening_it_takes_those_who_wait(line: Line, lab: LabRecord) -> None:
    """ENROLMENT_CLOSED while closed, invited or not; once open, the same repository is bound without a push."""
    await labs.edit(line.pool, lab.lab_id, LabChange(enrolment=Enrolment.CLOSED))
    fork = await fork_of(line, lab, "ada-11")
    assert (await codes(line, fork))[0] == "ENROLMENT_CLOSED"
    await call(line, lab, "ada-11\n")
    await line.settle()
    assert await status(line, fork) is None

    await labs.edit(line.pool, lab.lab_id, LabChange(enrolment=Enrolment.OPEN))
    assert await look_again(line.pool, lab) >= 1
    await line.settle()

    assert await status(line, fork) == "IN_PROGRESS"


async def test_a_deadline_is_the_sessions_and_ends_it(line: Line, lab: LabRecord, tmp_path: Path) -> None:
    """The lab's deadline is copied into a session; a push after it is not judged, and the head says why."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
    await labs.edit(line.pool, lab.lab_id, LabChange(Enrolment.OPEN, sets_deadline=True, deadline=until))
    fork = await fork_of(line, lab, "ada-12")
    (session,) = await line.fetch("SELECT * FROM lab_session WHERE lab_id = $1", lab.lab_id)
    assert session["expires_at"] == until
    clone = await WorkingCopy.clone(line.sandbox, fork.full_name, "ada-12", tmp_path / "clone")

    passed = datetime.now(UTC) - timedelta(seconds=1)
    change = LabChange(sets_deadline=True, deadline=passed)
    assert await labs.edit(line.pool, lab.lab_id, change, also_running=True) == 1
    late = await clone.commit({"report/bug.md": "It counts one too many.\n"})
    await clone.push("HEAD")
    await line.settle()

    assert await status(line, fork) == "EXPIRED"
    assert (await codes(line, fork))[0] == "SESSION_EXPIRED"
    newest = max(line.sandbox.check_runs(fork.full_name, late), key=lambda each: int(each["id"]))
    assert newest["conclusion"] == "neutral"
    assert await line.fetch("SELECT 1 FROM push_attempt WHERE after_sha = $1", late) == []


async def test_nobody_begins_after_the_labs_deadline(line: Line, lab: LabRecord) -> None:
    """A lab that is over takes nobody: no session is made only to expire."""
    passed = datetime.now(UTC) - timedelta(seconds=1)
    await labs.edit(line.pool, lab.lab_id, LabChange(Enrolment.OPEN, sets_deadline=True, deadline=passed))

    fork = await fork_of(line, lab, "ada-13")

    assert (await codes(line, fork))[0] == "ENROLMENT_CLOSED"
    assert await line.fetch("SELECT 1 FROM lab_session WHERE lab_id = $1", lab.lab_id) == []
