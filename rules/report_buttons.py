"""The buttons of our check runs, and what is said once one was pressed. GitHub shows them to whoever may push."""

from __future__ import annotations

from rules.model import Button

#: GitHub's limits, in characters, and how many buttons a check run has at most (OpenAPI description of checks/create).
MAX_LABEL, MAX_DESCRIPTION, MAX_IDENTIFIER, MAX_BUTTONS = 20, 40, 20, 3

CHECK_AGAIN = Button("Check again", "Look at this branch once more", "check_again")
NEED_HELP = Button("I need help", "Tell the people who run the lab", "need_help")

#: Of a head of an open session, and of one that is not judged because something has to be put right first.
OF_SESSION = (CHECK_AGAIN, NEED_HELP)
OF_REJECTION = (CHECK_AGAIN,)


def asked_for_help(session_url: str) -> list[str]:
    """The lines that stand first while a call for help waits for an answer."""
    return [
        "**You asked for help.** The people who run the lab see it. To tell them more, or that you need none any more, "
        f"[open the session page]({session_url}).",
        "",
    ]
