"""Which of several waiting pushes of one ref is the newest: by the `before -> after` chain, never by arrival.

GitHub may deliver in another order than events took place, and deliveries carry no usable time (GitHub webhook docs,
"Troubleshooting webhooks").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rules.model import Push


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest push. `certain`: the chain leads from the last known head to it without a gap."""

    push: Push
    certain: bool


def newest(pushes: Sequence[Push], known_head: str | None) -> Newest:
    """Follow the chain from `known_head` through `pushes` (one ref, at least one push, in order of arrival).

    Each push is used once, so force-pushes A -> B -> A end at their last link. When the chain is broken (a push was
    lost, or nothing is known yet), the answer is the last arrival and uncertain: the caller reads the ref.
    """
    waiting = list(pushes)
    head, last = known_head, None
    while (link := next((push for push in waiting if push.before == head), None)) is not None:
        waiting.remove(link)
        head, last = link.after, link
    if last is not None and not waiting:
        return Newest(last, certain=True)
    return Newest(pushes[-1], certain=False)
