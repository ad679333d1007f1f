"""What only mischief pushes: each is judged by the rules, and nothing that is told about it can hurt a reader."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from sandbox import Fault
from sandbox.effects import Limits
from tests.support.harmless import check_run_is_harmless, page_is_harmless, status_is_harmless
from tests.support.learners import Edit, Learner, enrol, lab_file, open_lab
from tests.support.line import Line

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOAK = os.environ.get("SOAK") == "1"
LAB = "mischief"
#: Force pushes of one branch.
FORCED = 100 if SOAK else 30
GREEN, RED, DOUBT = ("success", "success"), ("failure", "failure"), ("action_required", "error")

# Each of these is a file's name, which must reach the reader as a name and nothing else.
ODD = (
    "two  words",
    " leading",
    "trailing ",
    'it\'s "quoted"',
    "line\nbreak",
    "tab\there",
    "`tick`",
    "pi|pe",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "@octo-teacher",
    "$(touch owned)",
    "a;touch owned",
    "&& touch owned",
    "-rf",
    "*",
    ":(top)*",
    "[x](javascript:alert(1))",
    "![x](https:evil.example)",
    "https:/evil.example",
    "#1",
    "**bold**",
    "~~~",
    "```",
    "back\\slash",
    "escape\x1b[31m",
    "\u202egnp.exe",
    "zero\u200bwidth",
    "e\u0301.txt",
    "\u00e9.txt",
    "\U0001f469\u200d\U0001f4bb",
    "x" * 255,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="lab")
async def _lab(line: Line) -> str:
    """A lab with an open step, a locked one, and protected tests."""
    rules = lab_file({"files": ["first/**"]}, {"files": ["second/**"]}, protected=["tests/**"])
    files: dict[str, str | bytes] = {
        ".forgea/steps.json": rules,
        "README.md": "A lab\n",
        "tests/check.js": "old\n",
        "first/seed.txt": "seed\n",
    }
    await open_lab(line, LAB, files)
    return LAB


@pytest_asyncio.fixture(loop_scope="module", name="learner")
async def _learner(line: Line, lab: str, tmp_path: Path) -> Learner:
    """A learner who has just started that lab."""
    return await enrol(line, lab, tmp_path)


async def harmless(learner: Learner, sha: str) -> str:
    """Check all that is told about a head; the check-run's text as a reader sees it."""
    roots = (learner.line.services.judging.public_url, learner.line.sandbox.url)
    for status in learner.line.sandbox.statuses(learner.fork, sha):
        status_is_harmless(status)
    page_is_harmless(await learner.page(), *roots)
    return check_run_is_harmless(learner.run(sha), *roots)


# --------------------------------------------------------------------------------------------------- shapes of history


async def test_a_merge_that_brings_what_no_parent_had_is_seen(learner: Learner) -> None:
    """A merge commit's own edit of a protected file is a violation; the merged work counts all the same."""
    base = await learner.clone.git("rev-parse", "HEAD")
    side = await learner.build({"first/a.txt": b"a\n"}, base)
    head = await learner.push_built({"first/a.txt": b"a\n", "tests/check.js": b"weaker\n"}, base, merge=[side])

    assert learner.told(head) == RED
    assert await learner.violations() == {"tests/check.js": "PROTECTED_PATH"}
    assert await learner.done() == {"s1"}


async def test_an_octopus_is_judged_like_any_head(learner: Learner) -> None:
    """A merge of nine parents is one head with one tree."""
    base = await learner.clone.git("rev-parse", "HEAD")
    arms = [await learner.build({f"first/{arm}.txt": b"x\n"}, base) for arm in range(8)]
    edits: dict[str, bytes] = {f"first/{arm}.txt": b"x\n" for arm in range(8)} | {"second/late.txt": b"x\n"}
    head = await learner.push_built(edits, base, merge=arms)

    assert learner.told(head) == GREEN
    assert await learner.done() == {"s1", "s2"}, "the octopus itself brings both, in order"


async def test_an_orphan_branch_in_place_of_the_lab_hides_nothing(learner: Learner) -> None:
    """A new root without the lab's files: the protected ones are missed, and the step that they took away reopens."""
    await learner.push({"first/a.txt": "a\n"})
    head = await learner.push_built({"hello.txt": b"hello\n"}, "HEAD", empty=True)  # a tree with nothing else, first
    assert learner.told(head) == RED

    root = await learner.build({"hello.txt": b"hello\n"})
    await learner.send("--force", f"{root}:refs/heads/main")

    assert learner.told(root) == RED
    assert await learner.violations() == {
        ".forgea/steps.json": "PROTECTED_PATH",
        "tests/check.js": "PROTECTED_PATH",
    }
    assert await learner.done() == set()
    await harmless(learner, root)


