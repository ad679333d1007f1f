"""What is in the way of somebody who wants to start a lab, or news for them, in plain words. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from rules.model import BindingCode, Enrolment, SessionStatus
from storage.joining import Enrolled, Installed, Refusal, Standing
from web.join_values import FromGitHub, Lab, Visit

Level = Literal["good", "bad", "wait"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is in the way, or news. `link`: (address, words) of what to do about it."""

    level: Level
    text: str
    link: tuple[str, str] | None = None


def notes_for(lab: Lab, visit: Visit, seen: FromGitHub, web_url: str) -> Iterator[Note]:
    """What the visitor should know, the most important first. Of somebody unknown nothing but the lab is told."""
    standing = visit.standing
    yield from _unpublished(lab)
    if standing is None:
        return
    enrolled = standing.enrolled
    if enrolled is not None:
        yield from _of_session(enrolled, lab)
    else:
        yield from _of_enrolment(lab, visit, standing)
    yield from filter(None, (_of_refusal(refusal, lab, visit, standing) for refusal in standing.refusals))
    if enrolled is None or enrolled.repo_id is None:
        refused = {refusal.repo_id for refusal in standing.refusals}
        yield from _of_installations(standing.installations, seen, web_url, refused)


def _unpublished(lab: Lab) -> Iterator[Note]:
    if lab.version is None:
        yield Note(
            "wait",
            "This lab is not published yet: its steps are not there, and no push is looked at. That is not your doing. "
            "The people who run the lab say when it is ready.",
        )


def _of_session(enrolled: Enrolled, lab: Lab) -> Iterator[Note]:
    match enrolled.session.status, enrolled.session.deferred_by:
        case SessionStatus.VERIFIED_PASS, _:
            yield Note("good", "You have completed this lab. Well done!")
        case SessionStatus.EXPIRED, _:
            yield Note(
                "bad",
                "The time for this lab is over, and your progress is kept. If you need more time, ask the people who "
                "run the lab: they can extend it.",
            )
        case SessionStatus.DEFERRED, "staff":
            yield Note(
                "wait",
                "The people who run the lab have paused your session. Your progress is kept; nothing is judged until "
                "they resume it.",
            )
        case SessionStatus.DEFERRED, _:
            name = enrolled.repo_full_name or "your repository"
            yield Note(
                "bad",
                f"The App cannot see {name} any more: it was taken off, or suspended. Your progress is kept. Install "
                "it on that repository again, and your session goes on.",
            )
        case _ if enrolled.repo_id is None:
            yield Note(
                "bad",
                "Your session has no repository any more: it was deleted, or disconnected. Fork the template again, "
                "install the App on that fork, and your session goes on with it.",
            )
        case _ if enrolled.first_push is None and enrolled.elsewhere is not None:
            branch = enrolled.elsewhere.ref.removeprefix("refs/heads/")
            counts = lab.version.lab.branch if lab.version is not None else None
            yield Note(
                "wait",
                f"Your push to branch {branch} was answered as a preview. The lab counts on branch {counts or 'main'}.",
            )


def _of_enrolment(lab: Lab, visit: Visit, standing: Standing) -> Iterator[Note]:
    """Whether the visitor may start."""
    record = lab.record
    if record.enrolment is Enrolment.CLOSED:
        yield Note("bad", "This lab takes nobody in any more. Ask the people who run it if you think you should be in.")
    elif record.enrolment is Enrolment.INVITED and not standing.invited:
        yield Note(
            "bad",
            f"This lab is by invitation, and {visit.login} is not on the list. Ask the people who run the lab to "
            f"invite {visit.login}. What you have forked and installed until then is not lost.",
        )
    elif lab.is_over:
        yield Note(
            "bad",
            "The deadline of this lab has passed. Ask the people who run it before you start: they can extend it.",
        )


def _may_start(lab: Lab, standing: Standing) -> bool:
    enrolment = lab.record.enrolment
    return enrolment is Enrolment.OPEN or (enrolment is Enrolment.INVITED and standing.invited)


_AGAIN = "Push to it once more: it is looked at again."
_REFUSALS: Mapping[BindingCode, str] = {
    BindingCode.AMBIGUOUS: "{name} fits more than one of your sessions. Ask the people who run the lab to choose one.",
    BindingCode.OWNER_CHANGED: (
        "{name} has another owner than the session that it belongs to. Transfer it back, or ask the people who run the "
        "lab to connect it again."
    ),
    BindingCode.LEARNER_MISMATCH: (
        "{name} is another account's than the session that it was meant for. Work in a fork that your own account owns."
    ),
}


def _of_refusal(refusal: Refusal, lab: Lab, visit: Visit, standing: Standing) -> Note | None:
    """What a refusal means now; None when it has been overtaken, or another note says it."""
    enrolled, name = standing.enrolled, refusal.repo_full_name
    bound = enrolled.repo_id if enrolled is not None else None
    if refusal.repo_id == bound:
        return None
    own = refusal.owner_id == visit.account_id
    match refusal.code:
        case BindingCode.MAPPING_CONFLICT if enrolled is not None and bound is not None:
            return Note(
                "wait",
                f"{name} is a second repository of this lab, and nothing is judged there. Your session goes on in "
                f"{enrolled.repo_full_name}. If you want to change, ask the people who run the lab.",
            )
        case BindingCode.NO_SESSION if not own:
            return Note(
                "bad",
                f"{name} belongs to an organisation. There a repository counts only if it was invited by itself: ask "
                "the people who run the lab to do so, or fork the template to your own account.",
            )
        case _ if bound is not None or not own:
            return None
        case BindingCode.NO_SESSION | BindingCode.ENROLMENT_CLOSED if _may_start(lab, standing):
            return Note("wait", f"{name} was turned away before you were invited. {_AGAIN}")
        case BindingCode.LAB_HAS_NO_VERSION if lab.version is not None:
            return Note("wait", f"{name} came before the lab was published. {_AGAIN}")
        case code if code in _REFUSALS:
            return Note("bad", _REFUSALS[code].format(name=name))
    return None


def _of_installations(
    installations: tuple[Installed, ...], seen: FromGitHub, web_url: str, refused: set[int]
) -> Iterator[Note]:
    """Why an installation of the App has not led to a session."""
    for installed in installations:
        link = (f"{web_url}/settings/installations/{installed.installation_id}", "Change it on GitHub")
        if installed.suspended:
            yield Note("bad", "You have suspended the App. Until you let it go on, it sees nothing.", link)
        elif seen.fork is not None and seen.fork.repo_id in installed.repo_ids:
            if seen.fork.repo_id not in refused:
                yield Note("wait", f"The App sees {seen.fork.full_name} now. Connecting it takes a few seconds.")
        elif not installed.repo_ids:
            yield Note("bad", "The App is installed, but on no repository. Add your fork.", link)
        elif installed.repo_ids.isdisjoint(refused):
            yield Note("bad", f"{_wrong(installed)} {_right(seen)}", link)


def _wrong(installed: Installed) -> str:
    names = installed.names[:3]
    more = len(installed.repo_ids) - len(names)
    listed = ", ".join(names) + (f" and {more} more" if more > 0 else "")
    return f"The App is installed on {listed}."


def _right(seen: FromGitHub) -> str:
    if seen.fork is not None:
        return f"Your fork {seen.fork.full_name} is not among them: add it."
    if seen.fork_known:
        return "No fork of this lab is known there (a new one takes a few seconds). Make your fork, then add it."
    return "No fork of this lab is known there (a new one takes a few seconds). If yours is missing, add it."
