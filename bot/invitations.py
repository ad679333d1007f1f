"""Inviting a class: what GitHub says to each row of a class list, what is stored, and who gets another look.

Accounts are invited by id, so that a learner who takes another login stays invited and nobody else becomes so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from bot.classlist import Row
from bot.invitees import LATER, UNKNOWN, Answers, Progress, Sleep, Unanswered, ask
from bot.lifecycle import bind_entry
from github.client import GitHubApp
from rules.model import Account, AccountKind, LabRecord
from storage import inbox, invitations
from storage.database import Pool
from storage.invitations import Invitee, Removal

#: "pending": kept as a login until an account is seen under it. "duplicate": stands in the list before.
Outcome = Literal["invited", "already", "pending", "duplicate", "problem"]


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one row. `message`: why, of a problem or a duplicate; `notes`: what else is to be known."""

    row: Row
    outcome: Outcome
    account: Account | None = None
    repo_id: int | None = None
    message: str = ""
    notes: tuple[str, ...] = ()

    def words(self) -> str:
        """The line for the teacher: `line 7: octo-two: unknown on GitHub (misspelt? renamed?)`."""
        said = {"invited": "invited", "already": "already invited", "pending": "kept as a login"}.get(self.outcome)
        where = f"line {self.row.line}: " if self.row.line is not None else ""
        who = f"{self.row.asked}: " if self.row.asked else ""
        return where + who + "; ".join([said or self.message, *self.notes])


def count(lines: Iterable[Line]) -> dict[str, int]:
    """How many lines came to which outcome, in a fixed order, without those that none came to."""
    found = Counter(line.outcome for line in lines)
    order: tuple[Outcome, ...] = ("invited", "already", "pending", "duplicate", "problem")
    return {outcome: found[outcome] for outcome in order if found[outcome]}


async def invite(
    pool: Pool,
    app: GitHubApp,
    lab: LabRecord,
    rows: Sequence[Row],
    *,
    keep_unknown: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda _done, _total: None,
    sleep: Sleep = asyncio.sleep,
) -> list[Line]:
    """Invite the people of a class list to a lab; one line for each row, in order. Rows with a problem are left out,
    the others are stored, and repositories of theirs that were turned away before are looked at again.

    `keep_unknown`: a login that GitHub does not know is kept until an account is seen under it. `dry_run`: nothing is
    stored. Raises GitHubError and RegistryError when GitHub does not answer the App at all.
    """
    asked = await ask(pool, app, lab, rows, progress=progress, sleep=sleep)
    lines = _without_duplicates([_judge(row, lab, asked, keep_unknown=keep_unknown) for row in rows])
    wanted = [(at, line) for at, line in enumerate(lines) if line.outcome in ("invited", "pending")]
    people = [Invitee(line.account, line.row.login, line.repo_id) for _, line in wanted]
    outcomes = await invitations.invite(pool, lab.lab_id, people, pretend=dry_run)
    for (at, line), outcome in zip(wanted, outcomes, strict=True):
        lines[at] = _with_outcome(line, outcome)
    if not dry_run:
        await _look_again_at(pool, lab, lines)
    return lines


async def uninvite(
    pool: Pool, app: GitHubApp, lab: LabRecord, rows: Sequence[Row]
) -> list[tuple[Row, Removal | Literal["problem"]]]:
    """Take back the invitations of these people, as far as no session has begun with them; what became of each row.

    A login that GitHub does not know (any more) is looked up among those that were seen or kept before.
    """
    asked = await ask(pool, app, lab, rows)
    usable = [row for row in rows if row.problem is None]
    people = [Invitee(asked.account(row)[0], row.login) for row in usable]
    removals = iter(await invitations.uninvite(pool, lab.lab_id, people))
    return [(row, next(removals) if row.problem is None else "problem") for row in rows]


# ---------------------------------------------------------------------------------------------------- what is concluded


