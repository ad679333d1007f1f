"""Class lists in the database: idempotent, by id, resolved when an account is seen, audited."""

from __future__ import annotations

import asyncio

import pytest

from rules.model import Account, AccountKind
from storage import accounts, audit, invitations, labs
from storage.database import Pool
from storage.invitations import Invitee
from tests.support.bindings import ADA, COURSE, LIN, a_repo, bind, install, publish

NEW = Account(103, "learner-three", AccountKind.USER)


async def rows(pool: Pool, lab_id: int) -> list[tuple[int | None, str | None, int | None]]:
    """Who is on the class list: account id, login, repository id."""
    listed = await invitations.class_list(pool, lab_id)
    return [(each.account_id, each.login, each.repo_id) for each in listed]


async def test_inviting_twice_changes_nothing(pool: Pool) -> None:
    """The second time everybody is invited already, and the audit holds one event with ids only."""
    lab, _ = await publish(pool)
    people = [Invitee(ADA), Invitee(LIN, repo_id=502)]

    assert await invitations.invite(pool, lab.lab_id, people, actor_id=COURSE.account_id) == ["invited", "invited"]
    assert await invitations.invite(pool, lab.lab_id, people) == ["already", "already"]

    assert await rows(pool, lab.lab_id) == [(101, "learner-one", None), (102, "learner-two", 502)]
    (event,) = await audit.list_events(pool)
    assert (event.event.kind, event.event.actor_id) == ("invited", 900)
    assert event.event.detail == {"lab_id": lab.lab_id, "accounts_and_repositories": [[101, None], [102, 502]]}


async def test_nobody_to_invite(pool: Pool) -> None:
    """An empty list is invited to without a trace."""
    lab, _ = await publish(pool)

    assert await invitations.invite(pool, lab.lab_id, []) == []
    assert await audit.list_events(pool) == ()


async def test_pretending_writes_nothing(pool: Pool) -> None:
    """A dry run says what would become of each row, duplicates included, and leaves neither account nor audit."""
    lab, _ = await publish(pool)
    people = [Invitee(ADA), Invitee(ADA), Invitee(login="ghost")]

    outcomes = await invitations.invite(pool, lab.lab_id, people, pretend=True)

    assert outcomes == ["invited", "already", "invited"]
    assert await rows(pool, lab.lab_id) == []
    assert await accounts.account(pool, ADA.account_id) is None
    assert await audit.list_events(pool) == ()


async def test_another_login_is_the_same_person(pool: Pool) -> None:
    """Inviting an account again under its new login is no second invitation; the list shows the new login."""
    lab, _ = await publish(pool)
    await invitations.invite(pool, lab.lab_id, [Invitee(ADA)])

    renamed = Account(ADA.account_id, "ada-l", AccountKind.USER)

    assert await invitations.invite(pool, lab.lab_id, [Invitee(renamed)]) == ["already"]
    assert await rows(pool, lab.lab_id) == [(101, "ada-l", None)]


async def test_a_repository_belongs_to_one_learner(pool: Pool) -> None:
    """A repository that is another's by invitation, and a second repository of one learner, are refused."""
    lab, _ = await publish(pool)
    await invitations.invite(pool, lab.lab_id, [Invitee(ADA, repo_id=501)])

    assert await invitations.invite(pool, lab.lab_id, [Invitee(LIN, repo_id=501)]) == ["repo_taken"]
    assert await invitations.invite(pool, lab.lab_id, [Invitee(ADA, repo_id=777)]) == ["another_repo"]
    assert await rows(pool, lab.lab_id) == [(101, "learner-one", 501)]


async def test_a_repository_may_be_named_later(pool: Pool) -> None:
    """An unused invitation takes the repository on; naming none again changes nothing."""
    lab, _ = await publish(pool)
    await invitations.invite(pool, lab.lab_id, [Invitee(ADA)])

    assert await invitations.invite(pool, lab.lab_id, [Invitee(ADA, repo_id=501)]) == ["invited"]
    assert await invitations.invite(pool, lab.lab_id, [Invitee(ADA)]) == ["already"]
    assert await rows(pool, lab.lab_id) == [(101, "learner-one", 501)]


