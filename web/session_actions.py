"""What staff and learners can do on a session's page: plain forms, each answered by the page again with a message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NoReturn, cast
from uuid import UUID

from aiohttp import web

from github.client import GitHubApp
from github.errors import GitHubError, InstallationGone, NotFound
from rules.model import InstallationState, Repo, Session
from storage import actions, learner_actions, sessions
from storage.accounts import installation_covering, upsert_installation
from storage.actions import Decision, Done, FactKind
from storage.database import Pool
from storage.errors import ActionRefused, MappingConflict, SessionConflict, StaleSession
from storage.undoing import undo
from web.access import Rule, add_route, visitor
from web.site import Site, site_of

#: Bytes of a form: the longest has 500 characters of words.
MAX_FORM = 16 * 1024

Tone = Literal["good", "bad", "wait"]


@dataclass(frozen=True, slots=True)
class Said:
    """A message above the page."""

    tone: Tone
    text: str


#: `?done=WORD` -> what is said. Only these words: nothing of an address is ever shown.
DONE: Mapping[str, Said] = {
    "checking": Said("wait", "Your newest commit is being looked at again. The answer appears here in a moment."),
    "checking-nothing": Said("bad", "There is nothing to check: no repository is connected."),
    "help": Said("good", "Staff see now that you need help."),
    "help-ended": Said("good", "Staff see that you need no help any more."),
    "saved": Said("good", "Saved. The learner sees the decision and its reason on this page."),
    "judging": Said("wait", "Saved. The newest commit is being judged again; the answer appears here in a moment."),
    "undone": Said("good", "Undone. If that changes the verdict, the newest commit is being judged again."),
    "changed": Said("bad", "Not done: the session changed meanwhile. Look at it as it is now, and decide again."),
    "reason": Said("bad", "Not done: give a reason of 3 to 500 characters. The learner reads it."),
    "words": Said("bad", "Not done: at most 500 characters, please."),
    "status": Said("bad", "Not done: the session's state does not allow this now."),
    "step": Said("bad", "Not done: choose a step of this lab."),
    "repeated": Said("bad", "Not done: that was decided before and still counts."),
    "gone": Said("bad", "Not done: there is nothing to take back, or something else has been decided since."),
    "past": Said("bad", "Not done: the new deadline has passed already. Times are in UTC."),
    "time": Said("bad", "Not done: give the time as year-month-day and hour:minute, in UTC."),
    "template": Said("bad", "Not done: that repository is a lab's template."),
    "same": Said("bad", "Not done: that is the session's repository already."),
    "other-repository": Said(
        "bad", "Not done: another repository has that name now, or that one has another owner. Look at it again."
    ),
    "unbound": Said("bad", "Not done: no repository is connected."),
    "taken": Said("bad", "Not done: that repository is connected with another session. Disconnect it there first."),
    "other-open": Said("bad", "Not done: the learner has another open session of this lab. Pause or finish it first."),
    "no-repository": Said(
        "bad",
        "Not done: the App does not see a repository of that name. Write it as owner/name; its owner has to install the"
        " App on it first.",
    ),
    "github": Said("bad", "Not done: GitHub did not answer as it should. Nothing was changed; try again in a minute."),
}


@dataclass(frozen=True, slots=True)
class Form:
    """A filled-in form about a session as it is now, and who sends it (None: the operator at this machine)."""

    site: Site
    session: Session
    fields: Mapping[str, str]
    by: int | None

    def decision(self) -> Decision:
        """Who decides, with the reason that staff has to give."""
        return Decision.by_staff(self.by, self.fields.get("reason", ""))

    def time(self, name: str) -> datetime | None:
        """A time in UTC as `datetime-local` sends it (WHATWG HTML); None when the field is empty."""
        text = self.fields.get(name, "").strip()
        if not text:
            return None
        try:
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            raise ActionRefused("time", f"{text!r} is no time") from None


Action = Callable[[Form], Awaitable[str]]


def add_routes(app: web.Application) -> None:
    """Mount the actions."""
    for name, learners in _LEARNERS.items():
        add_route(app, "POST", f"/sessions/{{session_id}}/{name}", _handler(learners), Rule.OWN_SESSION)
    for name, staffs in _STAFFS.items():
        add_route(app, "POST", f"/sessions/{{session_id}}/staff/{name}", _handler(staffs), Rule.STAFF)


def _handler(action: Action) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> NoReturn:
        form = await _form(request)
        raise web.HTTPSeeOther(f"/sessions/{form.session.session_id}?done={await _word(form, action)}")

    return handle


async def _form(request: web.Request) -> Form:
    site = site_of(request)
    try:
        session = await sessions.get(site.pool, UUID(request.match_info["session_id"]))
    except ValueError:
        session = None
    if session is None:
        raise web.HTTPNotFound
    if (request.content_length or 0) > MAX_FORM:
        raise web.HTTPRequestEntityTooLarge(MAX_FORM, request.content_length or 0)
    fields = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    return Form(site, session, fields, visitor(request).account_id)


async def _word(form: Form, action: Action) -> str:
    """Do it; returns the word of what is to be said about it."""
    seen = form.fields.get("epoch")
    if seen is not None and seen != str(form.session.epoch):
        return "changed"
    try:
        return await action(form)
    except ActionRefused as refused:
        return refused.word
    except StaleSession:
        return "changed"
    except MappingConflict:
        return "taken"
    except SessionConflict:
        return "other-open"
    except GitHubError:
        return "github"


def _said(done: Done) -> str:
    return "judging" if done.woken else "saved"


# ------------------------------------------------------------------------------------------------------- learners


async def _check(form: Form) -> str:
    done = await learner_actions.check_again(form.site.pool, form.session, form.by)
    return "checking" if done.woken else "checking-nothing"


async def _help(form: Form) -> str:
    await learner_actions.ask_for_help(form.site.pool, form.session, form.by, form.fields.get("words", ""))
    return "help"


async def _end_help(form: Form) -> str:
    await learner_actions.end_help(form.site.pool, form.session, form.by)
    return "help-ended"


# ---------------------------------------------------------------------------------------------------------- staff


async def _step(form: Form) -> str:
    kind = form.fields.get("kind", "")
    if kind not in ("approve", "complete", "reopen", "unlock"):
        return "step"
    until = form.time("until") if kind == "unlock" else None
    if until is not None and until <= datetime.now(UTC):
        return "past"
    decision, step = form.decision(), form.fields.get("step", "")
    kind = cast("FactKind", kind)
    return _said(await actions.add_fact(form.site.pool, form.session, decision, kind, step, until=until))


async def _accept(form: Form) -> str:
    """Accept the blocked head: only the one that the session has, as the page showed it."""
    head = form.session.head_sha
    if head is None or form.fields.get("head") != head:
        return "changed"
    return _said(await actions.add_fact(form.site.pool, form.session, form.decision(), "accept_head", head))


async def _extend(form: Form) -> str:
    deadline = form.time("deadline")
    if deadline is None and form.fields.get("none") != "1":
        return "time"
    deadline = None if form.fields.get("none") == "1" else deadline
    now = datetime.now(UTC)
    return _said(await actions.extend(form.site.pool, form.session, form.decision(), deadline, now=now))


async def _defer(form: Form) -> str:
    return _said(await actions.defer(form.site.pool, form.session, form.decision()))


async def _resume(form: Form) -> str:
    return _said(await actions.resume(form.site.pool, form.session, form.decision()))


async def _reopen(form: Form) -> str:
    return _said(await actions.reopen(form.site.pool, form.session, form.decision()))


async def _judge(form: Form) -> str:
    return _said(await actions.judge(form.site.pool, form.session, form.decision()))


async def _unbind(form: Form) -> str:
    return _said(await actions.unbind(form.site.pool, form.session, form.decision()))


async def _relink(form: Form) -> str:
    decision, site = form.decision(), form.site
    if site.github is None:
        return "no-repository"
    return _said(await relink(site.pool, site.github, form.session, decision, form.fields.get("repository", "")))


async def relink(pool: Pool, github: GitHubApp, session: Session, decision: Decision, full_name: str) -> Done:
    """Connect a session with the repository of this name, as GitHub knows it now.

    Raises ActionRefused("no-repository") when no active installation covers it, GitHubError, and what
    storage.actions.relink does.
    """
    repo, installation_id = await covered_repository(pool, github, full_name)
    return await actions.relink(pool, session, decision, repo, installation_id)


async def covered_repository(pool: Pool, github: GitHubApp, full_name: str) -> tuple[Repo, int]:
    """The repository of this name as GitHub knows it now, and the active installation that covers it.

    Raises ActionRefused("no-repository") when none does, and GitHubError.
    """
    full_name = full_name.strip()
    try:
        installation_id = await installation_covering(pool, full_name) or await _installation_of(
            pool, github, full_name
        )
        repo, _ = await github.installation(installation_id).repository(full_name)
    except (NotFound, InstallationGone) as error:
        raise ActionRefused(
            "no-repository", f"the App does not see a repository {full_name!r}: its owner has to install the App on it"
        ) from error
    return repo, installation_id


async def _installation_of(pool: Pool, github: GitHubApp, full_name: str) -> int:
    """The installation that covers a repository by what GitHub says now: of strangers nothing is kept here."""
    found = await github.installation_of(full_name)
    if found is None or found.state is not InstallationState.ACTIVE:
        raise NotFound(f"no installation covers {full_name!r}")
    await upsert_installation(pool, found)
    return found.installation_id


async def _undo(form: Form) -> str:
    event = form.fields.get("event", "")
    if not (event.isascii() and event.isdecimal() and len(event) < 19):
        return "gone"
    await undo(form.site.pool, form.session, form.by, int(event), now=datetime.now(UTC))
    return "undone"


_LEARNERS: Mapping[str, Action] = {"check": _check, "help": _help, "help/end": _end_help}
_STAFFS: Mapping[str, Action] = {
    "step": _step,
    "accept": _accept,
    "extend": _extend,
    "defer": _defer,
    "resume": _resume,
    "reopen": _reopen,
    "judge": _judge,
    "relink": _relink,
    "unbind": _unbind,
    "undo": _undo,
}
