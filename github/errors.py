"""Everything that can go wrong when GitHub is spoken to: a closed tree, so that callers can decide by type alone.

    GitHubError
    |- Transient               try again later; nothing happened
    |  `- RateLimited          ... not before `until`
    |- UnknownOutcome          a write may have happened: look before writing again
    |- InstallationSuspended   the account's owner paused the App: nothing works until it is unsuspended
    |- InstallationGone        the installation is deleted, for ever (GitHub never re-uses ids)
    `- Permanent               trying again changes nothing
       |- Unauthorized, Forbidden (MissingPermission), NotFound, Gone, Rejected
       `- UnsafeAddress, Misconfigured, TooLarge, IncompleteTree

Texts never hold tokens, keys or headers: what GitHub or a proxy said is scrubbed and cut before it gets in here.
"""
# ruff: noqa: N818  (the names say what happened; the base class says that it is an error)

from __future__ import annotations

import re
from enum import StrEnum, unique
from typing import ClassVar, Literal

_LONGEST_TEXT = 500

# GitHub's token prefixes (ghp, gho, ghu, ghs, ghr, github_pat) of any length, JWTs, authorization values, PEM blocks.
_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)"
    r"|\b(?:gh[a-z]|github_pat)_[A-Za-z0-9_.\-]+"
    r"|\beyJ[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+){1,2}"
    r"|(?<=[Bb]earer )\S+|(?<=[Tt]oken )\S{20,}",
    re.DOTALL,
)


def scrub(text: str) -> str:
    """`text` without anything that looks like a credential, on one line, at most 500 characters."""
    return " ".join(_SECRETS.sub("[secret]", text).split())[:_LONGEST_TEXT]


@unique
class Fault(StrEnum):
    """Who can mend it: GitHub (or the network to it), the operator, the owner of the account or repository, or us."""

    GITHUB = "github"
    OPERATOR = "operator"
    OWNER = "owner"
    US = "us"


class GitHubError(Exception):
    """Base of all errors of this package. `retry_after`: seconds to wait at least, None if GitHub named none."""

    fault: ClassVar[Fault] = Fault.GITHUB
    retry_after: float | None

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(scrub(message))
        self.retry_after = retry_after


class Transient(GitHubError):
    """Nothing happened and a later try may work: network, time-out, 5xx, nonsense instead of an answer."""


class RateLimited(Transient):
    """A limit is used up. No request of this installation is sent before `until` (seconds since 1970, our clock).

    `kind` primary: the hourly budget; secondary: too fast. `explicit`: GitHub named the time itself.
    """

    fault = Fault.US

    def __init__(
        self, message: str, *, until: float, retry_after: float, kind: Literal["primary", "secondary"], explicit: bool
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.until = until
        self.kind = kind
        self.explicit = explicit


class UnknownOutcome(GitHubError):
    """A write was sent and its answer was lost or is of no use: it may have happened. Look before writing again."""


class InstallationError(GitHubError):
    """Base of the two states in which an installation cannot be used."""

    fault = Fault.OWNER

    def __init__(self, message: str, *, installation_id: int) -> None:
        super().__init__(message)
        self.installation_id = installation_id


class InstallationSuspended(InstallationError):
    """The owner suspended the App; everything works again after `unsuspend`."""


class InstallationGone(InstallationError):
    """The installation was deleted. A new installation of the App gets a new id."""


class Permanent(GitHubError):
    """The same request will be refused again."""


class Unauthorized(Permanent):
    """The credentials are refused although they are fresh: wrong App id, wrong or revoked key, or a wrong clock."""

    fault = Fault.OPERATOR


class Forbidden(Permanent):
    """403 for a reason that is no limit: archived or blocked repository, a rule of the organisation."""

    fault = Fault.OWNER


class MissingPermission(Forbidden):
    """The installation lacks a permission. `accepted_permissions`: those that would do, as GitHub names them.

    The text is that of the header X-Accepted-GitHub-Permissions ("checks=write"), empty if GitHub did not send it.
    """

    fault = Fault.OPERATOR

    def __init__(self, message: str, *, accepted_permissions: str = "") -> None:
        self.accepted_permissions = scrub(accepted_permissions)
        needs = f" (needs {self.accepted_permissions})" if self.accepted_permissions else ""
        super().__init__(f"{message}{needs}")


class NotFound(Permanent):
    """404: not there, or hidden from this installation (GitHub does not tell which), or not yet there (replication)."""

    fault = Fault.OWNER


class Gone(Permanent):
    """410: was there and is not any more."""

    fault = Fault.OWNER


class Rejected(Permanent):
    """GitHub understood the request and refuses its content (422, other 4xx). `messages`: GitHub's reasons."""

    fault = Fault.US

    def __init__(self, message: str, *, status: int, messages: tuple[str, ...] = ()) -> None:
        self.status = status
        self.messages = tuple(scrub(text) for text in messages)
        super().__init__(": ".join([message, "; ".join(self.messages)]) if self.messages else message)


class StatusesExhausted(Permanent):
    """The commit has the most statuses that GitHub takes for a context: 1,000 (REST docs, "Create a commit status")."""

    fault = Fault.OWNER


class UnsafeAddress(Permanent):
    """A link or redirect leads away from the configured API: it was not followed and no token was sent there."""


class Misconfigured(Permanent):
    """The API address or the private key of the settings cannot be used."""

    fault = Fault.OPERATOR


class TooLarge(Permanent):
    """An answer or file is larger than what is read."""

    fault = Fault.OWNER


class IncompleteTree(Permanent):
    """The files of a commit cannot be known completely, so nothing may be concluded from them.

    `reason`: TRUNCATED (GitHub gives no complete or no unambiguous listing) or TOO_LARGE (beyond our budget).
    """

    fault = Fault.OWNER

    def __init__(self, message: str, *, reason: Literal["TRUNCATED", "TOO_LARGE"]) -> None:
        super().__init__(message)
        self.reason = reason
