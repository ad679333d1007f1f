"""What the page /join/<lab> is made from: the lab, who looks, and what GitHub told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from github.values import AppRecord, Offer
from rules.model import LabRecord, LabVersion, Repo
from storage.joining import Standing


@dataclass(frozen=True, slots=True)
class Lab:
    """The lab as it is now. `version` None: not published yet."""

    record: LabRecord
    version: LabVersion | None
    now: datetime

    @property
    def is_over(self) -> bool:
        """Whether the lab's deadline has passed."""
        return self.record.deadline is not None and self.record.deadline <= self.now


@dataclass(frozen=True, slots=True)
class Visit:
    """Who looks: `account_id` None is nobody, or nobody that GitHub knows. `standing`: only of those it knows."""

    account_id: int | None = None
    login: str = ""
    is_staff: bool = False
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class FromGitHub:
    """What GitHub told for this page. `offer` None: the template could not be looked at. `fork`: the visitor's own, as
    far as anybody can see it; `fork_known`: whether its absence means that there is none."""

    app: AppRecord | None = None
    offer: Offer | None = None
    fork: Repo | None = None
    fork_known: bool = False
