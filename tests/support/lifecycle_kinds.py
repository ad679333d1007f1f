"""The lifecycle events that GitHub has, each with how a learner stands before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.support.lifecycle import Case

Step = Callable[[Case], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """A lifecycle event: how the learner stands before (`given`, delivered), and what happens (`event`).

    `comes`: with it the repository comes into the App's sight.
    """

    given: Step
    event: Step
    comes: bool = False


async def _nothing(_case: Case) -> None:
    pass


async def _forked(case: Case) -> None:
    await case.make_fork()


async def _bound(case: Case) -> None:
    await case.make_fork()
    await case.hand_in(await case.happen(case.install))
    await case.reported()


async def _bound_with_everything(case: Case) -> None:
    await case.make_fork()
    await case.hand_in(await case.happen(lambda: case.install(everything=True)))
    await case.reported()


async def _ready(case: Case) -> None:
    await case.hand_in(await case.happen(lambda: case.install(everything=True)))


def _after(first: Step, then: Step) -> Step:
    """First the one, then the other, which is delivered too."""

    async def both(case: Case) -> None:
        await first(case)
        await case.hand_in(await case.happen(lambda: then(case)))

    return both


async def _install(case: Case) -> None:
    await case.install()


async def _uninstall(case: Case) -> None:
    await case.sandbox.uninstall(case.of_learner().id)


async def _suspend(case: Case) -> None:
    await case.sandbox.suspend(case.of_learner().id)


async def _unsuspend(case: Case) -> None:
    await case.sandbox.unsuspend(case.of_learner().id)


async def _older_permissions(case: Case) -> None:
    """Installed when the App asked for more than it needs now."""
    await case.make_fork()
    await case.install()
    case.of_learner().permissions["issues"] = "read"


async def _accept(case: Case) -> None:
    await case.sandbox.accept_permissions(case.of_learner().id)


async def _select(case: Case) -> None:
    await case.sandbox.select(case.of_learner().id, add=[case.repo.full_name])


async def _deselect(case: Case) -> None:
    await case.sandbox.select(case.of_learner().id, remove=[case.repo.full_name])


async def _select_all(case: Case) -> None:
    await case.sandbox.select_all(case.of_learner().id)


async def _rename_account(case: Case) -> None:
    case.sandbox.rename_account(case.repo.owner.login, f"{case.repo.owner.login}-renamed")


async def _fork(case: Case) -> None:
    await case.make_fork(at=None)


async def _rename(case: Case) -> None:
    await case.sandbox.rename(case.repo.full_name, "counter-of-mine")


async def _with_a_buyer(case: Case) -> None:
    """Installed on everything, and so it is on another account."""
    await _bound_with_everything(case)
    buyer = case.sandbox.add_account(f"{case.login}-buyer")

    async def install() -> None:
        case.seen.add((await case.sandbox.install(buyer.login)).id)

    await case.hand_in(await case.happen(install))


async def _sell(case: Case) -> None:
    await case.sandbox.transfer(case.repo.full_name, f"{case.login}-buyer")


async def _buy_back(case: Case) -> None:
    await case.sandbox.transfer(case.repo.full_name, case.login)


async def _delete(case: Case) -> None:
    await case.sandbox.delete_repository(case.repo.full_name)


async def _archive(case: Case) -> None:
    await case.sandbox.archive(case.repo.full_name)


async def _unarchive(case: Case) -> None:
    await case.sandbox.archive(case.repo.full_name, archived=False)


async def _hide(case: Case) -> None:
    await case.sandbox.set_visibility(case.repo.full_name, private=True)


async def _show(case: Case) -> None:
    await case.sandbox.set_visibility(case.repo.full_name, private=False)


async def _other_default_branch(case: Case) -> None:
    await case.sandbox.set_default_branch(case.repo.full_name, "work-2")


async def _forked_by_another(case: Case) -> None:
    case.sandbox.add_account(f"{case.login}-friend")
    await case.sandbox.fork(case.repo.full_name, f"{case.login}-friend")


async def _sign_in(case: Case) -> None:
    case.sandbox.user_token(case.login)


async def _revoke(case: Case) -> None:
    case.sandbox.revoke_authorization(case.login)


async def _ping(case: Case) -> None:
    case.sandbox.ping()


KINDS: dict[str, Kind] = {
    "installation.created": Kind(_forked, _install, comes=True),
    "installation.created, again": Kind(_after(_bound, _uninstall), _install, comes=True),
    "installation.deleted": Kind(_bound, _uninstall),
    "installation.suspend": Kind(_bound, _suspend),
    "installation.unsuspend": Kind(_after(_bound, _suspend), _unsuspend, comes=True),
    "installation.new_permissions_accepted": Kind(_after(_nothing, _older_permissions), _accept),
    "installation_repositories.added": Kind(_after(_bound, _deselect), _select, comes=True),
    "installation_repositories.added, all": Kind(_after(_bound, _deselect), _select_all, comes=True),
    "installation_repositories.removed": Kind(_bound, _deselect),
    "installation_target.renamed": Kind(_bound, _rename_account),
    "repository.created": Kind(_ready, _fork, comes=True),
    "repository.renamed": Kind(_bound, _rename),
    "repository.transferred": Kind(_with_a_buyer, _sell),
    "repository.transferred, back": Kind(_after(_with_a_buyer, _sell), _buy_back, comes=True),
    "repository.deleted": Kind(_bound, _delete),
    "repository.archived": Kind(_bound, _archive),
    "repository.unarchived": Kind(_after(_bound, _archive), _unarchive),
    "repository.privatized": Kind(_bound, _hide),
    "repository.publicized": Kind(_after(_bound, _hide), _show),
    "repository.edited": Kind(_bound, _other_default_branch),
    "fork": Kind(_bound, _forked_by_another),
    "github_app_authorization.revoked": Kind(_after(_bound, _sign_in), _revoke),
    "ping": Kind(_bound, _ping),
}