async def test_an_orphan_with_the_same_files_keeps_everything(learner: Learner) -> None:
    """History is not what is judged: the same files under a new root cost nothing."""
    await learner.push({"first/a.txt": "a\n"})
    await learner.clone.git("switch", "--quiet", "--orphan", "fresh")
    await learner.clone.git("checkout", "main", "--", ".")
    await learner.clone.git("commit", "--quiet", "-m", "From scratch")
    await learner.send("--force", "HEAD:refs/heads/main")

    head = await learner.clone.git("rev-parse", "HEAD")
    assert learner.told(head) == GREEN
    assert await learner.done() == {"s1"}


async def test_many_force_pushes_end_where_the_last_one_did(line: Line, learner: Learner) -> None:
    """A, B, A, B ... without a pause (a hundred times in `make soak`): each delivery has one row, the state is the last
    head's, and the number of rows that were judged or overtaken adds up."""
    base = await learner.clone.git("rev-parse", "HEAD")
    a = await learner.build({"first/a.txt": b"a\n"}, base)
    b = await learner.build({"other.txt": b"b\n"}, base)
    before = len(await learner.attempts())
    for turn in range(FORCED):
        await learner.clone.push("--force", f"{(a, b)[turn % 2]}:refs/heads/main")
    await line.settle(60)

    attempts = (await learner.attempts())[before:]
    assert len(attempts) == FORCED
    assert len({attempt["delivery_id"] for attempt in attempts}) == FORCED
    assert {attempt["verdict"] for attempt in attempts} <= {"accepted", "superseded"}
    assert (attempts[-1]["after_sha"], attempts[-1]["verdict"]) == (b, "accepted")
    session = await learner.session()
    assert (session["accepted_sha"], session["head_sha"]) == (b, b)
    assert await learner.done() == set()
    assert learner.told(b) == GREEN
    assert (await line.fetch("SELECT count(*) FROM delivery WHERE state = 'dead'")) == [{"count": 0}]


# ------------------------------------------------------------------------------------------------------- kinds of files


async def test_a_file_where_a_protected_folder_was(learner: Learner) -> None:
    """`tests` as a file: the file that takes the place, and each one that went, are violations."""
    head = await learner.push_built({"tests/check.js": None, "tests": b"nothing to see\n"})

    assert learner.told(head) == RED
    assert await learner.violations() == {"tests": "PROTECTED_PATH", "tests/check.js": "PROTECTED_PATH"}
    text = await harmless(learner, head)
    assert "tests/check.js" in text


@pytest.mark.parametrize("kind", ["link", "submodule", "executable"])
async def test_a_protected_file_of_another_kind(learner: Learner, kind: str) -> None:
    """The protected file as a link, a submodule or an executable is not the template's file any more."""
    root = await learner.clone.git("rev-parse", "HEAD")
    edit = {
        "link": ("120000", b"../first/seed.txt"),
        "submodule": ("160000", root.encode()),
        "executable": ("100755", b"old\n"),
    }[kind]
    head = await learner.push_built({"tests/check.js": edit})

    assert learner.told(head) == RED
    assert await learner.violations() == {"tests/check.js": "PROTECTED_PATH"}
    await harmless(learner, head)


async def test_a_mode_change_of_a_steps_file_is_no_work(learner: Learner) -> None:
    """An executable bit on a file of the step is accepted and completes nothing."""
    head = await learner.push_built({"first/seed.txt": ("100755", b"seed\n")})

    assert learner.told(head) == GREEN
    assert await learner.done() == set()


async def test_a_link_or_submodule_in_a_protected_folder_is_seen(learner: Learner) -> None:
    """New entries of any kind below a protected folder are violations."""
    root = await learner.clone.git("rev-parse", "HEAD")
    head = await learner.push_built({"tests/link": ("120000", b"/etc/passwd"), "tests/sub": ("160000", root.encode())})

    assert learner.told(head) == RED
    assert await learner.violations() == {"tests/link": "PROTECTED_PATH", "tests/sub": "PROTECTED_PATH"}


# ---------------------------------------------------------------------------------------------------------- odd names


