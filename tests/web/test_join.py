"""/join/<lab> on the running App: what strangers and learners see, from nothing to the first verdict."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cli.demo_story import REPORT
from github.errors import NotFound, Transient
from rules.model import Account, AccountKind, Enrolment, LabRecord
from sandbox import Repository
from storage import invitations, joining, labs
from storage.invitations import Invitee
from tests.support.githost import WorkingCopy, seed
from tests.support.learners import COURSE, enrol, open_course, open_lab, template_files
from tests.support.line import Line, register_lab, running_line
from web.join_github import FORKS_A_MINUTE, KEEP_FORK, KEEP_SILENCE, Answers, Known
from web.join_values import Visit

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB, CLOSED = "word-counter", "invited-counter"
STATE = re.compile(r'<li data-state="(\w+)" data-move="(\w+)">')


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    """A running App where one signs in: a public lab, and one by invitation whose template is private."""
    async with running_line(module_database, sign_in=True) as line:
        await open_course(line)
        await open_lab(line, LAB, template_files())
        hidden = await line.sandbox.add_repository(COURSE, CLOSED, private=True)
        await seed(hidden, template_files())
        await line.settle()
        lab, _ = await register_lab(line, hidden.full_name)
        await line.pool.execute("UPDATE lab SET enrolment = 'invited' WHERE lab_id = $1", lab.lab_id)
        yield line


async def seen_by(line: Line, login: str, lab: str = LAB) -> str:
    """The lab's page as an account sees it."""
    account = line.sandbox.account(login)
    async with line.browser(account.id, login) as browser:
        answer = await browser.get(f"/join/{lab}")
        assert answer.status == 200
        return await answer.text()


def states(page: str) -> dict[str, str]:
    """State of each thing to do, by its name."""
    return {move: state for state, move in STATE.findall(page)}


async def forked(line: Line, login: str, name: str | None = None) -> Repository:
    """A new account with a fork of the public lab."""
    line.sandbox.add_account(login)
    return await line.sandbox.fork(f"{COURSE}/{LAB}", login, name=name)


async def lab_of(line: Line, slug: str = LAB) -> LabRecord:
    """The lab's record."""
    lab = await labs.by_slug(line.pool, slug)
    assert lab is not None
    return lab


# ---------------------------------------------------------------------------------------------------------- strangers


async def test_a_stranger_sees_the_three_things_to_do(line: Line) -> None:
    """Without signing in: what the lab is, where to fork, where to install, what is asked for, how to push."""
    page = await line.page(f"/join/{LAB}")

    assert "A lab with 5 steps" in page
    assert f"{line.sandbox.url}/{COURSE}/{LAB}/fork" in page
    assert f"/installations/new?state={LAB}" in page
    assert "Only select repositories" in page
    assert "git push origin main" in page
    assert f'href="/login?next=/join/{LAB}"' in page
    assert "data-state" not in page, "nothing is claimed about somebody unknown"
    assert {"metadata", "contents", "checks", "statuses"} == set(re.findall(r'data-permission="(\w+)"', page))


async def test_a_private_template_stays_hidden_from_strangers(line: Line) -> None:
    """Title and number of steps, and nothing about where it is; who is invited sees the rest."""
    assert COURSE not in await line.page(f"/join/{CLOSED}")

    person = line.sandbox.add_account("on-the-list")
    assert COURSE not in await seen_by(line, "on-the-list", CLOSED)
    account = Account(person.id, "on-the-list", AccountKind.USER)
    await invitations.invite(line.pool, (await lab_of(line, CLOSED)).lab_id, [Invitee(account)])
    assert f"{COURSE}/{CLOSED}/fork" in await seen_by(line, "on-the-list", CLOSED)


async def test_who_is_not_invited_is_told_so(line: Line) -> None:
    """By name, with whom to ask."""
    line.sandbox.add_account("uninvited")
    assert "uninvited is not on the list" in await seen_by(line, "uninvited", CLOSED)


@pytest.mark.parametrize("slug", ["nothing-here", "Nothing_Here", "x" * 65, "%00", "a'b", "..%2f"])
async def test_an_unknown_lab_is_a_page_that_says_so(line: Line, slug: str) -> None:
    """Whatever the address looks like, the answer is one and the same."""
    async with line.browser() as browser:
        answer = await browser.get(f"/join/{slug}")
        assert answer.status == 404
        other = await browser.get("/join/another-one")
        assert await answer.text() == await other.text()