def _judge(row: Row, lab: LabRecord, asked: Answers, *, keep_unknown: bool) -> Line:
    """What a row comes to, before it is compared with the others and with what is stored."""
    if row.problem is not None:
        return Line(row, "problem", message=row.problem)
    account, why_not, notes = asked.account(row)
    if account is None and not (why_not == UNKNOWN and keep_unknown):
        return Line(row, "problem", message=why_not)
    if account is not None and account.kind is not AccountKind.USER:
        kind = "an organisation" if account.kind is AccountKind.ORGANIZATION else "a bot"
        return Line(row, "problem", account, message=f"is {kind}: only people can be invited")
    if account is None:
        notes = ("unknown on GitHub; the first account that the App sees under this login takes the invitation",)
    repo_id, wrong, more = _repository(row, lab, asked, account)
    if wrong:
        return Line(row, "problem", account, message=wrong)
    return Line(row, "invited" if account else "pending", account, repo_id, notes=notes + more)


def _repository(
    row: Row, lab: LabRecord, asked: Answers, account: Account | None
) -> tuple[int | None, str, tuple[str, ...]]:
    """The id of the repository that a row names (None: it names none); else what is wrong. And what is to be told."""
    name = row.repository or (asked.names.get(row.repo_id) if row.repo_id is not None else None)
    if name is None:
        note = f"{row.wanted_repository}: no installation of the App covers it yet, so nothing about it was checked"
        return row.repo_id, "", (note,) if row.repo_id is not None else ()
    seen = asked.repositories.get(name)
    if isinstance(seen, Unanswered):
        return None, LATER, ()
    if seen is None:
        return None, f"repository {name}: not found, or private and the App is not installed on it", ()
    repo = seen.repo
    if row.repo_id is not None and repo.repo_id != row.repo_id:
        return None, f"repository {row.repo_id} is not called {name} any more: install the App on it first", ()
    if repo.repo_id == lab.base_repo_id:
        return None, f"{repo.full_name} is the lab's template, not a learner's repository", ()
    if repo.owner.kind is AccountKind.USER and account is not None and repo.owner.account_id != account.account_id:
        return None, f"{repo.full_name} belongs to {repo.owner.login}", ()
    notes = []
    if not seen.covered:
        notes.append(f"the App is not installed on {repo.full_name} yet")
    if lab.base_repo_id not in (seen.lineage.parent_id, seen.lineage.template_id, seen.lineage.source_id):
        notes.append(f"{repo.full_name} does not come from {lab.base_repo_full_name}, as far as the App can see")
    return repo.repo_id, "", tuple(notes)


def _without_duplicates(lines: Sequence[Line]) -> list[Line]:
    """The same lines; one that says what an earlier one said is a duplicate of it."""
    first: dict[tuple[object, ...], Line] = {}
    result = []
    for line in lines:
        key = (line.account or (line.row.login or "").lower(), line.repo_id)
        if line.outcome != "problem" and (before := first.setdefault(key, line)) is not line:
            where = f"line {before.row.line}" if before.row.line is not None else before.row.asked
            result.append(Line(line.row, "duplicate", line.account, line.repo_id, message=f"the same as {where}"))
        else:
            result.append(line)
    return result


def _with_outcome(line: Line, outcome: invitations.Outcome) -> Line:
    """A line with what the database made of it."""
    match outcome:
        case "invited":
            return line
        case "already":
            return Line(line.row, "already", line.account, line.repo_id, notes=line.notes)
        case "repo_taken":
            message = f"{line.row.wanted_repository} is another learner's by an earlier invitation"
        case "another_repo":
            message = "is invited for another repository of this lab: `labs uninvite` first"
    return Line(line.row, "problem", line.account, line.repo_id, message=message)


# -------------------------------------------------------------------------------------------------------- another look


async def _look_again_at(pool: Pool, lab: LabRecord, lines: Sequence[Line]) -> None:
    fresh = [line for line in lines if line.outcome == "invited"]
    owners = {line.account.account_id for line in fresh if line.account is not None}
    repo_ids = {line.repo_id for line in fresh if line.repo_id is not None}
    if fresh:
        await look_again(pool, lab, owners=owners, repo_ids=repo_ids)


async def look_again(
    pool: Pool, lab: LabRecord, *, owners: Collection[int] | None = None, repo_ids: Collection[int] = ()
) -> int:
    """Look again at repositories that were turned away: those of these accounts, these ones; without `owners` all of
    the lab. Nobody has to push again because the class list came late. Returns how many are looked at.
    """
    found = await invitations.turned_away(pool, lab.base_repo_id, owners=owners, repo_ids=repo_ids)
    entries = [bind_entry(uuid4(), each.installation_id, each.repo_id) for each in found]
    return sum(await inbox.record(pool, entries))
