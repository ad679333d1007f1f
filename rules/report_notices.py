"""What is told about heads without a verdict: those that cannot be verified, rejected ones, those of closed sessions.

None of it is the learner's fault, and none of it tells who else is in a lab. Each function gives a title and the lines
of a summary in Markdown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from rules.escape import clip, escape, words
from rules.model import BindingCode, CannotVerify, SessionStatus
from rules.report_text import ReportContext, ReportStatus, utc
from rules.session import DeferredBy

Notice = tuple[str, list[str]]


@dataclass(frozen=True, slots=True)
class NoticeContext:
    """What a notice needs: a report on a head that is not judged. `session_id`, `session_url`: None where there is no
    session, or where it is another person's. `join_url`: the lab's page. `lab_title` "" where no lab is known."""

    check_name: str
    head_sha: str
    repo_full_name: str
    lab_title: str = ""
    session_id: UUID | None = None
    session_url: str | None = None
    join_url: str | None = None
    report_status: ReportStatus = "always"
    deadline: datetime | None = None
    clears_failure: bool = False


def footer(context: ReportContext | NoticeContext) -> list[str]:
    """The last line: the way to the session page, and the deadline."""
    parts = [f"[Open the session page]({context.session_url})"] if context.session_url else []
    if context.deadline is not None:
        parts.append(f"Deadline: {utc(context.deadline)}")
    return [" · ".join(parts)]


# Title, and what it means: never the learner's fault.
_UNVERIFIED: dict[str, tuple[str, str]] = {
    "TRUNCATED": (
        "GitHub did not list all files",
        "This repository has more files than GitHub lists, so this commit could not be looked at as a whole. This says "
        "nothing about your work. Folders of generated files (such as `node_modules`) are a frequent reason: "
        "if you have one, take it off the branch and push again. If not, tell the people who run the lab.",
    ),
    "TOO_LARGE": (
        "too much to look at in one go",
        "This commit changes more than is looked at in one go. This says nothing about your work. Folders of generated "
        "files (such as `node_modules`) are a frequent reason: if you have one, take it off the branch and push again. "
        "If not, tell the people who run the lab.",
    ),
    "HEAD_GONE": (
        "the commit is not there any more",
        "GitHub does not have this commit any more. If you have pushed since, the newer commit has its own answer. If "
        "not, push once more.",
    ),
    "LAB_FILE": (
        "the rules of the lab have a mistake",
        "The rules of this lab could not be applied. That is a mistake of the lab, not yours: your work is safe, and "
        "you need not do anything. Tell the people who run the lab, they have to repair it. This commit is looked at "
        "again after that.",
    ),
    "GITHUB": (
        "GitHub did not answer",
        "GitHub did not answer as it should, so this commit could not be looked at. That has nothing to do with your "
        "work, and you need not do anything: it is tried again by itself.",
    ),
}


def cannot_verify(verdict: CannotVerify, context: ReportContext) -> Notice:
    """A head that could not be read completely, or judged within the budget."""
    what, why = _UNVERIFIED[verdict.reason]
    lines = [f"**Not verified: {what}.**", "", why, ""]
    if verdict.reason == "LAB_FILE" and verdict.detail:
        lines += [f"For the author of the lab: {escape(clip(verdict.detail, 1_000))}", ""]
    return f"Not verified: {what}", [*lines, *footer(context)]


# Title, what it means, what to do. Nothing here tells who else is in a lab.
_REJECTIONS: dict[BindingCode, tuple[str, str, str]] = {
    BindingCode.NO_SESSION: (
        "You are not enrolled in this lab yet",
        "This repository comes from a lab that is by invitation, and there is none for it.",
        "Ask the people who run the lab to invite you. Then press *Check again* here, or push again.",
    ),
    BindingCode.ENROLMENT_CLOSED: (
        "Enrolment in this lab is closed",
        "This repository comes from a lab that takes nobody in any more.",
        "Ask the people who run the lab if you think that you should be in.",
    ),
    BindingCode.AMBIGUOUS: (
        "Several sessions fit this repository",
        "You have more than one session of this lab, and nothing tells which of them this repository belongs to.",
        "Ask the people who run the lab to choose one. Your push is safe and is looked at after that.",
    ),
    BindingCode.OWNER_CHANGED: (
        "This repository has a new owner",
        "Its session belongs to the account that owned it before.",
        "Transfer it back and push again, and all goes on as before. If the transfer is meant, ask the people who run "
        "the lab to link the repository again.",
    ),
    BindingCode.LEARNER_MISMATCH: (
        "This repository belongs to another account than its session",
        "A session belongs to one person, and this repository is another account's.",
        "Work in a fork that your own account owns, or ask the people who run the lab.",
    ),
    BindingCode.MAPPING_CONFLICT: (
        "Your session has another repository",
        "A session has one repository, and yours already has one.",
        "Push to that one. If you want to go on here, ask the people who run the lab to link this repository instead.",
    ),
    BindingCode.LAB_HAS_NO_VERSION: (
        "This lab is not published yet",
        "Its rules are not there yet. That is not your doing, and your push is safe.",
        "Tell the people who run the lab. When they say that it is ready, press *Check again* here, or push again.",
    ),
}

_CLOSED: dict[tuple[SessionStatus, DeferredBy | None], tuple[str, str]] = {
    (SessionStatus.VERIFIED_PASS, None): (
        "Lab complete: not judged any more",
        "You have completed this lab. Push whatever you like: nothing can be lost.",
    ),
    (SessionStatus.DEFERRED, "staff"): (
        "Paused: not judged for now",
        "The people who run the lab have paused this session. Your progress is kept. When they resume it, the newest "
        "commit is looked at.",
    ),
    (SessionStatus.DEFERRED, "installation"): (
        "Paused: the App was taken off",
        "The App was removed or suspended for this repository. Your progress is kept. When it is back, the newest "
        "commit is looked at. The deadline does not wait.",
    ),
    (SessionStatus.EXPIRED, None): (
        "The deadline has passed: not judged any more",
        "The time for this lab is over. Your progress is kept. If you need more time, ask the people who run the lab: "
        "they can extend it.",
    ),
}

#: The standing that a rejection for a closed session stands for.
CLOSED_CODES: dict[BindingCode, tuple[SessionStatus, DeferredBy | None]] = {
    BindingCode.SESSION_COMPLETED: (SessionStatus.VERIFIED_PASS, None),
    BindingCode.SESSION_DEFERRED: (SessionStatus.DEFERRED, "staff"),
    BindingCode.SESSION_EXPIRED: (SessionStatus.EXPIRED, None),
}


# Codes by which a repository is not the session's: it is not led to the session's page.
_NOT_THEIRS = frozenset({BindingCode.OWNER_CHANGED, BindingCode.LEARNER_MISMATCH})


def rejected(code: BindingCode, context: NoticeContext) -> Notice:
    """A head whose repository could not be bound. ValueError for a code of which the repository sees nothing."""
    if code not in _REJECTIONS:
        raise ValueError(f"nothing is reported for {code}")
    title, why, do = _REJECTIONS[code]
    lab = f" The lab is {_lab_link(context)}." if context.lab_title else ""
    shown = replace(context, session_url=None) if code in _NOT_THEIRS else context
    return title, [f"{why}{lab}", "", "### What to do next", "", do, "", f"Code: `{code}`", "", *footer(shown)]


def _lab_link(context: NoticeContext) -> str:
    title = words(clip(context.lab_title, 200))
    return f"[{title}]({context.join_url})" if context.join_url else f"**{title}**"


def closed(status: SessionStatus, deferred_by: DeferredBy | None, context: NoticeContext) -> Notice:
    """A head whose session takes no push. ValueError for an open session."""
    if (status, deferred_by) not in _CLOSED:
        raise ValueError(f"a session that is {status} is not closed")
    title, why = _CLOSED[status, deferred_by]
    return title, [why, "", *footer(context)]
