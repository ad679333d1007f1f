"""A learner at work on a running line: pushes of real git, and everything that can be read back of them."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from rules.model import LabVersion
from tests.support.githost import WorkingCopy, seed
from tests.support.line import TEMPLATE, Line, register_lab

COURSE, TEACHER = "octo-course", "octo-teacher"

#: What a commit does to a path: bytes (a regular file), None (it goes), or a mode with its content (of submodules and
#: folders: the sha of their object).
Edit = bytes | None | tuple[str, bytes]
Edits = Mapping[str, Edit] | Mapping[bytes, Edit] | Mapping[str | bytes, Edit]

_numbers = itertools.count(1)


# ----------------------------------------------------------------------------------------------------------- the course


def template_files() -> dict[str, str | bytes]:
    """The example lab as it is committed to its template."""
    return {
        str(path.relative_to(TEMPLATE)): path.read_bytes() for path in sorted(TEMPLATE.rglob("*")) if path.is_file()
    }


def lab_file(*steps: Mapping[str, Any], **fields: Any) -> bytes:
    """A steps file with these steps, which are called s1, s2 and so on, and these top-level fields."""
    named = [{"id": f"s{at}", "title": f"Part {at}", **step} for at, step in enumerate(steps, 1)]
    return orjson.dumps({"version": 1, "title": "A lab", "branch": "main", "steps": named} | fields)


async def open_course(line: Line) -> None:
    """The organisation that teaches, with the App on all its repositories."""
    line.sandbox.add_account(COURSE, "Organization")
    line.sandbox.add_account(TEACHER)
    await line.sandbox.install(COURSE, "all")
    await line.settle()


async def open_lab(line: Line, name: str, files: Mapping[str, str | bytes]) -> LabVersion:
    """Make a template repository of these files that TEACHER may push to, and publish it as a lab."""
    template = await line.sandbox.add_repository(COURSE, name)
    line.sandbox.add_collaborator(template.full_name, TEACHER)
    await seed(template, files)
    _, version = await register_lab(line, f"{COURSE}/{name}")
    return version


async def enrol(line: Line, lab: str, folder: Path) -> Learner:
    """A new account forks the lab's template, installs the App on the fork, and clones it."""
    login = f"learner-{next(_numbers)}"
    line.sandbox.add_account(login)
    fork = await line.sandbox.fork(f"{COURSE}/{lab}", login)
    await line.sandbox.install(login, [fork.full_name])
    await line.settle()
    clone = await WorkingCopy.clone(line.sandbox, fork.full_name, login, folder / login)
    (row,) = await line.fetch(
        "SELECT session_id, provider_repo_id FROM repo_mapping WHERE state = 'active' AND repo_full_name = $1",
        fork.full_name,
    )
    return Learner(line, clone, fork.full_name, row["session_id"], row["provider_repo_id"])


# ---------------------------------------------------------------------------------------------------------- the learner


