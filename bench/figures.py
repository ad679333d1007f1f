"""A measured figure, its reference and its target, as one line; percentiles; and what is known of this machine."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SYNCS = 100
SYNC_BYTES = 8192  # a page of PostgreSQL's


@dataclass(frozen=True, slots=True)
class Figure:
    """A measurement. `ratio` = measured / reference shall be `at`: ">=" or "<=" `target`. `note`: what else to know."""

    name: str
    measured: float
    reference: float
    unit: str
    at: Literal[">=", "<="]
    target: float
    note: str = ""

    @property
    def ratio(self) -> float:
        """How the measurement stands to its reference."""
        if self.reference == 0:
            return 0.0 if self.measured == 0 else math.inf
        return self.measured / self.reference

    @property
    def ok(self) -> bool:
        """Whether the target is met."""
        return self.ratio >= self.target if self.at == ">=" else self.ratio <= self.target

    def __str__(self) -> str:
        """The line that is printed."""
        line = (
            f"{self.name} measured={_short(self.measured)}{self.unit} reference={_short(self.reference)}{self.unit} "
            f"ratio={_short(self.ratio)} target={self.at}{self.target:g} {'ok' if self.ok else 'short'}"
        )
        return f"{line}  ({self.note})" if self.note else line


def _short(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def machine(folder: Path) -> str:
    """This machine in a line: processors, system, Python, and how long the disk of `folder` takes to be sure."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux
    return (
        f"{os.cpu_count()} processors ({model}), {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, fdatasync of {SYNC_BYTES} bytes in {folder}: "
        f"{sync_time(folder) * 1000:.2f} ms (median)"
    )


def sync_time(folder: Path) -> float:
    """Median seconds in which `folder`'s disk makes a small write durable: the floor of a commit."""
    sync = getattr(os, "fdatasync", os.fsync)
    times = []
    path = folder / "sync-probe"
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(b"x" * SYNC_BYTES)
            begun = time.perf_counter()
            sync(file.fileno())
            times.append(time.perf_counter() - begun)
    path.unlink()
    return percentile(times, 0.5)