async def test_odd_names_are_told_and_taken_back_harmlessly(learner: Learner) -> None:
    """Every odd name is a violation of its own; the report is inert; its commands, pasted into bash, take back
    exactly the files that they name, and run nothing."""
    head = await learner.push_built({f"second/{name}": b"x\n" for name in ODD})
    await learner.clone.git("reset", "--quiet", "--hard", head)

    assert learner.told(head) == RED
    assert set(await learner.violations()) == {f"second/{name}" for name in ODD}
    text = await harmless(learner, head)
    assert "<script>alert(1)</script>" in text, "the name is shown, as text"
    assert len(learner.run(head)["annotations"]) == len(ODD)

    lines = await learner.paste(head)

    assert any(line.startswith("git ") and " rm -- " in line for line in lines)
    left = set((await learner.clone.git("ls-files", "-z", "second")).split("\0")) - {""}
    assert len(left) < len(ODD), "some were named"
    assert left < {f"second/{name}" for name in ODD}, "and nothing else was touched"
    kept = {"README.md", "first/seed.txt", "tests/check.js", ".forgea/steps.json"}
    assert kept <= set((await learner.clone.git("ls-files", "-z")).split("\0"))
    assert not list(learner.clone.path.rglob("owned")), "a name was run"
    assert set(await learner.violations()) == left, "the push of the commands was judged"


async def test_commands_of_the_report_lead_out_of_every_violation(learner: Learner) -> None:
    """Pasting the commands of one report after another ends where the fork began, whatever the names."""
    start = await learner.clone.git("rev-parse", "HEAD")
    odd = [f"{folder}/{name}" for folder in ("second", "tests") for name in ODD]
    await learner.push_built(dict.fromkeys(odd, b"x\n") | {"tests/check.js": b"weaker\n"})
    await learner.clone.git("pull", "--quiet", "--ff-only")
    for _ in range(5):
        head = await learner.clone.git("rev-parse", "HEAD")
        if learner.told(head) != RED:
            break
        await learner.paste(head)
    else:
        pytest.fail(f"still red: {await learner.violations()}")
    assert await learner.clone.git("diff", "--name-only", start, "HEAD") == ""
    assert learner.told(head) == ("neutral", "success")  # nothing of the learner's is left: welcomed again
    assert not list(learner.clone.path.rglob("owned"))


async def test_a_path_of_4096_bytes(learner: Learner) -> None:
    """A path as long as git's users can have one is judged, told shortened, and named in no broken command."""
    long = "second/" + "/".join(["d" * 255] * 16)[: 4096 - 7]
    head = await learner.push_built({long: b"x\n"})

    assert learner.told(head) == RED
    assert await learner.violations() == {long: "OUT_OF_ORDER"}
    assert len(await harmless(learner, head)) < 20_000


async def test_names_that_are_not_utf8(learner: Learner) -> None:
    """One such name is judged as GitHub shows it; two that GitHub shows alike cannot be told apart: no verdict."""
    one = await learner.push_built({b"second/\xff\xfe.txt": b"x\n"})
    assert learner.told(one) == RED
    assert "no command can spell" in await harmless(learner, one)
    assert learner.run(one)["annotations"] == []

    two = await learner.push_built({b"first/\xff.txt": b"x\n", b"first/\xfe.txt": b"y\n"})
    assert learner.told(two) == DOUBT
    assert await learner.verdict() == "cannot_verify"
    assert await learner.done() == set()
    await harmless(learner, two)


async def test_a_twin_of_a_protected_name_does_not_hide(line: Line, tmp_path: Path) -> None:
    """The NFD spelling of a protected NFC name is protected too, and both stand in the report."""
    rules = lab_file({"files": ["first/**"]}, protected=["tests/\u00e9.js"])
    await open_lab(line, "twins", {".forgea/steps.json": rules, "README.md": "A lab\n"})
    learner = await enrol(line, "twins", tmp_path)
    head = await learner.push_built({"tests/e\u0301.js": b"x\n", "tests/\u00e9.js": b"y\n"})

    assert await learner.violations() == {"tests/e\u0301.js": "PROTECTED_PATH", "tests/\u00e9.js": "PROTECTED_PATH"}
    await harmless(learner, head)


@pytest.mark.parametrize(
    "branch", ["$(touch${IFS}owned)", "`touch`owned", "<script>", "a|b", "@octo-teacher", "it's;x"]
)
async def test_an_odd_branch_name(learner: Learner, branch: str) -> None:
    """A preview names its branch harmlessly, and its commands merge exactly that branch."""
    await learner.clone.git("switch", "--quiet", "-c", branch)
    head = await learner.push({"first/a.txt": "a\n"})
    assert learner.run(head)["conclusion"] == "success"
    await harmless(learner, head)

    await learner.paste(head)

    assert await learner.clone.git("rev-parse", "main", "origin/main") == f"{head}\n{head}"
    assert await learner.done() == {"s1"}
    assert not list(learner.clone.path.rglob("owned"))


# -------------------------------------------------------------------------------------------------------------- masses


