"""What /join tells a visitor: how far they are, and each thing that can be in the way."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from github.values import AppRecord, Offer
from rules.model import (
    Account,
    AccountKind,
    BindingCode,
    Enrolment,
    LabRecord,
    LabVersion,
    Outcome,
    Repo,
    Session,
    SessionStatus,
)
from storage.joining import Enrolled, Installed, Judgement, Refusal, Standing
from tests.support.reports import LAB
from web.join_page import EXTRA_PERMISSIONS, PERMISSIONS, JoinPage, page_of
from web.join_values import FromGitHub, Lab, Visit

ROOT = Path(__file__).parents[2]
NOW = datetime(2031, 5, 1, tzinfo=UTC)
ME, WEB = 501, "https://github.example.com"
RECORD = LabRecord(7, "word-counter", LAB.title, 900, "octo-course/counter", 70, Enrolment.OPEN, None)
VERSION = LabVersion(12, 7, 1, "7e" * 20, "7f" * 20, LAB, "digest")
APP = AppRecord(1, "stepgate", "Stepgate", "octo-course", dict.fromkeys(PERMISSIONS, "read"), ())
OPEN, PRIVATE = Offer(private=False, is_template=False), Offer(private=True, is_template=False)
SESSION = Session(UUID(int=9), 7, 12, ME, SessionStatus.IN_PROGRESS, 0, None, None, NOW)
FORK = Repo(901, "learner-one/counter", Account(ME, "learner-one", AccountKind.USER), False, "main")
LAST = Judgement(Outcome.ACCEPTED, "refs/heads/main", "ab" * 20, 0, NOW)
NOBODY = Standing(invited=False, enrolled=None, refusals=(), installations=())
ENROLLED = Enrolled(SESSION, FORK.repo_id, FORK.full_name, None, None, None)


def page(standing: Standing | None = NOBODY, *, seen: FromGitHub | None = None, **lab: Any) -> JoinPage:
    """The page of the lab for learner-one (for nobody without `standing`); `lab`: what is special about it."""
    version = lab.pop("version", VERSION)
    visit = Visit() if standing is None else Visit(ME, "learner-one", standing=standing)
    github = seen or FromGitHub(APP, OPEN, fork_known=True)
    return page_of(Lab(replace(RECORD, **lab), version, NOW), visit, github, web_url=WEB, check_name="forgea/steps")


def enrolled(**more: Any) -> Standing:
    """Somebody with a session; `more`: fields of the session or of Enrolled."""
    session = {name: more.pop(name) for name in ("status", "deferred_by") if name in more}
    return replace(NOBODY, enrolled=replace(ENROLLED, session=replace(SESSION, **session), **more))


def refused(code: BindingCode, *, repo_id: int = FORK.repo_id, owner: int = ME) -> Refusal:
    """A refusal of learner-one/counter, or of another repository."""
    return Refusal(code, repo_id, "learner-one/counter" if repo_id == FORK.repo_id else "someone/else", owner, NOW)


def installed(*repositories: tuple[int, str], suspended: bool = False) -> Installed:
    """An installation on the learner's account."""
    ids, names = frozenset(number for number, _ in repositories), tuple(name for _, name in repositories)
    return Installed(31, suspended, ids, names[:10])


def words(shown: JoinPage) -> str:
    """All notes."""
    return " ".join(note.text for note in shown.notes)


def test_the_table_of_permissions_is_the_manifests() -> None:
    """What is explained is exactly what app.yml asks for; an extra one is named there as a comment."""
    text = (ROOT / "app.yml").read_text()
    assert {name: access for name, (access, _) in PERMISSIONS.items()} == yaml.safe_load(text)["default_permissions"]
    assert all(f"# {name}: {access}" in text for name, (access, _) in EXTRA_PERMISSIONS.items())


