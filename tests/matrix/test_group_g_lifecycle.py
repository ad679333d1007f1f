"""Group G: every lifecycle event before, during and after a push; delivered in order, swapped, or never: the state that
is stored and the verdict end as GitHub and git have them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import pytest
import pytest_asyncio

from bot import pipeline
from sandbox import Delivery
from tests.support.githost import seed
from tests.support.learners import COURSE, TEACHER, template_files
from tests.support.lifecycle import Case, Seams
from tests.support.lifecycle_kinds import KINDS, Kind
from tests.support.line import Line, register_lab, running_line
from tests.support.pictures import GitOracle, lay_out_work

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB = "word-counter"
#: Cases at a time: fewer than the worker has slots, as a judgement that is held up keeps one.
AT_ONCE = 3
#: What the next push alone puts right, however much was lost: see `Picture`.
OF_PUSHES = ("bound", "status", "accepted_sha", "head_sha", "done", "told")
#: Exchanges with GitHub that are checked against its description at the end: all are of a few kinds.
CHECKED = 60

SOAK = os.environ.get("SOAK") == "1"

When = Literal["before", "during", "after"]
Order = Literal["in order", "swapped", "lost"]
Plan = tuple[When, Order]


# --------------------------------------------------------------------------------------------------- how it is played


@dataclass
class Play:
    """One case of the matrix."""

    case: Case
    kind: Kind
    when: When
    order: Order
    complaints: list[str] = field(default_factory=list)

    async def run(self) -> list[str]:
        """Play it to its end; what is not as GitHub and git have it."""
        case = self.case
        await self.kind.given(case)
        case.judged = case.head() if case.fork is not None and case.seen else None
        acts = {"before": self._before, "after": self._after, "during": self._during}
        await acts[self.when]()
        if self.order == "lost":
            await self._repair()
        return [*self.complaints, *await case.differences(), *await case.unfinished()]

    async def _happen(self) -> list[Delivery]:
        """The lifecycle event, at GitHub."""
        return await self.case.happen(lambda: self.kind.event(self.case))

    async def _push(self, work: str = "work-1") -> list[Delivery]:
        """A push, at GitHub."""
        return await self.case.happen(lambda: self.case.push(work))

    async def _before(self) -> None:
        case = self.case
        if self.order == "swapped":
            event = await self._happen()
            await case.hand_in(await self._push())
            await case.hand_in(event)
            return
        event = await self._happen()
        if self.order == "in order":
            await case.hand_in(event)
        await case.hand_in(await self._push())

    async def _after(self) -> None:
        case = self.case
        if self.order == "swapped":
            push = await self._push()
            await case.hand_in(await self._happen())
            await case.hand_in(push)
            return
        seen = case.visible
        await case.hand_in(await self._push())
        if seen:
            case.judged = case.head()
        event = await self._happen()
        if self.order == "in order":
            await case.hand_in(event)

    async def _during(self) -> None:
        await (self._coming_during() if self.kind.comes else self._going_during())

    async def _going_during(self) -> None:
        """The event comes about, and its delivery arrives, while the push is judged; swapped: it arrives afterwards."""
        case, late = self.case, list[Delivery]()
        push = await self._push()

        async def midway() -> None:
            event = await self._happen()
            if self.order == "in order":
                await self._hand_in_midway(event)
            elif self.order == "swapped":
                late.extend(event)

        await self._judge_with(push, midway)
        await case.hand_in(late)
        if push and self.order != "in order":
            case.judged = case.oracle.heads["work-1"]
        elif push and not case.visible:  # in order: which of the two was written first, only the database knows
            accepted = (await case.stored()).accepted_sha
            case.judged = accepted if accepted == case.oracle.heads["work-1"] else case.judged

    async def _coming_during(self) -> None:
        """The push comes about while the event's own judgement is under way; swapped: the event's delivery arrives
        while the push is judged, which came first; lost: another push, while the first is judged."""
        event = await self._happen()
        if self.order == "in order":

            async def push_midway() -> None:
                await self._hand_in_midway(await self._push())

            await self._judge_with(event, push_midway)
            return
        late = event if self.order == "swapped" else None

        async def event_midway() -> None:
            await self._hand_in_midway(await self._push("work-2") if late is None else late)

        await self._judge_with(await self._push(), event_midway)

    async def _judge_with(self, deliveries: list[Delivery], midway: Callable[[], Awaitable[None]]) -> None:
        """Hand in, with something that happens in the middle of the judgement that follows (or at once, if nothing can
        be handed in, as of an archived repository)."""
        case = self.case
        case.seams.once(case.repo.id, midway)
        await case.hand_in(deliveries)
        if case.seams.left(case.repo.id):
            self.complaints += ["nothing was judged in the meantime"] if deliveries else []
            await midway()
        await case.quiet()

    async def _hand_in_midway(self, deliveries: list[Delivery]) -> None:
        """Hand in, and wait for what does not wait for the judgement that is under way."""
        await self.case.hand_in(deliveries, wait=False)
        await self.case.quiet(lanes=self.case.lanes_of_installations())

    async def _repair(self) -> None:
        """Nobody tells of the event any more. The next push, if one can come, puts right what pushes depend on; the
        rest is put right when the installations are looked at again."""
        case = self.case
        if case.visible and case.writable:
            await case.hand_in(await self._push("work-3"))
            self.complaints += [f"after the next push: {each}" for each in await case.differences(*OF_PUSHES)]
        await case.look_again()


# ---------------------------------------------------------------------------------------------------------- the matrix


@dataclass(frozen=True)
class World:
    """A running line whose deliveries the tests hand in, the lab, and what git says of every head."""

    line: Line
    oracle: GitOracle
    seams: Seams

    def learner(self) -> Case:
        """A new one, who has done nothing yet."""
        login = f"learner-{next(_numbers)}"
        number = self.line.sandbox.add_account(login).id
        return Case(self.line, self.oracle, self.seams, f"{COURSE}/{LAB}", login, number)


_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="world")
async def _world(module_database: str) -> AsyncIterator[World]:
    """The example lab, with all the work that learners will push laid out on its branches."""
    async with running_line(module_database, echo_events=False, rate_limit=1_000_000) as line:
        line.sandbox.add_account(COURSE, "Organization")
        line.sandbox.add_account(TEACHER)
        template = await line.sandbox.add_repository(COURSE, LAB)
        await seed(template, template_files())
        heads = await lay_out_work(template)
        await line.sandbox.install(COURSE, "all")
        await line.settle()
        _, version = await register_lab(line, template.full_name)
        line.sandbox.webhook_url = None
        with pytest.MonkeyPatch.context() as patch:
            seams = Seams()
            patch.setattr(pipeline, "gather", seams.gather)
            yield World(line, await GitOracle.of(template, version, heads), seams)
        while len(line.sandbox.exchanges) > CHECKED:
            line.sandbox.exchanges.pop()


def plans_of(name: str) -> list[Plan]:
    """When a kind of event happens, with how its delivery comes: each moment and each order once, matched in another
    way from kind to kind, so that every pair (of kind, moment, order) is played. All nine in `make soak`."""
    if SOAK:
        return list(itertools.product(get_args(When), get_args(Order)))
    alike = [each for each, kind in KINDS.items() if kind.comes is KINDS[name].comes]
    matched = list(itertools.permutations(get_args(Order)))
    return list(zip(get_args(When), matched[alike.index(name) % len(matched)], strict=True))


async def test_each_pair_is_played() -> None:
    """Of each kind every moment and every order, and every moment with every order, also of the kinds that come."""
    whens, orders = set(get_args(When)), set(get_args(Order))
    for name in KINDS:
        assert {when for when, _ in plans_of(name)} == whens
        assert {order for _, order in plans_of(name)} == orders
    for comes in (False, True):
        played = {plan for name, kind in KINDS.items() if kind.comes is comes for plan in plans_of(name)}
        assert played == set(itertools.product(whens, orders))


@pytest.mark.parametrize("name", KINDS)
async def test_the_state_ends_as_github_has_it(world: World, name: str) -> None:
    """Whenever it happens and however its delivery comes, the stored state is GitHub's, and the verdict git's."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def played(when: When, order: Order) -> list[str]:
        async with slots:
            return await Play(world.learner(), KINDS[name], when, order).run()

    plans = plans_of(name)
    complaints = await asyncio.gather(*(played(*plan) for plan in plans))

    wrong = [
        f"{when} a push, {order}: {each}"
        for (when, order), found in zip(plans, complaints, strict=True)
        for each in found
    ]
    assert not wrong, "\n".join([name, *wrong])
