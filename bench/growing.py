"""How the cost of a push grows with the files of the repository, and with the steps and patterns of the lab.

`python -m bench.growing` prints a table: processor milliseconds for making a tree of GitHub's answer, and for judging
it. Without network and database: those cost the same for a repository of any size, but for the answer's bytes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import orjson

from bench.figures import percentile
from bench.lab import Shape, blob_sha
from bench.payloads import sha_of
from github.answers import read_tree
from github.trees import Trees
from github.values import TreeAnswer
from rules.labfile import parse_lab
from rules.model import CommitTree, Facts, Lab, Progress, Snapshot
from rules.verdict import judge

ROUNDS = 5
SHAPES = (
    Shape(),
    Shape(files=1_000),
    Shape(files=10_000),
    Shape(files=100_000),
    Shape(files=1_000, steps=20, patterns=40),
    Shape(files=1_000, steps=100, patterns=200),
    Shape(files=1_000, steps=100, patterns=1_500),
)


class Answer:
    """A source of trees that has the bytes of one answer at hand."""

    installation_id = 1

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def tree(self, full_name: str, tree_ish: str, *, recursive: bool = True) -> TreeAnswer:
        """See `InstallationClient.tree`: what it does with an answer's bytes."""
        return read_tree(orjson.loads(self._body))

    async def blob(self, full_name: str, sha: str) -> bytes:
        """No condition of the lab asks for one."""
        raise LookupError(f"no content of blob {sha} in {full_name}: the bench's lab asks for none")


def answer_of(files: dict[str, bytes]) -> bytes:
    """The body of GitHub's answer to a recursive tree."""
    entries = [
        {
            "path": path,
            "mode": "100644",
            "type": "blob",
            "sha": blob_sha(content),
            "size": len(content),
            "url": "https://api.github.com/repos/learner-one/bench-lab/git/blobs/" + blob_sha(content),
        }
        for path, content in files.items()
    ]
    return orjson.dumps({"sha": sha_of("head"), "tree": entries, "truncated": False})


def milliseconds(work: Callable[[], object]) -> float:
    """Processor time of `work`, the median of a few times."""
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return 1000 * percentile(times, 0.5)


def costs(shape: Shape) -> tuple[float, float]:
    """Milliseconds for reading the head's tree, and for judging a push that changes one file of it."""
    lab = parse_lab(shape.lab_file()).lab
    assert lab is not None
    template = shape.template()
    path, content = shape.edit(0)
    bodies = [answer_of(template), answer_of(template | {path: content})]
    base, head = (_tree(body) for body in bodies)
    snapshot = Snapshot(base.tree, base.tree, head.tree, head.sha)
    return milliseconds(lambda: _tree(bodies[1])), milliseconds(lambda: _judge(lab, snapshot))


def _tree(body: bytes) -> CommitTree:
    return asyncio.run(Trees(1).files(Answer(body), "learner-one/bench-lab", sha_of("head")))


def _judge(lab: Lab, snapshot: Snapshot) -> None:
    verdict = judge(lab, Progress(frozenset()), snapshot, Facts())
    assert not verdict.blocked


def main() -> None:
    """Print the table."""
    print("  files  steps  patterns   tree ms  judge ms")
    for shape in SHAPES:
        tree, judged = costs(shape)
        print(f"{shape.files:>7} {shape.steps:>6} {shape.patterns:>9} {tree:>9.2f} {judged:>9.2f}", flush=True)


if __name__ == "__main__":
    main()