# ----------------------------------------------------------------------------------------------------------- learners


async def test_a_fork_is_seen_before_the_app_is_installed(line: Line) -> None:
    """One's own public fork of the usual name counts at once; somebody else's, or another repository, does not."""
    await forked(line, "forked-one")
    page = await seen_by(line, "forked-one")
    assert states(page) == {"fork": "done", "install": "now", "push": "todo"}
    assert "<code>forked-one/word-counter</code>" in page

    line.sandbox.add_account("same-name")
    await line.sandbox.add_repository("same-name", LAB)
    assert states(await seen_by(line, "same-name")) == {"fork": "now", "install": "todo", "push": "todo"}


async def test_a_learner_is_led_to_the_first_verdict(line: Line, tmp_path: Path) -> None:
    """Installed, connected, pushed: each is shown as done, with the newest answer and the way to the session."""
    learner = await enrol(line, LAB, tmp_path)
    login = learner.fork.partition("/")[0]
    page = await seen_by(line, login)
    assert states(page) == {"fork": "done", "install": "done", "push": "now"}, "the greeting is no push"
    assert f"/sessions/{learner.session_id}" in page
    assert f"{line.sandbox.url}/{learner.fork}.git" in page

    head = await learner.push({"report/bug.md": REPORT})
    page = await seen_by(line, login)
    assert set(states(page).values()) == {"done"}
    assert f"Commit {head[:7]}: accepted." in page

    await learner.push({"CHANGELOG.md": "Too early\n"})
    assert ": blocked." in await seen_by(line, login)


async def test_the_page_changes_by_itself(line: Line, tmp_path: Path) -> None:
    """An open page hears of the learner's push from the server."""
    learner = await enrol(line, LAB, tmp_path)
    login = learner.fork.partition("/")[0]
    account = line.sandbox.account(login)
    async with line.browser(account.id, login) as browser, asyncio.timeout(20):
        page = await (await browser.get(f"/join/{LAB}")).text()
        live = re.search(r'data-events="([^"]+)"', page)
        assert live is not None
        async with browser.get(live[1]) as stream:
            assert stream.status == 200
            pushing = asyncio.create_task(learner.push({"report/bug.md": REPORT}))
            heard = ""
            while f"data: {learner.session_id}" not in heard:
                heard += (await stream.content.readline()).decode()
            await pushing


async def test_the_app_on_the_wrong_repository_is_said(line: Line) -> None:
    """With the repository that it is on, the fork that it should be on, and where to change it."""
    fork = await forked(line, "went-wrong")
    other = await line.sandbox.add_repository("went-wrong", "something-else")
    installation = await line.sandbox.install("went-wrong", [other.full_name])
    await line.settle()

    page = await seen_by(line, "went-wrong")
    assert "installed on went-wrong/something-else" in page
    assert f"Your fork {fork.full_name} is not among them" in page
    assert f"/settings/installations/{installation.id}" in page


async def test_a_second_fork_is_explained(line: Line, tmp_path: Path) -> None:
    """The session stays where it is, and the page says which repository is the extra one."""
    learner = await enrol(line, LAB, tmp_path)
    login = learner.fork.partition("/")[0]
    second = await line.sandbox.fork(f"{COURSE}/{LAB}", login, name="again")
    (installation,) = [each for each in line.sandbox.installations if each.account.login == login]
    await line.sandbox.select(installation.id, add=[second.full_name])
    await line.settle()

    page = await seen_by(line, login)
    assert f"{login}/again is a second repository of this lab" in page
    assert f"Your session goes on in {learner.fork}" in page


async def test_a_fork_in_an_organisation_is_explained_to_who_pushed(line: Line, tmp_path: Path) -> None:
    """Whoever pushes to an organisation's fork finds out why nothing is judged there."""
    line.sandbox.add_account("octo-company", "Organization")
    line.sandbox.add_account("employee")
    fork = await line.sandbox.fork(f"{COURSE}/{LAB}", "octo-company")
    line.sandbox.add_collaborator(fork.full_name, "employee")
    await line.sandbox.install("octo-company", [fork.full_name])
    clone = await WorkingCopy.clone(line.sandbox, fork.full_name, "employee", tmp_path / "company")
    await clone.commit({"report/bug.md": REPORT})
    await clone.push()
    await line.settle()

    assert f"{fork.full_name} belongs to an organisation" in await seen_by(line, "employee")
    line.sandbox.add_account("nobody-there")
    assert "octo-company" not in await seen_by(line, "nobody-there"), "other people's repositories are not told"


