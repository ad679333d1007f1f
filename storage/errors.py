"""What can go wrong in storage, in the words of the domain instead of PostgreSQL's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg


class StorageError(Exception):
    """Base of the errors that storage raises on purpose."""


class LeaseLost(StorageError):  # noqa: N818 (an event, as its callers read it)
    """The lane was taken over, or its lease ran out: nothing was written, and the holder must stop."""


class MappingConflict(StorageError):  # noqa: N818 (an event, as its callers read it)
    """The repository, or the session, has an active mapping already: another writer was first."""


class SessionConflict(StorageError):  # noqa: N818 (an event, as its callers read it)
    """The learner has an open session of this lab already."""


class StaleSession(StorageError):  # noqa: N818 (an event, as its callers read it)
    """The session's binding or status changed since it was read: read it again."""


class IllegalStatusChange(StorageError):  # noqa: N818 (an event, as its callers read it)
    """The status machine has no way from the session's status to the wanted one."""


class ActionRefused(StorageError):  # noqa: N818 (an event, as its callers read it)
    """The session does not allow this action; `word` tells programs why, the message people."""

    def __init__(self, word: str, message: str) -> None:
        super().__init__(message)
        self.word = word


class LabConflict(StorageError):  # noqa: N818 (an event, as its callers read it)
    """A lab with this slug or this template repository is registered already. The operator's."""


class AppendOnly(StorageError):  # noqa: N818 (an event, as its callers read it)
    """Rows of this table are never changed or deleted."""


_BY_CONSTRAINT: dict[str, tuple[type[StorageError], str]] = {
    "repo_mapping_one_active_per_repo": (MappingConflict, "the repository is bound to a session already"),
    "repo_mapping_one_active_per_session": (MappingConflict, "the session has a repository already"),
    "lab_session_one_open_per_learner": (SessionConflict, "the learner has an open session of this lab already"),
    "repo_mapping_enrols_under_lease": (LeaseLost, "the lane of the repository was taken over"),
    "lab_session_status_machine": (IllegalStatusChange, "the session cannot change to this status"),
    "lab_slug_key": (LabConflict, "a lab with this slug is registered already"),
    "lab_base_repo_key": (LabConflict, "a lab with this template repository is registered already"),
    "lab_version_immutable": (AppendOnly, "a published lab version never changes"),
    "audit_event_append_only": (AppendOnly, "audit events are never changed"),
    "audit_seal_append_only": (AppendOnly, "seals of the audit are never changed"),
    "audit_seal_salt_append_only": (AppendOnly, "seals of the audit are never changed"),
    "push_attempt_append_only": (AppendOnly, "the ledger of attempts is never changed"),
}


@contextmanager
def domain_errors() -> Iterator[None]:
    """Raise the domain's error for a violated constraint that has one; everything else passes as it is."""
    try:
        yield
    except asyncpg.PostgresError as error:
        known = _BY_CONSTRAINT.get(getattr(error, "constraint_name", None) or "")
        if known is None:
            raise
        kind, sentence = known
        raise kind(sentence) from error