def test_an_extra_permission_is_told_where_the_app_has_it() -> None:
    """`actions` is explained by those Apps only that ask for it."""
    more = replace(APP, permissions={**APP.permissions, "actions": "read"})
    assert [each.name for each in page().permissions] == list(PERMISSIONS)
    assert [each.name for each in page(seen=FromGitHub(more, OPEN)).permissions] == [*PERMISSIONS, "actions"]


def test_where_the_app_is_installed_from() -> None:
    """The address that GitHub tells (it is another one on an enterprise server), with the lab for the way back."""
    assert page().install_url == f"{WEB}/apps/stepgate/installations/new?state=word-counter"
    told = replace(APP, html_url="https://github.example.com/github-apps/stepgate")
    assert page(seen=FromGitHub(told, OPEN)).install_url == f"{told.html_url}/installations/new?state=word-counter"
    assert page(seen=FromGitHub()).install_url is None


@pytest.mark.parametrize(
    ("standing", "fork", "moves"),
    [
        pytest.param(None, None, None, id="not signed in"),
        pytest.param(NOBODY, None, ("now", "todo", "todo"), id="nothing"),
        pytest.param(NOBODY, FORK, ("done", "now", "todo"), id="forked"),
        pytest.param(
            replace(NOBODY, installations=(installed((5, "learner-one/other")),)),
            FORK,
            ("done", "now", "todo"),
            id="installed elsewhere",
        ),
        pytest.param(
            replace(NOBODY, installations=(installed((FORK.repo_id, FORK.full_name)),)),
            FORK,
            ("done", "done", "now"),
            id="installed",
        ),
        pytest.param(
            replace(NOBODY, installations=(installed((FORK.repo_id, FORK.full_name), suspended=True),)),
            FORK,
            ("done", "now", "todo"),
            id="suspended",
        ),
        pytest.param(enrolled(), None, ("done", "done", "now"), id="connected"),
        pytest.param(enrolled(first_push=NOW, last=LAST), None, ("done", "done", "done"), id="pushed"),
        pytest.param(enrolled(repo_id=None, first_push=NOW), None, ("now", "todo", "todo"), id="repository gone"),
    ],
)
def test_how_far_one_is(standing: Standing | None, fork: Repo | None, moves: Any) -> None:
    """Each of the three things is done, to be done now, or later; who is not signed in is told none of it."""
    assert page(standing, seen=FromGitHub(APP, OPEN, fork, fork_known=True)).moves == moves


def test_each_state_has_a_sentence_of_its_own() -> None:
    """What is read out when it changes differs from state to state."""
    forked = FromGitHub(APP, OPEN, FORK)
    done = enrolled(first_push=NOW)
    assert len({page().summary, page(seen=forked).summary, page(enrolled()).summary, page(done).summary}) == 4


def test_a_private_template_is_not_named() -> None:
    """A stranger sees title and number of steps; where the template is, when it ends and its branch stay hidden."""
    hidden = page(seen=FromGitHub(APP, PRIVATE), deadline=NOW)
    assert (hidden.title, hidden.steps) == (LAB.title, 5)
    assert (hidden.ways, hidden.commands, hidden.deadline, hidden.is_over) == (None, (), None, False)
    assert "octo-course" not in str(replace(hidden, permissions=()))
    assert page(seen=FromGitHub(APP)).ways is None, "what GitHub does not say to be public is private"


@pytest.mark.parametrize("standing", [replace(NOBODY, invited=True), enrolled()], ids=["invited", "enrolled"])
def test_who_belongs_to_the_lab_sees_a_private_template(standing: Standing) -> None:
    """An invitation or a session opens it."""
    ways = page(standing, seen=FromGitHub(APP, PRIVATE)).ways
    assert ways is not None
    assert ways.template == "octo-course/counter"


def test_staff_see_a_private_template() -> None:
    """Staff need no invitation."""
    visit = Visit(None, "This machine", is_staff=True)
    shown = page_of(Lab(RECORD, VERSION, NOW), visit, FromGitHub(APP, PRIVATE), web_url=WEB, check_name="c")
    assert shown.ways is not None


