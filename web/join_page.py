"""The page /join/<lab> in plain words: what one does to start a lab, and how far one is. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import quote, urlencode

from github.values import AppRecord
from rules.escape import shell_quote
from rules.model import Enrolment, Outcome
from rules.report_commands import can_name
from storage.joining import Enrolled, Standing
from web.join_notes import Note, notes_for
from web.join_values import FromGitHub, Lab, Visit
from web.session_lines import VERDICT_WORDS

State = Literal["done", "now", "todo"]

#: What the App asks for (app.yml has the same, and a test compares them): permission, access, what it is used for.
PERMISSIONS: Mapping[str, tuple[str, str]] = {
    "metadata": ("read", "which repository this is, and that it is a fork of the lab"),
    "contents": ("read", "what you pushed. No file of yours is ever changed, and nothing is ever pushed"),
    "checks": ("write", "the answer to each push, as a check on your commit"),
    "statuses": ("write", "the same answer as a commit status, for pages that show only those"),
}
#: What a manifest may add for labs whose steps look at workflow runs.
EXTRA_PERMISSIONS: Mapping[str, tuple[str, str]] = {
    "actions": ("read", "whether your workflow runs passed: some steps of a lab here ask for that"),
}


@dataclass(frozen=True, slots=True)
class Permission:
    """A line of the table of permissions."""

    name: str
    access: str
    why: str


@dataclass(frozen=True, slots=True)
class Ways:
    """Where one goes, for those who may know where the template is. `generate_url`: only of a template repository.

    `fork_name`: what the fork is called, or will be; `clone_url`, `folder`: of the fork, or as they will be.
    """

    template: str
    template_url: str
    fork_url: str
    generate_url: str | None
    fork_name: str
    clone_url: str
    folder: str


@dataclass(frozen=True, slots=True)
class JoinPage:
    """All that the page shows. `ways`, `deadline` None: not for this visitor (a private template).

    `commands`: from the fork to a first push, to be pasted into a shell; none if they are not for this visitor, or if a
    name cannot be spelled there. `moves`: states of the three things to do; None for who is not signed in.
    `session_url`: of one's own session.
    """

    slug: str
    title: str
    steps: int | None
    enrolment: str
    ways: Ways | None
    install_url: str | None
    permissions: tuple[Permission, ...]
    check_name: str
    commands: tuple[str, ...]
    deadline: datetime | None
    is_over: bool
    login: str
    moves: tuple[State, State, State] | None
    summary: str
    notes: tuple[Note, ...]
    session_url: str | None
    answer: str | None


def page_of(lab: Lab, visit: Visit, seen: FromGitHub, *, web_url: str, check_name: str) -> JoinPage:
    """Put it into words. `web_url`: GitHub's pages, without trailing slash."""
    record, standing = lab.record, visit.standing
    enrolled = standing.enrolled if standing is not None else None
    entitled = visit.is_staff or (standing is not None and (standing.invited or enrolled is not None))
    may_know = entitled or (seen.offer is not None and not seen.offer.private)
    moves = _moves(standing, seen) if standing is not None else None
    ways = _ways(lab, visit, seen, web_url) if may_know else None
    return JoinPage(
        slug=record.slug,
        title=record.title if may_know or lab.version is not None else record.slug,
        steps=len(lab.version.lab.steps) if lab.version is not None else None,
        enrolment=_ENROLMENT[record.enrolment],
        ways=ways,
        install_url=install_url(seen.app, web_url, record.slug),
        permissions=_permissions(seen.app),
        check_name=check_name,
        commands=_commands(ways, lab) if ways is not None else (),
        deadline=record.deadline if may_know else None,
        is_over=may_know and lab.is_over,
        login=visit.login,
        moves=moves,
        summary=_summary(moves),
        notes=tuple(notes_for(lab, visit, seen, web_url)),
        session_url=f"/sessions/{enrolled.session.session_id}" if enrolled is not None else None,
        answer=_answer(enrolled),
    )


