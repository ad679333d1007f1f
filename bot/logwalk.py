"""Reads GitHub's delivery log downwards and notes what the inbox lacks; where it stopped is in the database.

Each look reads the news, from the top to where the log was read before. An entry may be logged minutes late, below
newer ones (GitHub docs, "Troubleshooting webhooks"): so every SWEEP the log is read from the top to OVERLAP below its
newest entry at the sweep before. A sweep may be long, after days away; it goes on where it was broken off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from bot.wanted import ASKED, FINISHED, RESULT_EVENTS
from bot.webhook import EVENTS
from github.deliverylog import LoggedDelivery, LogReader
from github.errors import Permanent, RateLimited, Transient
from storage import recovery
from storage.database import Pool
from storage.recovery import Key, Missed, Place

log = structlog.get_logger(__name__)

OVERLAP = timedelta(minutes=15)
SWEEP = timedelta(minutes=5)
# A sweep that began so long ago and cannot be gone on with begins anew.
STUCK = timedelta(days=1)

# After so many pages what was found is taken before more is read. (There is no bound on how many are read in all.)
PAGES = 50
# This part of the App's hourly requests is left to others: without them there are no tokens, and no verdicts.
RESERVE = 0.2
# A reader that found less is silent for so long (seconds).
RESERVE_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class LogWalk:
    """A way down the log. `kept`: how far the log reaches back; `still_here` is called after each page.

    `receives`: deliveries also come by the webhook; of events of which it stores only some, what it has answered is
    then not looked into again. `no_news`: what was looked into, and nobody needs.
    """

    pool: Pool
    reader: LogReader
    kept: timedelta
    receives: bool
    now: Callable[[], datetime]
    still_here: Callable[[], Awaitable[object]]
    no_news: Container[Key]

    async def further(self, place: Place) -> tuple[Place, bool]:
        """Note the entries that are new, and go on with the sweep; whether more of it is left.

        Raises GitHubError: what was noted until then stays noted, and the next one goes on from there.
        """
        now = self.now()
        if place.sweep_next is None and (place.swept_at is None or abs(now - place.swept_at) >= SWEEP):  # clocks jump
            return await self._sweep(replace(place, sweep_top=None), now, None)
        place = await self._read_news(place, now)
        if place.sweep_next is None:
            await recovery.save_place(self.pool, place, read_at=now)
            return place, False
        try:
            return await self._sweep(place, now, place.sweep_next)
        except (Permanent, Transient) as error:
            if isinstance(error, Permanent) or self._is_stuck(place, error, now):
                await recovery.save_place(self.pool, replace(place, sweep_top=None, sweep_next=None, swept_at=None))
            raise

    def _is_stuck(self, place: Place, error: Transient, now: datetime) -> bool:
        """Whether the address of a sweep seems to be of no use any more, although GitHub does not say so."""
        return not isinstance(error, RateLimited) and (place.sweep_top is None or now - place.sweep_top > STUCK)

    async def _read_news(self, place: Place, now: datetime) -> Place:
        """Read from the top down to where the log was read to. More than PAGES of it become a sweep."""
        until = place.newest_at or self._oldest(place, now)
        newest, address = await self._down(None, until, PAGES, whole=False)
        newest = max(newest or until, until)
        if address is not None:
            return replace(place, newest_at=newest, sweep_top=newest, sweep_next=address)
        return replace(place, newest_at=newest)

    async def _sweep(self, place: Place, now: datetime, address: str | None) -> tuple[Place, bool]:
        """Read from `address` (None: the top) down to the horizon, at most PAGES now; whether more is left."""
        until = self._oldest(place, now)
        newest, address = await self._down(address, until, PAGES, whole=True)
        if place.sweep_top is None:
            top = newest or place.newest_at or until
            place = replace(place, sweep_top=top, newest_at=max(top, place.newest_at or top))
        if address is not None:
            place = replace(place, sweep_next=address)
            await recovery.save_place(self.pool, place)
            return place, True
        assert place.sweep_top is not None  # noqa: S101 (set above)
        horizon = max(until, place.sweep_top - OVERLAP)
        place = replace(place, horizon=horizon, swept_at=now, sweep_top=None, sweep_next=None)
        await recovery.save_place(self.pool, place, read_at=now)
        return place, False

    def _oldest(self, place: Place, now: datetime) -> datetime:
        """Before this time the log is known, or is not kept."""
        return max(place.horizon or now - self.kept, now - self.kept)

    async def _down(
        self, address: str | None, until: datetime, pages: int, *, whole: bool
    ) -> tuple[datetime | None, str | None]:
        """Note the entries of at most so many pages, down to `until`; the newest one's time, and where more is left.

        `whole`: to the first page that is older as a whole, because entries are not quite in the order of their times.
        """
        newest: datetime | None = None
        seen: set[str | None] = set()
        for _ in range(pages):
            self.keep_reserve()
            seen.add(address)
            page = await self.reader.page(address)
            await self._note(page.entries)
            newest = max((entry.delivered_at for entry in page.entries), default=newest) if newest is None else newest
            older = [entry.delivered_at < until for entry in page.entries]
            address = page.next_page
            if (any(older) and (all(older) or not whole)) or address is None or address in seen:
                return newest, None
            await self.still_here()
        return newest, address

    async def _note(self, entries: Iterable[LoggedDelivery]) -> None:
        """Note those entries that somebody here acts upon."""
        oldest = self.now() - self.kept
        missed = []
        for entry in entries:
            if entry.delivered_at < oldest or not self._may_matter(entry):
                continue
            try:
                guid = UUID(entry.guid)
            except ValueError:
                log.warning("delivery_without_guid", delivery_id=entry.delivery_id, event_name=entry.event)
                continue
            if (guid, entry.event) in self.no_news:
                continue
            ids = (entry.installation_id, entry.repository_id)
            missed.append(Missed(guid, entry.event, entry.delivery_id, entry.action, *ids, entry.delivered_at))
        await recovery.note(self.pool, missed)

    def _may_matter(self, entry: LoggedDelivery) -> bool:
        if entry.event not in RESULT_EVENTS:
            return entry.event in EVENTS
        matters = entry.action == FINISHED or (entry.event, entry.action) in ASKED
        return matters and not (self.receives and entry.arrived)

    def keep_reserve(self) -> None:
        """Raise RateLimited while the App's budget is short, so that there are tokens for all installations."""
        if self.reader.left is not None and self.reader.left < RESERVE:
            self.reader.left = None  # one request tells how it is by then
            until = self.now().timestamp() + RESERVE_PAUSE
            raise RateLimited(
                "most of this hour's requests of the App are used up: the delivery log waits",
                until=until,
                retry_after=RESERVE_PAUSE,
                kind="primary",
                explicit=False,
            )