@pytest.mark.parametrize("name", ["second/part-{:04}.txt", "second/@{:04}|`<b>$(x)" + "y" * 180])
async def test_five_thousand_violations_stay_within_the_limits(learner: Learner, name: str) -> None:
    """Text and annotations hold GitHub's limits and say how many are not shown; the ledger counts all."""
    head = await learner.push_built({name.format(at): b"x\n" for at in range(5_000)})

    assert learner.told(head) == RED
    assert "5,000 files belong to later steps" in learner.run(head)["output"]["title"]
    text = await harmless(learner, head)
    rows = sum(row.startswith("|") and "second/" in row for row in learner.text(head).splitlines())
    assert 0 < rows <= 100
    assert f"… and {5_000 - rows:,} more are not shown." in text
    assert len(learner.run(head)["annotations"]) == 50
    attempt = await learner.attempt()
    assert (len(attempt["violations"]), attempt["violations_total"]) == (1_000, 5_000)
    assert "4000 more files" in await learner.page()


#: 120,000 entries in all, of which GitHub lists 100,000; a hundredth of both outside of `make soak`.
FOLDERS, PER_FOLDER = 24, 5_000 if SOAK else 50


@pytest.fixture(name="listing")
def _listing(line: Line, learner: Learner) -> Iterator[None]:
    """GitHub lists fewer entries of the learner's trees than the tests make."""
    if SOAK:
        yield
        return
    fault = line.sandbox.faults.add(Fault(Limits(tree_entries=1_000), path="*/git/trees/*", repository=learner.repo_id))
    yield
    fault.remove()


@pytest.mark.usefixtures("listing")
async def test_a_tree_that_github_truncates_is_walked(line: Line, learner: Learner) -> None:
    """GitHub's listing is cut off: the sub-trees are read one by one, and nothing is overlooked.

    A sub-tree that cannot be read delays the verdict; it never makes a success.
    """
    many: dict[str, Edit] = {
        f"first/{folder:02}": await learner.folder([f"{at:04}-{folder}.txt" for at in range(PER_FOLDER)])
        for folder in range(FOLDERS)
    }
    head = await learner.build({**many, "tests/check.js": b"weaker\n"}, "HEAD")
    broken = await learner.clone.git("rev-parse", f"{head}:first/{FOLDERS - 1:02}")
    before = await learner.session()

    def fail(request: web.Request) -> web.Response | None:
        if request.path.endswith(f"/git/trees/{broken}"):
            return web.json_response({"message": "Server Error"}, status=502)
        return None

    line.sandbox.faults.append(fail)
    try:
        await learner.clone.push(f"{head}:refs/heads/main")
        async with asyncio.timeout(60):
            while not await _retried(line, learner):
                await asyncio.sleep(0.05)
        assert learner.runs(head) == []
        assert await learner.session() == before
    finally:
        line.sandbox.faults.remove(fail)
    await line.pool.execute("UPDATE delivery SET next_attempt_at = now() WHERE state = 'waiting'")
    await line.pool.execute("UPDATE lane SET due_at = now() WHERE lane_id = $1", f"repo:{learner.repo_id}")
    await line.settle(60)

    assert learner.told(head) == RED
    assert await learner.violations() == {"tests/check.js": "PROTECTED_PATH"}
    assert await learner.done() == {"s1"}
    walked = [exchange for exchange in line.sandbox.exchanges if f"{learner.fork}/git/trees/" in exchange.path]
    assert any(b'"truncated":true' in exchange.response_body for exchange in walked)
    assert len({exchange.path for exchange in walked}) >= FOLDERS


async def _retried(line: Line, learner: Learner) -> bool:
    """Whether a delivery of the learner's repository waits for another try."""
    (row,) = await line.fetch(
        "SELECT count(*) FROM delivery WHERE repo_id = $1 AND state = 'waiting' AND last_error IS NOT NULL",
        learner.repo_id,
    )
    return bool(row["count"])


@pytest.mark.usefixtures("listing")
async def test_a_folder_that_github_does_not_list_is_no_success(learner: Learner) -> None:
    """More files in one folder than GitHub lists of it: no verdict, and nobody is blamed."""
    flat = await learner.folder([f"{at:06}.txt" for at in range(FOLDERS * PER_FOLDER)])
    head = await learner.push_built({"first": flat})

    assert learner.told(head) == DOUBT
    attempt = await learner.attempt()
    assert (attempt["verdict"], attempt["detail"]["reason"]) == ("cannot_verify", "TRUNCATED")
    assert await learner.done() == set()
    assert (await learner.session())["accepted_sha"] != head
    await harmless(learner, head)
