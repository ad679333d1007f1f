"""The demo's story: one learner's pushes as data, and what each must lead to (issue of the first complete line).

`SCENES` is played by `cli.demo` for people and by `tests/test_demo_story.py` as the end-to-end test. The lab is
`examples/lab-template/`: report and fix are open from the start, command needs fix, frequent is optional, release needs
report and command.
"""

from __future__ import annotations

from dataclasses import dataclass

REPORT = """\
# Two spaces count as a word

Text: "two  spaces"
Expected: 2 words
Actual: 3 words
"""

FIXED = """\
/** How many words `text` has. Words are separated by white space. */
export function countWords(text) {
  const trimmed = text.trim();
  return trimmed === "" ? 0 : trimmed.split(/\\s+/).length;
}
"""

COMMAND = """\
import { readFileSync } from "node:fs";

import { countWords } from "./wordcount.js";

console.log(countWords(readFileSync(process.argv[2], "utf8")));
"""

WEAKER_TESTS = """\
import { test } from "node:test";

test("everything is fine", () => {});
"""

# The learner's own rules: every step complete by itself, nothing protected. They must have no effect at all.
EASIER_RULES = """\
{
  "version": 1,
  "title": "The word counter that counts spaces",
  "policy": { "out_of_order": "warn", "protected": "warn" },
  "steps": [
    { "id": "report", "title": "Report", "files": ["**"], "needs": [], "complete": { "type": "none" } },
    { "id": "release", "title": "Release", "files": ["**"], "needs": [], "complete": { "type": "none" } }
  ]
}
"""

FREQUENT = """\
/** The word that `text` has most often; of several the first. */
export function mostFrequent(text) {
  const counts = new Map();
  for (const word of text.toLowerCase().match(/\\S+/g) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best), ["", 0])[0];
}
"""

RELEASE_NOTES = """\
# Changes

## 1.0

- Several spaces, tabs and line ends in a row separate words like one space. An empty text has no words.
- New command: `node src/cli.js FILE` prints how many words a file has.
"""


# -------------------------------------------------------------------------------------------------- what a learner does


@dataclass(frozen=True, slots=True)
class Write:
    """Write a file of the clone."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit everything; `amend` replaces the last commit."""

    message: str
    amend: bool = False


@dataclass(frozen=True, slots=True)
class Revert:
    """A commit that undoes the last one."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Work on `branch` from now on; a new one starts at the present commit."""

    branch: str
    new: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """Throw away everything after the head of an earlier scene."""

    scene: str


@dataclass(frozen=True, slots=True)
class Push:
    """Push the present commit, or the head of an earlier scene, to a branch."""

    branch: str = "main"
    force: bool = False
    scene: str | None = None


@dataclass(frozen=True, slots=True)
class Redeliver:
    """GitHub sends the push delivery of an earlier scene once more, with the same id."""

    scene: str


Action = Write | Commit | Revert | Switch | Reset | Push | Redeliver


@dataclass(frozen=True, slots=True)
class Expect:
    """What is read back afterwards.

    `verdict`: the newest attempt's word in the ledger (None: no attempt is added). `conclusion` and `status`: check-run
    and commit status on the scene's head, `title` and `mentions`: texts that the check-run holds. `done`: the steps
    that are complete, `session`: the session's status. `runs`: how many check-runs the head has.
    """

    verdict: str | None
    conclusion: str
    status: str
    done: frozenset[str]
    title: str = ""
    mentions: tuple[str, ...] = ()
    codes: frozenset[str] = frozenset()
    session: str = "IN_PROGRESS"
    runs: int = 1


@dataclass(frozen=True, slots=True)
class Scene:
    """One line of the demo. `head`: the scene whose head is read back (None: this one's own)."""

    name: str
    what: str
    actions: tuple[Action, ...]
    expect: Expect
    head: str | None = None


FIRST = frozenset({"report"})
TWO = frozenset({"report", "fix"})
THREE = frozenset({"report", "fix", "command"})
ALL = frozenset({"report", "fix", "command", "release"})

SCENES: tuple[Scene, ...] = (
    Scene(
        "report",
        "step 1, in order: report/bug.md",
        (Write("report/bug.md", REPORT), Commit("Describe the bug"), Push()),
        Expect("accepted", "success", "success", FIRST),
    ),
    Scene(
        "early",
        "step 3 before step 2: src/cli.js",
        (Write("src/cli.js", COMMAND), Commit("Count the words of a file"), Push()),
        Expect(
            "blocked",
            "failure",
            "failure",
            FIRST,
            title="blocked",
            mentions=("src/cli.js", "Count the words of a file", "Fix the counter"),
            codes=frozenset({"OUT_OF_ORDER"}),
        ),
    ),
    Scene(
        "fix",
        "step 2; the parked step 3 counts by itself",
        (Write("src/wordcount.js", FIXED), Commit("Count runs of white space as one"), Push()),
        Expect("accepted", "success", "success", THREE),
    ),
    Scene(
        "cheat",
        "an edit of tests/ and of .forgea/steps.json",
        (
            Write("tests/wordcount.test.js", WEAKER_TESTS),
            Write(".forgea/steps.json", EASIER_RULES),
            Commit("Make the tests pass"),
            Push(),
        ),
        Expect(
            "blocked",
            "failure",
            "failure",
            THREE,
            title="blocked",
            mentions=("tests/wordcount.test.js", ".forgea/steps.json"),
            codes=frozenset({"PROTECTED_PATH"}),
        ),
    ),
    Scene(
        "revert",
        "git revert of that edit",
        (Revert(), Push()),
        Expect("accepted", "success", "success", THREE),
    ),
    Scene(
        "again",
        "GitHub redelivers the push of step 3",
        (Redeliver("early"),),
        Expect(None, "failure", "failure", THREE, title="blocked"),
        head="early",
    ),
    Scene(
        "elsewhere",
        "the blocked edit, pushed to another branch",
        (Push("elsewhere", scene="cheat"),),
        Expect("preview", "failure", "failure", THREE, mentions=("tests/wordcount.test.js",)),
        head="cheat",
    ),
    Scene(
        "preview",
        "new work on another branch: src/frequent.js",
        (
            Switch("experiment", new=True),
            Write("src/frequent.js", FREQUENT),
            Commit("Find the most frequent word"),
            Push("experiment"),
            Switch("main"),
        ),
        Expect("preview", "success", "success", THREE, title="Preview"),
        head="preview",
    ),
    Scene(
        "amend",
        "git commit --amend and a force-push",
        (Commit("Restore the tests and the rules", amend=True), Push(force=True)),
        Expect("accepted", "success", "success", THREE),
    ),
    Scene(
        "taken-away",
        "a force-push without step 2's work",
        (
            Reset("report"),
            Write("notes/start-over.md", "Once more, with a clear head.\n"),
            Commit("Start over"),
            Push(force=True),
        ),
        Expect("accepted", "success", "success", FIRST),
    ),
    Scene(
        "fix-again",
        "step 2 once more",
        (Write("src/wordcount.js", FIXED), Commit("Count runs of white space as one"), Push()),
        Expect("accepted", "success", "success", TWO),
    ),
    Scene(
        "finish",
        "steps 3 and 5, two commits in one push",
        (
            Write("src/cli.js", COMMAND),
            Commit("Count the words of a file"),
            Write("CHANGELOG.md", RELEASE_NOTES),
            Commit("Write the release notes"),
            Push(),
        ),
        Expect("accepted", "success", "success", ALL, session="VERIFIED_PASS"),
    ),
)