@pytest.mark.parametrize("by_installation", [False, True])
async def test_a_kept_login_becomes_the_first_account_seen_under_it(pool: Pool, by_installation: bool) -> None:
    """Whoever writes the account, sign-in or installation, the invitation becomes its own, whatever the case."""
    lab, _ = await publish(pool)
    kept = [Invitee(login="Learner-Three"), Invitee(login="somebody-else")]
    assert await invitations.invite(pool, lab.lab_id, kept) == ["invited", "invited"]
    assert await invitations.invite(pool, lab.lab_id, [Invitee(login="learner-three")]) == ["already"]

    if by_installation:
        await install(pool, 73, NEW)
    else:
        await accounts.upsert_account(pool, NEW)

    assert await rows(pool, lab.lab_id) == [(103, "learner-three", None), (None, "somebody-else", None)]
    assert await invitations.invite(pool, lab.lab_id, [Invitee(NEW)]) == ["already"]


async def test_a_kept_login_is_taken_by_renaming_but_never_twice(pool: Pool) -> None:
    """An account renamed to a kept login takes it; one that is invited already only ends the waiting."""
    lab, _ = await publish(pool)
    await invitations.invite(pool, lab.lab_id, [Invitee(ADA), Invitee(login="ada-l")])

    await accounts.upsert_account(pool, Account(ADA.account_id, "ada-l", AccountKind.USER))

    assert await rows(pool, lab.lab_id) == [(101, "ada-l", None)]


async def test_an_organisation_never_takes_an_invitation(pool: Pool) -> None:
    """Only people learn: a kept login stays kept when an organisation of that name appears."""
    lab, _ = await publish(pool)
    await invitations.invite(pool, lab.lab_id, [Invitee(login=COURSE.login)])

    await accounts.upsert_account(pool, COURSE)

    assert await rows(pool, lab.lab_id) == [(None, "octo-course", None)]


async def test_a_kept_login_with_a_repository(pool: Pool) -> None:
    """The repository is reserved for the login, and resolved with it."""
    lab, _ = await publish(pool)
    kept = Invitee(login="learner-three", repo_id=501)
    assert await invitations.invite(pool, lab.lab_id, [kept]) == ["invited"]
    assert await invitations.invite(pool, lab.lab_id, [kept]) == ["already"]
    assert await invitations.invite(pool, lab.lab_id, [Invitee(ADA, repo_id=501)]) == ["repo_taken"]

    await accounts.upsert_account(pool, NEW)

    assert await rows(pool, lab.lab_id) == [(103, "learner-three", 501)]


async def test_taking_back(pool: Pool) -> None:
    """An unused invitation goes, by account or by kept login; one that a session has used stays."""
    bound = await bind(pool)
    lab_id = bound.lab.lab_id
    await pool.execute(
        "INSERT INTO invitation (lab_id, account_id, session_id) VALUES ($1, $2, $3)",
        lab_id,
        ADA.account_id,
        bound.session.session_id,
    )
    await invitations.invite(pool, lab_id, [Invitee(LIN), Invitee(login="ghost")])
    everybody = [Invitee(ADA), Invitee(LIN), Invitee(login="GHOST"), Invitee(NEW)]

    assert await invitations.uninvite(pool, lab_id, everybody) == ["used", "removed", "removed", "none"]

    assert await rows(pool, lab_id) == [(101, "learner-one", None)]
    (event, *_) = await audit.list_events(pool)
    assert (event.event.kind, event.event.detail) == ("uninvited", {"lab_id": lab_id, "accounts": [102, None]})


