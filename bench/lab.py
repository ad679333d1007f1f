"""The lab and the learners' commits that benches judge: nothing random, no condition on contents."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BRANCH = "main"
COMMITTER = "Learner <learner@example.com> 1760000000 +0000"


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a lab is: files in the template, steps (2 at least), patterns of all steps together."""

    files: int = 100
    steps: int = 5
    patterns: int = 10

    def lab_file(self) -> bytes:
        """`.forgea/steps.json`: each step is complete when one of its files has changed, and needs the step before.

        The last one never is, so that the session stays open whatever is pushed.
        """
        each = max(1, self.patterns // self.steps)
        steps = [
            {
                "id": f"step-{step}",
                "title": f"Step {step}",
                "description": f"Change something in step-{step}.",
                "files": [f"step-{step}/**", *(f"extra-{step}/part-{number}/*.txt" for number in range(each - 1))],
                "needs": [f"step-{step - 1}"] if step else [],
                "complete": {"type": "changed", "match": "any"},
            }
            for step in range(self.steps)
        ]
        steps[-1]["complete"] = {"type": "exists", "paths": ["never.txt"]}
        policy = {"out_of_order": "block", "protected": "block", "unmapped": "allow", "rework": "allow"}
        lab = {"version": 1, "title": "Bench", "branch": BRANCH, "protected": ["tests/**"], "policy": policy}
        return json.dumps({**lab, "steps": steps}).encode()

    def template(self) -> dict[str, bytes]:
        """The template's files by path."""
        files = {self._path(number): f"file {number}\n".encode() for number in range(self.files)}
        return {".forgea/steps.json": self.lab_file(), "tests/all.txt": b"tests\n", **files}

    def edit(self, commit: int) -> tuple[str, bytes]:
        """The one file that a learner's commit changes: of the steps in their order, then of each again and again."""
        return self._path(commit % self.files), f"commit {commit}\n".encode()

    def _path(self, number: int) -> str:
        return f"step-{number % (self.steps - 1)}/file-{number:05d}.txt"


def blob_sha(content: bytes) -> str:
    """Git's name of a file's content (Git book, "Git Objects")."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


async def commit_files(
    repository: Path, commits: Sequence[dict[str, bytes]], *, onto: str | None = None, seen: int = 1
) -> list[str]:
    """Make commits, one on the other, with `git fast-import`; their shas. `onto`: the commit below the first one.

    The branch ends at the first `seen` of them: the App asks where a branch is when it hears of it for the first time,
    and never again while each push begins where the last one ended.
    """
    lines: list[bytes] = []
    for number, files in enumerate(commits, start=1):
        message = f"Commit {number}".encode()
        lines += [b"commit refs/bench/all", b"mark :%d" % number, b"committer " + COMMITTER.encode()]
        lines += [b"data %d" % len(message), message]
        if number == 1 and onto:
            lines.append(b"from " + onto.encode())
        for path, content in files.items():
            lines += [b"M 100644 inline " + path.encode(), b"data %d" % len(content), content]
        lines.append(b"")
    lines += [b"reset refs/heads/" + BRANCH.encode(), b"from :%d" % seen, b""]
    marks = repository / "bench-marks"
    process = await asyncio.create_subprocess_exec(
        "git", "fast-import", "--quiet", "--force", f"--export-marks={marks}",
        cwd=repository, env=os.environ | {"GIT_DIR": str(repository)},
        stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, error = await process.communicate(b"\n".join(lines) + b"\n")
    if process.returncode != 0:
        raise RuntimeError(f"git fast-import failed: {error.decode(errors='replace')}")
    shas = dict(line.split() for line in marks.read_text(encoding="ascii").splitlines())
    marks.unlink()
    return [shas[f":{number}"] for number in range(1, len(commits) + 1)]