@dataclass(frozen=True)
class Learner:
    """A learner at work: the line, a clone on branch main, and the fork with its session."""

    line: Line
    clone: WorkingCopy
    fork: str
    session_id: UUID
    repo_id: int

    async def push(self, files: Mapping[str, str | bytes | None], message: str = "Work", *options: str) -> str:
        """Write files (None: remove), commit all that differs, push, wait for the answer; the head's sha."""
        head = await self.clone.commit(dict(files), message)
        await self.send(*options, "HEAD")
        return head

    async def send(self, *arguments: str) -> None:
        """Push, with git's own arguments, and wait for the answer."""
        await self.clone.push(*arguments)
        await self.line.settle()

    async def build(
        self, edits: Edits, *parents: str, empty: bool = False, message: str = "Built", merge: Sequence[str] = ()
    ) -> str:
        """Make a commit without a working tree (git fast-import), so that names may be what no disk would hold.

        `parents`: none for a new root; `merge`: further parents; `empty`: nothing of the first parent's files is kept.
        """
        ref = f"refs/heads/built-{next(_numbers)}"
        await self.clone.git(
            "fast-import",
            "--quiet",
            "--force",
            stdin=_stream(ref, edits, parents, merge=merge, empty=empty, message=message),
        )
        sha = await self.clone.git("rev-parse", ref)
        await self.clone.git("update-ref", "-d", ref)
        return sha

    async def folder(self, names: Sequence[str], content: bytes = b"x\n") -> tuple[str, bytes]:
        """Make a folder of files with the same content; the edit that puts it somewhere.

        Quicker than one edit a file: git fast-import looks through a folder from its start for each of them.
        """
        blob = await self.clone.git("hash-object", "-w", "--stdin", stdin=content)
        lines = "".join(f"100644 blob {blob}\t{name}\0" for name in names)
        return "040000", (await self.clone.git("mktree", "-z", stdin=lines.encode())).encode()

    async def push_built(self, edits: Edits, *parents: str, **options: Any) -> str:
        """Build a commit (on the clone's HEAD unless parents are given) and push it to main; the commit's sha."""
        sha = await self.build(edits, *(parents or ("HEAD",)), **options)
        await self.send("--force", f"{sha}:refs/heads/main")
        return sha

    # ------------------------------------------------------------------------------------------------- read back

    def runs(self, sha: str) -> list[dict[str, Any]]:
        """The check-runs on a head, in the order of creation."""
        return self.line.sandbox.check_runs(self.fork, sha)

    def run(self, sha: str) -> dict[str, Any]:
        """The newest check-run on a head."""
        return max(self.runs(sha), key=lambda run: int(run["id"]))

    def text(self, sha: str) -> str:
        """Title and summary of the newest check-run on a head."""
        output = self.run(sha)["output"]
        return f"{output['title']}\n{output['summary']}"

    def told(self, sha: str) -> tuple[str, str]:
        """Conclusion of the newest check-run and state of the newest status on a head."""
        status = max(self.line.sandbox.statuses(self.fork, sha), key=lambda status: int(status["id"]))
        return str(self.run(sha)["conclusion"]), str(status["state"])

    async def attempts(self) -> list[dict[str, Any]]:
        """The ledger of the session, oldest first."""
        return await self.line.fetch(
            "SELECT * FROM push_attempt WHERE session_id = $1 ORDER BY attempt_id", self.session_id
        )

    async def attempt(self) -> dict[str, Any]:
        """The newest row of the ledger."""
        return (await self.attempts())[-1]

    async def verdict(self) -> str:
        """The newest verdict in the ledger."""
        return str((await self.attempt())["verdict"])

    async def violations(self) -> dict[str, str]:
        """Path -> code of the newest attempt's violations (the first 1,000)."""
        return {each["path"]: each["code"] for each in (await self.attempt())["violations"]}

    async def done(self) -> set[str]:
        """The steps that are complete now."""
        rows = await self.line.fetch(
            "SELECT step_id FROM step_progress WHERE session_id = $1 AND state = 'completed'", self.session_id
        )
        return {row["step_id"] for row in rows}

    async def session(self) -> dict[str, Any]:
        """The session's row."""
        (row,) = await self.line.fetch("SELECT * FROM lab_session WHERE session_id = $1", self.session_id)
        return row

    async def page(self) -> str:
        """The session's page as staff see it, as HTML."""
        async with self.line.browser(staff=True) as browser, browser.get(f"/sessions/{self.session_id}") as answer:
            assert answer.status == 200
            return await answer.text()

    async def pages_verdicts(self) -> list[str]:
        """The verdicts on the session's page, oldest first."""
        return re.findall(r'data-verdict="(\w+)"', await self.page())[::-1]

    async def notices(self) -> list[str]:
        """The codes of what arrived and was not judged, as the session's page tells them."""
        return re.findall(r'data-notice="(\w+)"', await self.page())

    # ------------------------------------------------------------------------------------------------- by hand

    async def paste(self, sha: str) -> list[str]:
        """Run the commands of a head's check-run in the clone, as a learner with bash would; the lines that ran."""
        lines = [line for block in commands_in(self.run(sha)["output"]["summary"]) for line in block]
        who = {
            f"GIT_{role}_{what}": "learner@example.org"
            for role in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        shell = await asyncio.create_subprocess_exec(
            "bash", "--norc", "-e", "-c", "\n".join(lines), cwd=self.clone.path,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0", **who,
            },
        )  # fmt: skip
        async with asyncio.timeout(60):
            _, errors = await shell.communicate()
        assert shell.returncode == 0, (lines, errors.decode(errors="replace"))
        await self.line.settle()
        return lines


def commands_in(summary: str) -> list[list[str]]:
    """The blocks of commands in a check-run's summary, each as its lines."""
    return [block.splitlines() for block in re.findall(r"^```[a-z]*\n(.*?)\n```$", summary, re.DOTALL | re.MULTILINE)]


def _stream(
    ref: str,
    edits: Edits,
    parents: Sequence[str],
    *,
    merge: Sequence[str],
    empty: bool,
    message: str,
) -> bytes:
    """The stream for git fast-import that makes one commit."""
    words = message.encode()
    stream = [
        f"commit {ref}\ncommitter Learner <learner@example.org> {1_700_000_000 + next(_numbers)} +0100\n".encode(),
        b"data %d\n%s\n" % (len(words), words),
        *(f"{word} {sha}\n".encode() for word, sha in zip(("from", *["merge"] * 99), (*parents, *merge), strict=False)),
        *([b"deleteall\n"] if empty else []),
    ]
    for path, edit in edits.items():
        name = _quoted(path.encode() if isinstance(path, str) else path)
        if edit is None:
            stream.append(b"D %s\n" % name)
            continue
        mode, content = ("100644", edit) if isinstance(edit, bytes) else edit
        if mode in ("160000", "040000"):
            stream.append(b"M %s %s %s\n" % (mode.encode(), content, name))
        else:
            stream.append(b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), name, len(content), content))
    return b"".join(stream)


def _quoted(path: bytes) -> bytes:
    """A path as fast-import reads any: in quotes, with octal escapes."""
    return b'"%s"' % re.sub(rb"[^/0-9A-Za-z]", lambda found: b"\\%03o" % ord(found[0]), path)