_ENROLMENT: Mapping[Enrolment, str] = {
    Enrolment.OPEN: "Everybody can start this lab.",
    Enrolment.INVITED: "This lab is by invitation: the people who run it have a list of who can start it.",
    Enrolment.CLOSED: "This lab takes nobody in any more. Those who have started it can go on.",
}


def install_url(app: AppRecord | None, web_url: str, slug: str) -> str | None:
    """Where the App is installed from; GitHub hands `state` on to /installed. None: it is not known.

    (GitHub docs, "Sharing your GitHub App": the App's page, with /installations/new and a state parameter.)
    """
    if app is None or not (app.html_url or app.slug):
        return None
    page = app.html_url or f"{web_url}/apps/{quote(app.slug)}"
    return f"{page}/installations/new?{urlencode({'state': slug})}"


def _permissions(app: AppRecord | None) -> tuple[Permission, ...]:
    asked = set(app.permissions) if app is not None else set()
    table = {**PERMISSIONS, **{name: row for name, row in EXTRA_PERMISSIONS.items() if name in asked}}
    return tuple(Permission(name, access, why) for name, (access, why) in table.items())


def _ways(lab: Lab, visit: Visit, seen: FromGitHub, web_url: str) -> Ways:
    template = lab.record.base_repo_full_name
    enrolled = visit.standing.enrolled if visit.standing is not None else None
    fork = f"{visit.login or 'YOUR-LOGIN'}/{template.partition('/')[2]}"
    if seen.fork is not None:
        fork = seen.fork.full_name
    if enrolled is not None and enrolled.repo_id is not None and enrolled.repo_full_name:
        fork = enrolled.repo_full_name
    generate = seen.offer is not None and seen.offer.is_template
    return Ways(
        template=template,
        template_url=f"{web_url}/{quote(template)}",
        fork_url=f"{web_url}/{quote(template)}/fork",
        generate_url=f"{web_url}/{quote(template)}/generate" if generate else None,
        fork_name=fork,
        clone_url=f"{web_url}/{quote(fork)}.git",
        folder=fork.partition("/")[2],
    )


def _commands(ways: Ways, lab: Lab) -> tuple[str, ...]:
    """What a shell is given: a branch's name is the author's, and may hold anything."""
    branch = (lab.version.lab.branch if lab.version is not None else None) or "main"
    if not can_name(branch):
        return ()
    return (
        f"git clone --branch {shell_quote(branch)} {shell_quote(ways.clone_url)}",
        f"cd {shell_quote(ways.folder)}",
        "# change files here",
        "git add --all",
        'git commit -m "Work on step 1"',
        f"git push origin {shell_quote(branch)}",
    )


# ------------------------------------------------------------------------------------------------------ how far one is


def _moves(standing: Standing, seen: FromGitHub) -> tuple[State, State, State]:
    enrolled = standing.enrolled
    bound = enrolled is not None and enrolled.repo_id is not None
    forked = bound or seen.fork is not None
    installed = bound or (seen.fork is not None and standing.covers(seen.fork.repo_id))
    pushed = bound and enrolled is not None and enrolled.first_push is not None
    states: list[State] = []
    for done in (forked, installed, pushed):
        states.append("done" if done else "todo" if "now" in states else "now")
    return states[0], states[1], states[2]


_SUMMARIES: tuple[str, ...] = (
    "Nothing is done yet: begin with your fork.",
    "Your fork is there: install the App on it.",
    "Your fork is connected: push something.",
    "You have started: each push is answered.",
)


def _summary(moves: tuple[State, State, State] | None) -> str:
    """How far one is in a sentence; it is read out when it changes."""
    if moves is None:
        return ""
    return _SUMMARIES[moves.index("now") if "now" in moves else len(moves)]


def _answer(enrolled: Enrolled | None) -> str | None:
    """The newest answer to work on the lab's branch."""
    if enrolled is None or enrolled.last is None:
        return None
    last = enrolled.last
    words = VERDICT_WORDS[last.outcome]
    if last.outcome is Outcome.ACCEPTED and last.violations:
        words += ", with warnings"
    return f"Commit {last.after_sha[:7]}: {words}."
