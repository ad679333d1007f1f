"""Looking at the whole chain of the audit: is every sealed row and every seal as it was?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rules.audit_chain import FORGOTTEN, Fault, Seal, check_rows, check_seal
from storage.database import Pool
from storage.sealing import chain_state, sealed_batches

#: Faults that are told one by one; of more only the number.
SHOWN_FAULTS = 1_000


@dataclass(slots=True)
class Verification:
    """What a look at the whole chain found. `faults`: the first SHOWN_FAULTS of `faulty`.

    `root`: the newest, hexadecimal; `noted`: the batch whose root was asked for; `forgotten`: rows whose names were
    taken out for a person's sake; `archived`: batches whose rows are in files; `unchecked`: how many of them no given
    file holds, by the name of their file; `unsealed`: rows behind the last batch.
    """

    batches: int = 0
    rows: int = 0
    faulty: int = 0
    faults: list[Fault] = field(default_factory=list)
    root: str | None = None
    noted: int | None = None
    forgotten: int = 0
    archived: int = 0
    unchecked: dict[str, int] = field(default_factory=dict)
    unsealed: int = 0

    def add(self, faults: Sequence[Fault]) -> None:
        """Count faults, and keep the first ones."""
        self.faulty += len(faults)
        self.faults += faults[: SHOWN_FAULTS - len(self.faults)]


async def verify(
    pool: Pool,
    *,
    noted_root: str | None = None,
    filed: Mapping[int, bytes] | None = None,
    progress: Callable[[int], None] = lambda _batch: None,
) -> Verification:
    """Look at every sealed row and every seal.

    `noted_root`: one that somebody wrote down elsewhere (hexadecimal); `filed`: batches and their roots as archives
    have them (which were checked by themselves); `progress` is told how many batches are done.
    """
    found = Verification()
    before: Seal | None = None
    left = dict(filed or {})
    async for batch in sealed_batches(pool):
        seal = batch.seal
        found.add(check_seal(seal, before))
        root = left.pop(seal.batch, None)
        if root is not None and root != seal.root:
            found.add([Fault("seal", seal.batch, None, "a file holds another batch under this number")])
        if batch.archive_name is None:
            found.add(check_rows(seal, batch.rows, batch.salts))
            found.rows += len(batch.rows)
            found.forgotten += batch.salts.count(FORGOTTEN)
        else:
            found.archived += 1
            words = "it was archived, and is in the database again"
            found.add([Fault("inserted", seal.batch, row.event_id, words) for row in batch.rows])
            if root is None:
                found.unchecked[batch.archive_name] = found.unchecked.get(batch.archive_name, 0) + 1
        found.batches += 1
        if noted_root == seal.root.hex():
            found.noted = seal.batch
        before = seal
        progress(found.batches)
    found.add([Fault("seal", number, None, "a file holds it, and the chain does not") for number in left])
    found.root = before.root.hex() if before is not None else None
    found.unsealed = (await chain_state(pool)).unsealed
    return found