async def test_a_refused_fork_is_welcome_after_the_invitation(line: Line) -> None:
    """Refused first, invited then: the page says that one more push is all it takes."""
    person = line.sandbox.add_account("later-on")
    line.sandbox.add_collaborator(f"{COURSE}/{CLOSED}", "later-on")
    fork = await line.sandbox.fork(f"{COURSE}/{CLOSED}", "later-on")
    await line.sandbox.install("later-on", [fork.full_name])
    await line.settle()
    lab = await lab_of(line, CLOSED)
    assert lab.enrolment is Enrolment.INVITED
    assert "not on the list" in await seen_by(line, "later-on", CLOSED)

    account = Account(person.id, "later-on", AccountKind.USER)
    await invitations.invite(line.pool, lab.lab_id, [Invitee(account)])
    assert "turned away before you were invited" in await seen_by(line, "later-on", CLOSED)


async def test_hostile_logins_and_titles_stay_text(line: Line) -> None:
    """What a title or a login holds is shown, never run."""
    lab = await lab_of(line)
    await line.pool.execute("UPDATE lab SET title = '<script>alert(1)</script>' WHERE lab_id = $1", lab.lab_id)
    try:
        async with line.browser(987654, '"><img src=x>') as browser:
            page = await (await browser.get(f"/join/{LAB}")).text()
    finally:
        await line.pool.execute("UPDATE lab SET title = $2 WHERE lab_id = $1", lab.lab_id, lab.title)
    assert "<script>alert" not in page
    assert "<img" not in page


# ------------------------------------------------------------------------------------------------------ asking GitHub


async def test_answers_are_kept_and_asked_for_once() -> None:
    """The same question at the same time is one request; later it is asked again."""
    now, asked = 0.0, 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return asked

    answers: Answers[int] = Answers(KEEP_FORK, clock=lambda: now)
    assert await asyncio.gather(*(answers.get("key", ask) for _ in range(5))) == [1] * 5
    assert await answers.get("other", ask) == 2
    now = KEEP_FORK + 1
    assert await answers.get("key", ask) == 3


async def test_silence_is_kept_for_a_moment_only() -> None:
    """When GitHub fails the page does without, does not insist, and asks again soon."""
    now, asked = 0.0, 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        raise Transient("away")

    answers: Answers[int] = Answers(KEEP_FORK, clock=lambda: now)
    assert [await answers.get("key", ask), await answers.get("key", ask), asked] == [None, None, 1]
    now = KEEP_SILENCE + 1
    assert [await answers.get("key", ask), asked] == [None, 2]


async def test_forks_are_not_looked_for_without_end(line: Line) -> None:
    """However many people watch the page, the token that judging needs too is not used up; then nothing is denied."""
    lab = await lab_of(line)
    known = Known(clock=lambda: 0.0)

    async def look(account_id: int) -> bool:
        standing = await joining.standing(line.pool, lab.lab_id, account_id, f"watcher-{account_id}")
        visit = Visit(account_id, f"watcher-{account_id}", standing=standing)
        return (await known.look(line.services.app, lab, lab.base_installation_id, visit)).fork_known

    found = [await look(10_000 + number) for number in range(FORKS_A_MINUTE + 2)]
    assert found == [True] * FORKS_A_MINUTE + [False] * 2


async def test_a_template_that_cannot_be_read_is_treated_as_private(line: Line) -> None:
    """Not found at GitHub is no error page: the lab is shown as to a stranger."""
    lab = await lab_of(line)
    client = line.services.app.installation(lab.base_installation_id or 0)
    with pytest.raises(NotFound):
        await client.offer(f"{COURSE}/gone")
    await line.pool.execute(
        "INSERT INTO lab (slug, title, base_repo_id, base_repo_full_name, base_installation_id) "
        "VALUES ('gone', 'gone', 4242, $1, $2)",
        f"{COURSE}/gone",
        lab.base_installation_id,
    )
    page = await line.page("/join/gone")
    assert "not published yet" in page
    assert COURSE not in page
