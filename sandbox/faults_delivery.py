"""Faults in the path of deliveries: one hook between a delivery's birth and the queue of what is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from .core import Core
from .deliveries import Sending
from .effects import Delay, DeliveryEffect, Duplicate, Lose, Misreport, Pause, Reorder
from .faults import Armed, Subject


@dataclass(slots=True)
class _Held:
    """A group of a Reorder that is not full yet, and what sends it when its time is up."""

    sendings: list[Sending] = field(default_factory=list)
    timer: asyncio.Task[None] | None = None


class DeliveryFaults:
    """Lets the faults of the plan happen to deliveries; the log's `route`.

    Whatever is held back by a Delay or Reorder is still waited for by `idle()`; what a Pause holds back is not.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._log = core.deliveries
        self._tasks: set[asyncio.Task[None]] = set()
        self._kinds: dict[type, Callable[[Armed, Subject, list[Sending]], list[Sending]]] = {
            Delay: self._delay, Duplicate: self._duplicate, Lose: self._lose, Misreport: self._misreport,
            Pause: self._pause, Reorder: self._reorder,
        }  # fmt: skip

    def route(self, sending: Sending) -> None:
        """Send it now, later, more than once or never, as the faults have it."""
        going = [sending]
        subject = self._subject(sending)
        for armed in self._core.faults:
            wanted = going and isinstance(armed.fault.effect, DeliveryEffect) and armed.fits(subject)
            if wanted and armed.take():
                going = self._kinds[type(armed.fault.effect)](armed, subject, going)
        self._put(going)

    async def stop(self) -> None:
        """Give up what is held back."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _subject(self, sending: Sending) -> Subject:
        delivery = sending.delivery
        found = self._core.state.repositories.get(delivery.repository_id or 0)
        return Subject(
            area="delivery",
            what=f"{delivery.event} {delivery.guid}",
            event=delivery.event,
            action=delivery.action,
            installation_id=delivery.installation_id,
            repository_id=delivery.repository_id,
            names=frozenset() if found is None else frozenset({found.full_name.casefold()}),
        )

    def _put(self, sendings: list[Sending]) -> None:
        for each in sendings:
            self._log.put(each)

    def _later(self, seconds: float, then: Callable[[], None]) -> asyncio.Task[None]:
        async def wait() -> None:
            await self._core.faults.sleep(seconds)
            then()

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _throttled(self, sendings: list[Sending]) -> None:
        for each in sendings:
            each.throttled_at = each.throttled_at or self._core.now()

    # ------------------------------------------------------------------------------------------------ the kinds

    def _delay(self, armed: Armed, subject: Subject, going: list[Sending]) -> list[Sending]:
        effect: Any = armed.fault.effect
        self._throttled(going)
        self._later(effect.seconds, lambda: self._put(going))
        armed.fire(subject, f"{effect.seconds:g} s")
        return []

    def _duplicate(self, armed: Armed, subject: Subject, going: list[Sending]) -> list[Sending]:
        effect: Any = armed.fault.effect
        copies = [replace(each, logged=False) for each in going for _ in range(effect.copies - 1)]
        for _ in copies:
            self._log.begin()
        armed.fire(subject, f"{effect.copies} times")
        return [*going, *copies]

    def _lose(self, armed: Armed, subject: Subject, going: list[Sending]) -> list[Sending]:
        effect: Any = armed.fault.effect
        armed.fire(subject, effect.log)
        for each in going:
            each.sent = False
            if effect.log == "delivered":
                each.result = (200, "OK")
            if effect.log == "nothing":
                self._log.end()
                if not each.redelivery and each.delivery in self._log.log:
                    self._log.log.remove(each.delivery)
        return [] if effect.log == "nothing" else going

    def _misreport(self, armed: Armed, subject: Subject, going: list[Sending]) -> list[Sending]:
        effect: Any = armed.fault.effect
        code = effect.status_code
        words = {502: "failed to connect to host", 504: "timed out"}
        good = 200 <= code < 300
        for each in going:
            each.result = (code, "OK" if good else words.get(code, f"Invalid HTTP Response: {code}"))
        armed.fire(subject, str(code))
        return going

    def _reorder(self, armed: Armed, subject: Subject, going: list[Sending]) -> list[Sending]:
        effect: Any = armed.fault.effect
        if armed.state is None:
            armed.state = _Held()
            armed.on_end.append(lambda: self._release(armed))
        held: _Held = armed.state
        held.sendings += going
        armed.fire(subject)
        if len(held.sendings) >= effect.size or armed.left == 0:
            self._release(armed)
        elif held.timer is None:
            held.timer = self._later(effect.seconds, lambda: self._release(armed))
        return []

    def _release(self, armed: Armed) -> None:
        """Send a Reorder's group in its new order."""
        effect: Any = armed.fault.effect
        held: _Held = armed.state
        sendings, timer = held.sendings, held.timer
        held.sendings, held.timer = [], None
        if timer is not None and timer is not asyncio.current_task():
            timer.cancel()
        self._put(sendings[::-1] if effect.how == "backwards" else armed.shuffled(sendings))

    def _pause(self, armed: Armed, subject: Subject, going: list[Sending]) -> list[Sending]:
        if armed.state is None:
            armed.state = []
            armed.on_end.append(lambda: self._resume(armed))
        self._throttled(going)
        for each in going:
            armed.state.append(each)
            self._log.end()
        armed.fire(subject)
        return []

    def _resume(self, armed: Armed) -> None:
        for each in armed.state:
            self._log.begin()
            self._log.put(each)
        armed.state = []