def test_an_unpublished_lab_is_not_named_to_strangers() -> None:
    """Before it is published a lab's title is its repository's name: strangers see what they typed."""
    shown = page(None, seen=FromGitHub(APP, PRIVATE), version=None, title="secret-lab")
    assert (shown.title, shown.steps) == ("word-counter", None)
    assert "not published yet" in words(shown)


def test_the_ways_to_a_copy() -> None:
    """Fork always; generate only of a template repository; the learner's names in what is to be pasted."""
    ways = page().ways
    assert ways is not None
    assert ways.fork_url == f"{WEB}/octo-course/counter/fork"
    assert ways.generate_url is None
    assert (ways.clone_url, ways.folder) == (f"{WEB}/learner-one/counter.git", "counter")
    template = page(seen=FromGitHub(APP, Offer(private=False, is_template=True))).ways
    assert template is not None
    assert template.generate_url == f"{WEB}/octo-course/counter/generate"
    renamed = page(enrolled(repo_full_name="learner-one/mine")).ways
    assert renamed is not None
    assert renamed.clone_url == f"{WEB}/learner-one/mine.git"


@pytest.mark.parametrize(
    ("standing", "lab", "said"),
    [
        pytest.param(NOBODY, {"version": None}, "not published yet", id="not published"),
        pytest.param(NOBODY, {"enrolment": Enrolment.CLOSED}, "takes nobody in any more", id="closed"),
        pytest.param(NOBODY, {"enrolment": Enrolment.INVITED}, "learner-one is not on the list", id="not invited"),
        pytest.param(NOBODY, {"deadline": NOW - timedelta(days=1)}, "deadline of this lab has passed", id="over"),
        pytest.param(enrolled(status=SessionStatus.VERIFIED_PASS), {}, "completed this lab", id="complete"),
        pytest.param(enrolled(status=SessionStatus.EXPIRED), {}, "they can extend it", id="expired"),
        pytest.param(
            enrolled(status=SessionStatus.DEFERRED, deferred_by="staff"), {}, "have paused your session", id="paused"
        ),
        pytest.param(
            enrolled(status=SessionStatus.DEFERRED, deferred_by="installation"),
            {},
            "cannot see learner-one/counter any more",
            id="taken off",
        ),
        pytest.param(enrolled(repo_id=None), {}, "has no repository any more", id="repository gone"),
        pytest.param(
            enrolled(elsewhere=replace(LAST, ref="refs/heads/idea")),
            {},
            "push to branch idea was answered as a preview. The lab counts on branch main",
            id="another branch",
        ),
        pytest.param(
            replace(NOBODY, installations=(installed(),)), {}, "installed, but on no repository", id="no repository"
        ),
        pytest.param(
            replace(NOBODY, installations=(installed((5, "learner-one/other")),)),
            {},
            "installed on learner-one/other. No fork of this lab is known there",
            id="wrong repository",
        ),
        pytest.param(
            replace(NOBODY, installations=(installed((5, "a/b"), suspended=True),)), {}, "suspended", id="suspended"
        ),
        pytest.param(
            replace(enrolled(), refusals=(refused(BindingCode.MAPPING_CONFLICT, repo_id=77),)),
            {},
            "someone/else is a second repository of this lab",
            id="second fork",
        ),
        pytest.param(
            replace(NOBODY, refusals=(refused(BindingCode.NO_SESSION, repo_id=77, owner=88),)),
            {},
            "someone/else belongs to an organisation",
            id="organisation",
        ),
        pytest.param(
            replace(NOBODY, invited=True, refusals=(refused(BindingCode.NO_SESSION),)),
            {"enrolment": Enrolment.INVITED},
            "turned away before you were invited. Push to it once more",
            id="invited since",
        ),
        pytest.param(
            replace(NOBODY, refusals=(refused(BindingCode.LAB_HAS_NO_VERSION),)),
            {},
            "came before the lab was published. Push to it once more",
            id="published since",
        ),
        pytest.param(
            replace(NOBODY, refusals=(refused(BindingCode.OWNER_CHANGED),)), {}, "has another owner", id="transferred"
        ),
    ],
)
def test_what_is_in_the_way_is_told(standing: Standing, lab: dict[str, Any], said: str) -> None:
    """Each problem has a sentence that says what to do."""
    assert said in words(page(standing, **lab))