async def test_two_lists_at_once_are_one_list(pool: Pool) -> None:
    """Several people run the same list at the same time: nobody fails, and nobody is invited twice."""
    lab, _ = await publish(pool)
    people = [Invitee(Account(200 + at, f"learner-{at}", AccountKind.USER)) for at in range(50)]

    runs = await asyncio.gather(*(invitations.invite(pool, lab.lab_id, people) for _ in range(4)))

    assert sorted(run.count("invited") for run in runs) == [0, 0, 0, 50]
    assert len(await rows(pool, lab.lab_id)) == 50


async def test_counts_count_people(pool: Pool) -> None:
    """A person invited by account and by repository counts once; who has begun is not among those who have not."""
    bound = await bind(pool)
    lab_id = bound.lab.lab_id
    await pool.execute(
        "INSERT INTO invitation (lab_id, account_id, repo_id, session_id) VALUES ($1, $2, NULL, $3), ($1, $2, 9, NULL)",
        lab_id,
        ADA.account_id,
        bound.session.session_id,
    )
    await invitations.invite(pool, lab_id, [Invitee(LIN), Invitee(login="ghost")])

    counts = await labs.counts(pool, lab_id)

    assert (counts.invited, counts.not_started, counts.started, counts.open, counts.finished) == (3, 2, 1, 1, 0)


async def test_what_an_installation_covers(pool: Pool) -> None:
    """A repository is found by id through an active installation, and not through one that is gone."""
    await install(pool, 71, ADA, a_repo(501))
    await install(pool, 72, LIN, a_repo(502, LIN))
    await pool.execute("UPDATE installation SET state = 'deleted' WHERE installation_id = 72")

    found = await invitations.covered(pool, [501, 502, 503])

    assert {repo_id: each.full_name for repo_id, each in found.items()} == {501: "learner-one/lab"}


async def test_accounts_by_what_they_were_called(pool: Pool) -> None:
    """Accounts are found by the login they were last seen under, whatever its case."""
    await accounts.upsert_account(pool, Account(101, "Ada", AccountKind.USER))
    await accounts.upsert_account(pool, Account(102, "ada", AccountKind.USER))

    found = await invitations.accounts_once_called(pool, ["ADA", "nobody"])

    assert {login: {each.account_id for each in called} for login, called in found.items()} == {"ada": {101, 102}}


async def test_who_was_turned_away(pool: Pool) -> None:
    """Unbound repositories that were refused for lack of an invitation are found by owner or lab, others by id."""
    lab, _ = await publish(pool)
    await install(pool, 71, ADA, a_repo(501))
    await install(pool, 72, LIN, a_repo(502, LIN), a_repo(503, LIN, "other"))
    for repo_id, owner, code in ((501, 101, "NO_SESSION"), (502, 102, "ENROLMENT_CLOSED"), (503, 102, "AMBIGUOUS")):
        await audit.record(
            pool,
            audit.AuditEvent("rejected", code=code, repo_id=repo_id, owner_id=owner, parent_id=lab.base_repo_id),
        )

    async def found(**which: object) -> set[int]:
        each = await invitations.turned_away(pool, lab.base_repo_id, **which)  # type: ignore[arg-type]
        return {repository.repo_id for repository in each}

    assert await found() == {501, 502}
    assert await found(owners=[102]) == {502}
    assert await found(owners=[], repo_ids=[501, 503, 999]) == {501, 503}
    assert await found(owners=[]) == set()
    assert {each.repo_id for each in await invitations.turned_away(pool, 4242)} == set()


async def test_the_lab_that_a_repository_is_invited_to(pool: Pool) -> None:
    """The latest invitation that names the repository tells the lab; one that names only its owner does not."""
    lab, _ = await publish(pool)
    other, _ = await publish(pool, "hooks", 5001)
    await invitations.invite(pool, lab.lab_id, [Invitee(ADA), Invitee(LIN, repo_id=502)])
    assert await invitations.lab_of(pool, 501) is None
    assert await invitations.lab_of(pool, 502) == lab

    await invitations.invite(pool, other.lab_id, [Invitee(LIN, repo_id=502)])
    assert await invitations.lab_of(pool, 502) == other
