"""What staff need to know of each code of the audit: what it means, what the repository shows, what to do.

What learners read of a code is in rules.report_notices; this is the other side of it. docs/classes.md has the same
texts (a test compares them). Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from rules.binding import blocks_report
from rules.model import ZERO_SHA, BindingCode
from rules.report_notices import CLOSED_CODES, NoticeContext, closed, rejected


@dataclass(frozen=True, slots=True)
class Advice:
    """A code for staff. `title`: in a few words; `command`: what the shell has for it, with names in capitals for what
    to fill in; "" when nothing is to be typed.
    """

    title: str
    means: str
    do: str
    command: str = ""


_ADVICE: Mapping[str, Advice] = {
    "INSTALLATION_UNKNOWN": Advice(
        "GitHub knows no such installation",
        "A delivery came from an installation of the App that GitHub does not know (any more).",
        "Nothing, if the App was uninstalled just then. Otherwise ask the repository's owner to install the App again.",
    ),
    "INSTALLATION_SUSPENDED": Advice(
        "the App is suspended",
        "The repository's owner has suspended the App for their account.",
        "Ask the owner to unsuspend it (GitHub: Settings, Applications, Configure). The session then goes on by"
        " itself.",
    ),
    "INSTALLATION_DELETED": Advice(
        "the App was uninstalled",
        "The repository's owner has uninstalled the App.",
        "Ask the owner to install it again: the lab's page has the link. The session then goes on by itself.",
    ),
    "REPO_NOT_SELECTED": Advice(
        "the App may not see the repository",
        "The App is installed on the owner's account, but not for this repository.",
        "Ask the owner to add the repository (GitHub: Settings, Applications, Configure, Repository access).",
    ),
    "NOT_A_LAB": Advice(
        "nothing to do with a lab",
        "The repository is connected with no session and comes from no lab's template. Of such a push nothing is kept.",
        "Nothing. If it should be a lab's: register its template.",
        "python app.py labs add OWNER/TEMPLATE",
    ),
    "PARENT_UNKNOWN": Advice(
        "a fork, and GitHub hides of what",
        "The repository is a fork, and GitHub does not tell the App of which one. So it is with forks of private"
        " templates.",
        "Connect it with the learner's session, if there is one. Otherwise put it on the class list, with its name in"
        " the column `repository`.",
        "python app.py labs invite LAB --csv class.csv",
    ),
    "NO_SESSION": Advice(
        "nobody is invited for this repository",
        "The repository comes from a lab that is by invitation, and neither it nor its owner is invited. An"
        " organisation's repository always needs an invitation that names the learner.",
        "Invite the learner; for an organisation's repository with a class list that has the column `repository`. What"
        " was pushed before is then looked at by itself.",
        "python app.py labs invite LAB OWNER",
    ),
    "ENROLMENT_CLOSED": Advice(
        "the lab takes nobody in any more",
        "Enrolment in the lab is closed, or its deadline has passed, and the repository's owner has no session in it.",
        "If the learner should be in: open the lab for invitations (or move its deadline) and invite them.",
        "python app.py labs edit LAB --enrolment invited",
    ),
    "AMBIGUOUS": Advice(
        "several sessions fit",
        "Several sessions of the lab fit this repository equally well. None of them was touched.",
        "Choose one, and connect the repository with it.",
    ),
    "OWNER_CHANGED": Advice(
        "the repository has a new owner",
        "The repository was transferred to another account than the one that its session knows.",
        "If that is right, connect it with the session again. If not, its owner transfers it back: then all goes on"
        " by itself.",
    ),
    "LEARNER_MISMATCH": Advice(
        "the repository is another person's",
        "The session, or the invitation for this repository, is one person's, and the repository belongs to another"
        " person's account.",
        "If both are the same learner, connect the repository with the session. If not, do nothing: nothing was judged,"
        " and the learner works in a fork of their own account.",
    ),
    "MAPPING_CONFLICT": Advice(
        "the session has another repository",
        "The repository's owner has a session of the lab already, and that has another repository, which still exists.",
        "Nothing, if the learner pushed to the wrong one: they read that. If they want to go on in this one, connect it"
        " with the session.",
    ),
    "LAB_HAS_NO_VERSION": Advice(
        "the lab is not published",
        "The repository comes from a lab that is registered but not published: there are no rules to judge by.",
        "Publish the lab. The learner then pushes once more.",
        "python app.py labs publish LAB",
    ),
    "SESSION_DEFERRED": Advice(
        "pushed while paused",
        "The session is paused. Its progress is kept, and nothing is judged.",
        "Resume it on its page when it shall go on: the newest commit is then judged.",
        'python app.py sessions resume SESSION --reason "..."',
    ),
    "SESSION_COMPLETED": Advice(
        "pushed after the end",
        "The session is complete: what is pushed after that is not judged, and nothing can be lost.",
        "Nothing. To judge more, reopen the session or one of its steps on its page.",
        'python app.py sessions reopen SESSION --reason "..."',
    ),
    "SESSION_EXPIRED": Advice(
        "pushed after the deadline",
        "The session's deadline has passed.",
        "To give more time, extend it on its page: the newest commit is then judged.",
        'python app.py sessions extend SESSION --deadline DATE --reason "..."',
    ),
    "TAG": Advice(
        "a tag was pushed", "A tag was pushed. Only branches are judged.", "Nothing. The learner pushes a branch."
    ),
    "BRANCH_DELETED": Advice(
        "a branch was deleted",
        "A branch of the session's repository was deleted. There is no head to judge.",
        "Nothing. If it was the lab's branch, the learner pushes it again.",
    ),
    "REINSTALLED": Advice(
        "the App was installed anew",
        "The App was installed again by the same owner. The session's repository took over the new installation.",
        "Nothing.",
    ),
    "FORK_OF_LEARNER": Advice(
        "a fork of another learner's fork",
        "The learner has forked another learner's repository, not the template. The session goes on, but what the other"
        " one had pushed by then may count for this one.",
        "Look at the session's first commits. If they are the other learner's, talk to both.",
    ),
    "REPOSITORY_GONE": Advice(
        "the repository is gone",
        "GitHub has no repository with this number any more. Its session waits. When the learner comes with a new fork,"
        " that takes its place, and progress is judged anew there.",
        "Nothing, if it was deleted on purpose. Otherwise its owner can restore it for some weeks (GitHub: Settings,"
        " Repositories, Deleted repositories).",
    ),
    "OWNER_FORGOTTEN": Advice(
        "its owner was forgotten",
        "The account that owned the repository was erased with `learner forget`. Another person's session had the"
        " repository, and has none now.",
        "Connect another repository on that session's page, if it is to go on.",
    ),
    "STATUS_FORGED": Advice(
        "somebody else's status in our place",
        "Whoever may push can write a commit status of any name, and somebody wrote one under ours that says something"
        " else. Ours was set again, at most five times an hour for each commit. The check-run, which nobody else can"
        " write, has said what is so all the while.",
        "Nothing, if it happened once. If it goes on, ask the learner: a workflow in the repository may do it. Rely on"
        " the check-run, not on the status.",
    ),
    "NOT_THEIRS": Advice(
        "somebody else pressed a button",
        "GitHub shows the buttons of a check-run to everybody who may push. Somebody pressed one who is neither the"
        " session's learner, nor the repository's owner, nor staff. Nothing was done.",
        "Nothing. Staff are those whose account id is in the setting STAFF.",
    ),
}

#: Codes that connecting the repository with a session can settle.
RELINKABLE = frozenset(
    {
        BindingCode.PARENT_UNKNOWN.value,
        BindingCode.NO_SESSION.value,
        BindingCode.ENROLMENT_CLOSED.value,
        BindingCode.AMBIGUOUS.value,
        BindingCode.OWNER_CHANGED.value,
        BindingCode.LEARNER_MISMATCH.value,
        BindingCode.MAPPING_CONFLICT.value,
    }
)


def advice(code: str | None) -> Advice | None:
    """What staff need to know of a code; None: nothing more than its name is known."""
    return _ADVICE.get(code) if code else None


def title_of(code: str) -> str:
    """A code in a few words."""
    known = _ADVICE.get(code)
    return known.title if known is not None else code.replace("_", " ").lower()


@cache
def seen(code: str) -> str:
    """What the repository shows of a code, with the title that the learner reads there; "" for a code that is no
    refusal.
    """
    try:
        binding = BindingCode(code)
    except ValueError:
        return ""
    context = NoticeContext("", ZERO_SHA, "")
    match blocks_report(binding):
        case "action_required":
            return f'A check-run that asks for action: "{rejected(binding, context)[0]}".'
        case "neutral":
            title = closed(*CLOSED_CODES[binding], context)[0]
            return f'A neutral check-run, but none over a verdict that the commit has already: "{title}".'
        case _:
            return "Nothing."


def filled_in(command: str, *, lab: str = "", owner: str = "", session: str = "") -> str:
    """A command with what is known put in place of the names in capitals."""
    for name, value in (("LAB", lab), ("OWNER", owner), ("SESSION", session)):
        if value:
            command = " ".join(value if word == name else word for word in command.split(" "))
    return command