@pytest.mark.parametrize(
    "standing",
    [
        pytest.param(NOBODY, id="nothing done"),
        pytest.param(enrolled(first_push=NOW, last=LAST), id="at work"),
        pytest.param(
            replace(enrolled(), refusals=(refused(BindingCode.NO_SESSION),)), id="refused once, connected since"
        ),
        pytest.param(
            replace(enrolled(), refusals=(refused(BindingCode.NO_SESSION, repo_id=77),)), id="another one refused"
        ),
        pytest.param(
            replace(enrolled(), installations=(installed((5, "learner-one/other")),)), id="another repository as well"
        ),
    ],
)
def test_where_nothing_is_in_the_way_nothing_is_said(standing: Standing) -> None:
    """What has been overtaken is not told any more."""
    assert page(standing).notes == ()


def test_a_refused_repository_is_not_called_a_wrong_one() -> None:
    """The reason of the refusal is told, not that the App is installed on the wrong repository."""
    standing = replace(
        NOBODY,
        refusals=(refused(BindingCode.NO_SESSION),),
        installations=(installed((FORK.repo_id, FORK.full_name)),),
    )
    told = words(page(standing, seen=FromGitHub(APP, OPEN, FORK), enrolment=Enrolment.INVITED))
    assert "not on the list" in told
    assert "installed on" not in told
    assert "takes a few seconds" not in told


def test_a_fork_that_the_app_has_just_seen_is_waited_for() -> None:
    """Between GitHub's word and the first check nothing looks wrong."""
    standing = replace(NOBODY, installations=(installed((FORK.repo_id, FORK.full_name)),))
    (note,) = page(standing, seen=FromGitHub(APP, OPEN, FORK)).notes
    assert (note.level, "takes a few seconds" in note.text) == ("wait", True)


def test_wrong_repositories_are_named_with_what_to_do() -> None:
    """The first ones by name, the rest as a number, the fork to add, and the page of GitHub where it is done."""
    names = tuple((number, f"learner-one/r{number}") for number in range(12))
    (note,) = page(replace(NOBODY, installations=(installed(*names),)), seen=FromGitHub(APP, OPEN, FORK)).notes
    assert "learner-one/r2 and 9 more" in note.text
    assert "learner-one/counter is not among them: add it" in note.text
    assert note.link == (f"{WEB}/settings/installations/31", "Change it on GitHub")


def test_where_forks_cannot_be_seen_none_is_denied() -> None:
    """With a private template nobody can say that a repository is no fork of it."""
    standing = replace(NOBODY, installations=(installed((5, "learner-one/other")),))
    assert "If yours is missing, add it" in words(page(standing, seen=FromGitHub(APP, PRIVATE)))


def test_commands_can_be_pasted_whatever_the_branch_is_called() -> None:
    """A branch's name is the author's: it is quoted for the shell, or there are no commands."""
    rude = replace(VERSION, lab=replace(LAB, branch="main;touch x"))
    assert page(version=rude).commands[-1] == "git push origin 'main;touch x'"
    assert page(version=replace(VERSION, lab=replace(LAB, branch="ma\ufffdin"))).commands == ()
    assert page().commands[1] == "cd counter"


def test_the_newest_answer_is_told_with_the_session() -> None:
    """Commit and verdict in words, and the way to the session's page."""
    shown = page(enrolled(first_push=NOW, last=replace(LAST, outcome=Outcome.BLOCKED)))
    assert shown.answer == "Commit abababa: blocked."
    assert shown.session_url == f"/sessions/{SESSION.session_id}"
    assert page(enrolled(last=replace(LAST, violations=2))).answer == "Commit abababa: accepted, with warnings."
