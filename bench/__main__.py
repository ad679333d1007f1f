"""`python -m bench [NAME ...] [--small]`: a line for each figure; exit status 0 whatever falls short."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from bench import calls, growing_judge, growth, judge, load, memory, patterns, receive
from bench.figures import Figure, machine
from bench.processes import BenchError, Place
from cli.serve import leave_on_sigterm
from storage import embedded

# A disk that survives restarts, where there is one: /tmp may be memory.
DISK = Path("/var/tmp")

BENCHES: dict[str, tuple[Callable[[Place, Any], Awaitable[list[Figure]]], Any, Any]] = {
    "receive": (receive.measure, receive.Size(), receive.SMALL),
    "judge": (judge.measure, judge.Size(), judge.SMALL),
    "patterns": (patterns.measure, patterns.Size(), patterns.SMALL),
    "growing_judge": (growing_judge.measure, growing_judge.Size(), growing_judge.SMALL),
    "growth": (growth.measure, growth.Size(), growth.SMALL),
    "calls": (calls.measure, calls.Size(), calls.SMALL),
    "memory": (memory.measure, memory.Size(), memory.SMALL),
    "load": (load.measure, load.Size(), load.SMALL),
}


async def run(names: list[str], place: Place, *, small: bool) -> bool:
    """Run benches one after another and print their lines; whether each could be made."""
    made = True
    for name in names:
        measure, size, little = BENCHES[name]
        try:
            figures = await measure(place, little if small else size)
        except (BenchError, TimeoutError, OSError) as error:
            print(f"{name} could not be measured: {error!s}", file=sys.stderr, flush=True)
            made = False
            continue
        for figure in figures:
            print(figure, flush=True)
    return made


def main() -> int:
    """Read the command line, start PostgreSQL as durable as it is in production, run. 1: a bench could not be made."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHES)}; all without a name")
    parser.add_argument("--small", action="store_true", help="little of everything: whether it works, not how fast")
    parser.add_argument("--home", type=Path, default=DISK if DISK.is_dir() else None, help="folder on the disk to use")
    parser.add_argument("--pushes", type=int, help=f"of memory; else {memory.Size().count}")
    parser.add_argument("--seconds", type=float, help=f"of load's steady part; else {load.Size().seconds:g}")
    given = parser.parse_args()
    leave_on_sigterm()  # so that what was started is stopped
    if unknown := set(given.names) - set(BENCHES):
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    names = given.names or list(BENCHES)
    if given.pushes:
        BENCHES["memory"] = (memory.measure, memory.Size(count=given.pushes), memory.SMALL)
    if given.seconds:
        BENCHES["load"] = (load.measure, load.Size(seconds=given.seconds), load.SMALL)
    home = Path(tempfile.mkdtemp(prefix="stepgate-bench-", dir=given.home))
    try:
        home.chmod(0o755)  # root's PostgreSQL is another user
        print(f"# {machine(home)}", file=sys.stderr, flush=True)
        alone = set(names) <= {"patterns", "growing_judge"}
        with nullcontext(Place("", 0, home)) if alone else _postgres(home) as place:
            return 0 if asyncio.run(run(names, place, small=given.small)) else 1
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _postgres(home: Path) -> Iterator[Place]:
    """A PostgreSQL as the App brings it along, with nothing of its durability switched off."""
    with embedded.running(home / "database") as server:
        postmaster = int((server.data_dir / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        yield Place(server.dsn, postmaster, home)


if __name__ == "__main__":
    raise SystemExit(main())
