"""How long `app.py lab replay` takes for a history of 1,000 commits: `python -m bench.replay [COMMITS [FILES]]`.

A learner's repository as git has it, in which a file that came too early is added to now and then, so that pushes are
blocked for long stretches: those cost most.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

APP = Path(__file__).resolve().parents[1] / "app.py"
TARGET = 20.0  # seconds for 1,000 commits


@dataclass(frozen=True, slots=True)
class Size:
    """A history: its commits after the template, files of the template, steps of the lab."""

    commits: int = 1_000
    files: int = 500
    steps: int = 20


def history_of(size: Size) -> bytes:
    """The history as a stream for `git fast-import`, on branch main."""
    return b"".join(_commit(number, files) for number, files in enumerate(_edits(size)))


def _edits(size: Size) -> Iterator[Mapping[str, str]]:
    """The files that each commit writes: the template, then steps one after another."""
    steps = [
        {
            "id": f"s{number}",
            "title": f"Part {number}",
            "files": [f"part{number}/**"],
            "complete": {"type": "contains", "path": f"part{number}/answer.txt", "pattern": "^done"},
        }
        for number in range(size.steps)
    ]
    lab = {"version": 1, "title": "A lab", "branch": "main", "protected": ["tests/**"], "steps": steps}
    given = {f"part{number % size.steps}/given{number % 10}/{number}.txt": "given\n" for number in range(size.files)}
    yield given | {".forgea/steps.json": json.dumps(lab), "README.md": "A lab\n"}
    for number in range(1, size.commits + 1):
        part = (number - 1) * size.steps // size.commits
        files = {f"part{part}/work{number % 30}.txt": f"{number}\n"}
        if number % 7 == 0 and part + 2 < size.steps:
            files[f"part{part + 2}/early.txt"] = f"{number}\n"
        if number * size.steps // size.commits > part:  # the last one of its part
            files[f"part{part}/answer.txt"] = "done\n"
        yield files


def _commit(number: int, files: Mapping[str, str]) -> bytes:
    lines = [f"commit refs/heads/main\ncommitter Learner <learner@example.org> {1_700_000_000 + number} +0000\n"]
    lines.append("data 4\nwork\n")
    lines += [f"M 100644 inline {path}\ndata {len(text)}\n{text}\n" for path, text in files.items()]
    return "".join(lines).encode()


def seconds(size: Size) -> float:
    """How long the command takes, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "init", "--quiet", "--bare", folder], check=True)
        subprocess.run(["git", "fast-import", "--quiet"], cwd=folder, input=history_of(size), check=True)
        started = time.monotonic()
        command = [sys.executable, str(APP), "lab", "replay", folder, "main"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return time.monotonic() - started


def main() -> None:
    """Measure and print one line."""
    numbers = [int(word) for word in sys.argv[1:3]]
    size = Size(*numbers)
    took = seconds(size)
    target = TARGET * size.commits / 1_000
    word = "ok" if took <= target else "short"
    print(f"replay commits={size.commits} files={size.files} measured={took:.1f} s target=<={target:.1f} s {word}")


if __name__ == "__main__":
    main()
