"""Erasing a person: everything that names them, and everything that they did (binding.md section 9).

What stays: numbers in the audit, which is never changed otherwise, and numbers of deliveries without their bodies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rules.model import AccountKind
from storage.audit import AuditEvent
from storage.database import STATEMENT_TIMEOUT, Pool, is_transient, storable
from storage.errors import StorageError

#: Whoever is erased may have left much, and tables are read as a whole for it: rarely done, and never in a hurry.
TIMEOUT = timedelta(minutes=5)

#: Bodies that are searched in one statement.
BODIES = 500

#: A writer that waits for us while we wait for it: one of the two has to begin again.
TRIES = 3


class CannotForget(StorageError):  # noqa: N818 (an event, as its callers read it)
    """This account cannot be erased like a person. The operator's; says what to do."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can be erased. `account_id` None: only invited, by a login that nobody was seen under."""

    account_id: int | None
    login: str | None
    kind: AccountKind = AccountKind.USER


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many rows of each kind named the person, or were theirs. `attempts`: judged pushes; `bodies`: of processed
    deliveries that name the number; `reports`: texts of check-runs; `accounts`: 1 if the account itself was known."""

    accounts: int
    sessions: int
    attempts: int
    invitations: int
    repositories: int
    installations: int
    reports: int
    deliveries: int
    bodies: int

    @property
    def nothing(self) -> bool:
        """Whether nothing was stored of the person but numbers in the audit."""
        return not any((self.accounts, self.sessions, self.invitations, self.installations, self.reports))


_BY_ID = "SELECT account_id, login, kind FROM github_account WHERE account_id = $1"
_BY_LOGIN = "SELECT account_id, login, kind FROM github_account WHERE lower(login) = lower($1) ORDER BY account_id"
_INVITED = "SELECT login FROM invitation WHERE account_id IS NULL AND lower(login) = lower($1) LIMIT 1"


async def find(pool: Pool, name: str) -> tuple[Person, ...]:
    """The people that a number, or a login as it was last seen, may mean: more than one when a login changed hands.

    A number is taken as it is: things may be left of an account that is not known by itself.
    """
    if re.fullmatch(r"[0-9]{1,18}", name):
        row = await pool.fetchrow(_BY_ID, int(name))
        return (_person(row) if row is not None else Person(int(name), None),)
    rows = await pool.fetch(_BY_LOGIN, storable(name))
    if rows:
        return tuple(_person(row) for row in rows)
    invited = await pool.fetchval(_INVITED, storable(name))
    return (Person(None, str(invited)),) if invited is not None else ()


def _person(row: Any) -> Person:
    return Person(row["account_id"], row["login"], AccountKind(row["kind"]))


async def installed(pool: Pool, person: Person) -> bool:
    """Whether the App is still installed on the person's account: then their next push makes them known again."""
    return bool(
        await pool.fetchval(
            "SELECT EXISTS (SELECT FROM installation WHERE account_id = $1 AND state <> 'deleted')", person.account_id
        )
    )


_MAY_ENROL = """
SELECT NOT EXISTS (
    SELECT FROM installation AS i WHERE i.installation_id = $1 AND i.forgotten_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM delivery AS d WHERE d.lane_id = 'repo:' || $2::bigint AND d.event = 'push' AND d.state = 'waiting'
          AND d.received_at > i.forgotten_at))
"""


async def may_enrol(pool: Pool, installation_id: int, repo_id: int) -> bool:
    """Whether a session may be begun for a repository: not for somebody who was erased, unless they pushed since."""
    return bool(await pool.fetchval(_MAY_ENROL, installation_id, repo_id))


async def survey(pool: Pool, person: Person) -> Forgotten:
    """What erasing the person would erase. Raises CannotForget."""
    return await _forget(pool, person, AuditEvent("learner_forgotten"), pretend=True)


async def forget(pool: Pool, person: Person, *, by: int | None = None) -> Forgotten:
    """Erase a person, for good; doing it again erases what came since. `by` None: the operator's shell.

    A push of theirs that is being processed meanwhile comes to nothing. Raises CannotForget.
    """
    return await _forget(pool, person, AuditEvent("learner_forgotten", actor_id=by), pretend=False)


async def _forget(pool: Pool, person: Person, event: AuditEvent, *, pretend: bool) -> Forgotten:
    if person.kind is not AccountKind.USER:
        raise CannotForget(f"{person.login} is an {person.kind.value.lower()}: only people can be forgotten")
    bodies = await _bodies(pool, person.account_id, pretend=pretend) if person.account_id is not None else 0
    given = (person.account_id, storable(person.login or ""), event.to_json(), pretend)
    for tries in range(1, TRIES + 1):
        try:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(f"SET LOCAL statement_timeout = {int(TIMEOUT.total_seconds() * 1000)}")
                counts = await connection.fetchval(
                    "SELECT forget_account($1, $2, $3, $4)", *given, timeout=TIMEOUT.total_seconds() + 5
                )
            break
        except Exception as error:
            if tries == TRIES or not is_transient(error):
                raise
    return Forgotten(**counts, bodies=bodies)


# Also others' pushes, and what they did to others: as JSON is written, with or without a space. Bodies that wait are
# needed; they go when they were processed, after the same time as all others.
_NAMING = """
SELECT inbox_id, position($2::bytea IN payload) + position($3::bytea IN payload) + position($4::bytea IN payload)
    + position($5::bytea IN payload) > 0 AS names
FROM delivery WHERE inbox_id > $1 AND payload IS NOT NULL AND state <> 'waiting' ORDER BY inbox_id LIMIT $6
"""


async def _bodies(pool: Pool, account_id: int, *, pretend: bool) -> int:
    """Delete the bodies of processed deliveries that name the account by its number; how many there were."""
    forms = [f'"id":{space}{account_id}{end}'.encode() for space in ("", " ") for end in (",", "}")]
    total, last = 0, 0
    while rows := await pool.fetch(_NAMING, last, *forms, BODIES, timeout=STATEMENT_TIMEOUT.total_seconds() + 5):
        last = rows[-1]["inbox_id"]
        naming = [row["inbox_id"] for row in rows if row["names"]]
        total += len(naming)
        if naming and not pretend:
            await pool.execute(
                "UPDATE delivery SET payload = NULL WHERE inbox_id = ANY ($1) AND state <> 'waiting'", naming
            )
    return total
