"""A learner whose work stands in the fork itself: commits without a clone, and branches that move without git's wire.

The deliveries are those of a push. A test that is about git's own ways (fetch, merge, tags) clones: `learners.enrol`.
"""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import dataclass

from tests.support.githost import ADDRESS, WorkingCopy, run
from tests.support.learners import Learner
from tests.support.line import Line

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class DirectCopy(WorkingCopy):
    """What a clone is for tests, without one. `heads`: the commits that were made here, the newest last."""

    line: Line
    full_name: str
    login: str
    heads: list[str]

    @classmethod
    async def of(cls, line: Line, full_name: str, login: str) -> DirectCopy:
        """Somebody's copy of a repository, at the head of its branch main."""
        path = line.sandbox.repository(full_name).path
        url = f"{line.sandbox.url}/{full_name}.git"
        return cls(path, url, line, full_name, login, [await run("rev-parse", "main", cwd=path)])

    async def git(self, *arguments: str, stdin: bytes = b"") -> str:
        """Ask git something; HEAD is the newest commit that was made here."""
        return await run(*map(self._named, arguments), cwd=self.path, stdin=stdin)

    async def commit(self, files: dict[str, str | bytes | None], message: str = "Work") -> str:
        """Make a commit of these files (None: removed) on the newest one; its sha. No branch has it yet."""
        number, words = next(_numbers), message.encode()
        stream = [
            f"commit refs/heads/made-{number}\nmark :1\n"
            f"author Learner <{ADDRESS}> {1_700_000_000 + number} +0000\n"
            f"committer Learner <{ADDRESS}> {int(time.time())} +0000\n".encode(),
            b"data %d\n%s\nfrom %s\n" % (len(words), words, self.heads[-1].encode()),
        ]
        for name, content in files.items():
            if content is None:
                stream.append(f"D {name}\n".encode())
                continue
            data = content.encode() if isinstance(content, str) else content
            stream.append(f"M 100644 inline {name}\ndata {len(data)}\n".encode() + data + b"\n")
        stream.append(f"get-mark :1\nreset refs/heads/made-{number}\nfrom {'0' * 40}\n".encode())
        sha = await run("fast-import", "--quiet", cwd=self.path, stdin=b"".join(stream))
        self.heads.append(sha)
        return sha

    async def push(self, *arguments: str) -> str:
        """Move branches as a push of these refs does (HEAD, SHA:refs/heads/NAME), whether that is forced or not."""
        for spec in [each for each in arguments if not each.startswith("-")] or ["HEAD"]:
            source, _, target = spec.partition(":")
            branch = (target or "main").removeprefix("refs/heads/")
            assert not branch.startswith("refs/"), f"{spec}: only branches can be moved"
            await self.line.sandbox.move_branch(self.full_name, branch, self._named(source), self.login)
        return ""

    def _named(self, argument: str) -> str:
        return re.sub(r"^HEAD(?=$|[~^:])", self.heads[-1], argument)


async def begin(line: Line, lab: str, course: str = "octo-course") -> Learner:
    """As `learners.enrol`: a new account forks the lab's template and installs the App on the fork; but no clone."""
    login = f"beginner-{next(_numbers)}"
    line.sandbox.add_account(login)
    fork = await line.sandbox.fork(f"{course}/{lab}", login)
    await line.sandbox.install(login, [fork.full_name])
    await line.settle()
    (row,) = await line.fetch(
        "SELECT session_id FROM repo_mapping WHERE state = 'active' AND provider_repo_id = $1", fork.id
    )
    copy = await DirectCopy.of(line, fork.full_name, login)
    return Learner(line, copy, fork.full_name, row["session_id"], fork.id)
