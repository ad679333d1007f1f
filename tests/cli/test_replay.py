"""`app.py lab replay` on repositories that the real git made: the timeline, its totals, what a changed file flips."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import app as entry
from bench.replay import Size, history_of
from rules.patterns import PatternError
from tests.support.authoring import commit, git, make_repository, write
from tests.support.commands import invoke

POLICY = {"unmapped": "warn"}
STEPS: list[dict[str, Any]] = [
    {"id": "one", "title": "Part one", "files": ["one/**"]},
    {
        "id": "two",
        "title": "Part two",
        "files": ["two/**"],
        "complete": {"type": "contains", "path": "two/a.txt", "pattern": "^done"},
    },
    {"id": "three", "title": "Part three", "files": ["three/**"]},
]


def lab_file(steps: list[dict[str, Any]] | None = None, **fields: Any) -> str:
    """A steps file with these steps."""
    return json.dumps({"version": 1, "title": "A lab", "branch": "main", "steps": steps or STEPS} | fields)


def run(*words: str | Path) -> Result:
    """Run `python app.py lab replay WORDS`."""
    return invoke(["lab", "replay", *words])


def replayed(*words: str | Path) -> dict[str, Any]:
    """What --json tells, of a replay that must end well."""
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def history(folder: Path, *commits: Mapping[str, str | None], lab: str | None = None) -> Path:
    """A repository whose first commit is a lab's template; each of `commits` is called by its number."""
    make_repository(folder, {".forgea/steps.json": lab or lab_file(), "README.md": "A lab\n"})
    for number, edits in enumerate(commits, start=1):
        work(folder, str(number), edits)
    return folder


def work(folder: Path, message: str, edits: Mapping[str, str | None]) -> str:
    """Commit these edits (None: the file goes); the commit's sha."""
    write(folder, {path: text for path, text in edits.items() if text is not None})
    for path, text in edits.items():
        if text is None:
            (folder / path).unlink()
    return commit(folder, message)


def told(document: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Subject, verdict and gained steps of each push."""
    return [
        (push["subject"], push["verdict"], [gain["step"] for gain in push["gained"]]) for push in document["pushes"]
    ]


LEARNER: list[Mapping[str, str | None]] = [
    {"one/a.txt": "1\n"},
    {"three/early.txt": "1\n", "notes.txt": "mine\n"},
    {"two/a.txt": "not yet\n"},
    {"two/a.txt": "done\n"},
    {"one/a.txt": "2\n"},
]


@pytest.fixture(name="learner", scope="module")
def _learner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return history(tmp_path_factory.mktemp("replay") / "learner", *LEARNER, lab=lab_file(policy=POLICY))


def test_the_timeline_tells_each_push_the_steps_and_the_totals(learner: Path) -> None:
    """One line for a push with the files that are out of order below it, then each step, then the totals."""
    done = run(learner)
    shas = git(learner, "rev-list", "--reverse", "--abbrev-commit", "--abbrev=7", "HEAD").split()[1:]

    assert done.exit_code == 0, done.output
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert [" ".join(line.split()) for line in lines] == [
        f"{shas[0]} accepted 1/3 +one 1",
        f"{shas[1]} blocked 1/3 2",
        "notes.txt (warning, UNMAPPED_PATH)",
        "three/early.txt -> three (OUT_OF_ORDER, first: two)",
        f"{shas[2]} blocked 1/3 3",
        "notes.txt (warning, UNMAPPED_PATH)",
        "three/early.txt -> three (OUT_OF_ORDER, first: two)",
        f"{shas[3]} accepted 3/3 +two +three 4",
        "notes.txt (warning, UNMAPPED_PATH)",
        f"{shas[4]} closed 3/3 5",
        "",
        f"one: complete at {shas[0]} (push 1) Part one",
        f"two: complete at {shas[3]} (push 4) Part two",
        f"three: complete at {shas[3]} (push 4) Part three",
        "",
        "5 pushes: 2 accepted (1 with warnings), 2 blocked, 1 after the lab was complete.",
        "Files that were out of order came with 1 of the blocked pushes; the longest run of blocked pushes has 2.",
        "3 of 3 steps are complete. The lab is complete.",
    ]
    assert "\x1b" not in done.stdout, "no colours where there is no terminal"


def test_json_holds_the_whole_replay(learner: Path) -> None:
    """Programs get every push with violations, what became of each step, and the totals."""
    document = replayed(learner)
    shas = git(learner, "rev-list", "--reverse", "HEAD").split()

    assert document["template"] == shas[0]
    assert [push["commit"] for push in document["pushes"]] == shas[1:]
    assert document["pushes"][1]["violations"][1] == {
        "path": "three/early.txt",
        "code": "OUT_OF_ORDER",
        "level": "block",
        "steps": ["three"],
        "missing": ["two"],
        "suggestion": "",
    }
    assert [(step["id"], step["completed_by_push"], step["reopened"]) for step in document["steps"]] == [
        ("one", 1, 0),
        ("two", 4, 0),
        ("three", 4, 0),
    ]
    assert document["totals"] == {
        "pushes": 5,
        "accepted": 2,
        "accepted_with_warnings": 1,
        "blocked": 2,
        "offending_pushes": 1,
        "closed": 1,
        "longest_blocked_run": 2,
        "violations": {"OUT_OF_ORDER": 2},
        "steps_done": 3,
        "steps": 3,
        "complete": True,
    }


def test_a_step_that_nothing_completes_is_said_to_be_never_completed(learner: Path) -> None:
    """Of a history that ends early the open steps are told."""
    done = run(learner, "HEAD~2")

    assert "two: never completed  Part two" in done.stdout.splitlines()
    assert "1 of 3 steps are complete. The lab is not complete." in done.stdout.splitlines()


def test_a_reopened_step_is_counted(tmp_path: Path) -> None:
    """A step that was taken away and done again is complete at the later push, with how often it was reopened."""
    commits: list[Mapping[str, str | None]] = [
        {"one/a.txt": "1"}, {"two/a.txt": "done"}, {"two/a.txt": "bad"}, {"two/a.txt": "done again"},
    ]  # fmt: skip
    folder = history(tmp_path / "r", *commits, lab=lab_file(policy={"reopen": "always"}))

    document = replayed(folder)

    assert document["pushes"][2]["reopened"] == [{"step": "two", "reason": "TAKEN_AWAY"}]
    assert [(step["completed_by_push"], step["reopened"]) for step in document["steps"]] == [(1, 0), (4, 1), (None, 0)]
    assert "(push 4), reopened once  Part two" in run(folder).stdout


def test_several_commits_at_a_time_are_one_push(learner: Path) -> None:
    """With --every each N-th commit is a pushed head, and the last; steps are earned at the commits between."""
    document = replayed(learner, "--every", "2")
    shas = git(learner, "rev-list", "--reverse", "HEAD").split()

    assert told(document) == [("2", "blocked", ["one"]), ("4", "accepted", ["two", "three"]), ("5", "closed", [])]
    assert document["pushes"][0]["gained"] == [{"step": "one", "commit": shas[1]}]
    assert [push["commit"] for push in replayed(learner, "--every", "99")["pushes"]] == [shas[-1]]


def test_a_range_starts_from_its_first_end(learner: Path) -> None:
    """A..B plays the commits after A on A as template; with --template the earlier ones belong to the first push."""
    shas = git(learner, "rev-list", "--reverse", "HEAD").split()

    assert told(replayed(learner, "HEAD~4..HEAD~2", "--lab", learner / ".forgea/steps.json")) == [
        ("2", "blocked", []),
        ("3", "blocked", []),
    ]
    document = replayed(learner, "HEAD~3..", "--template", shas[0])
    assert document["template"] == shas[0]
    assert told(document) == [("3", "blocked", ["one"]), ("4", "accepted", ["two", "three"]), ("5", "closed", [])]
    assert document["pushes"][0]["gained"] == [{"step": "one", "commit": shas[1]}]


def test_a_repository_that_does_not_begin_at_the_template(tmp_path: Path) -> None:
    """Generated from the template: no common history. Then steps are earned at heads only, as GitHub cannot compare."""
    folder = history(tmp_path / "r")
    template = git(folder, "rev-parse", "HEAD")
    git(folder, "checkout", "--quiet", "--orphan", "generated")
    commit(folder, "from the template")
    work(folder, "done", {"one/a.txt": "1", "two/a.txt": "done"})
    work(folder, "undone", {"two/a.txt": "bad"})

    every_commit = replayed(folder, "generated", "--template", template)
    one_push = replayed(folder, "generated", "--template", template, "--every", "3")

    assert told(every_commit) == [
        ("from the template", "accepted", []),
        ("done", "accepted", ["one", "two"]),
        ("undone", "accepted", []),
    ]
    assert told(one_push) == [("undone", "accepted", ["one"])]


def test_only_first_parents_are_pushes(tmp_path: Path) -> None:
    """A merged branch is one push: its commits are not played one by one."""
    folder = history(tmp_path / "r", {"one/a.txt": "1"})
    git(folder, "checkout", "--quiet", "-b", "side")
    work(folder, "side", {"three/a.txt": "1"})
    work(folder, "side 2", {"two/a.txt": "done"})
    git(folder, "checkout", "--quiet", "main")
    work(folder, "main", {"README.md": "x"})
    git(folder, "merge", "--quiet", "--no-ff", "-m", "merged", "side")

    assert told(replayed(folder)) == [
        ("1", "accepted", ["one"]), ("main", "accepted", []), ("merged", "accepted", ["two", "three"]),
    ]  # fmt: skip


def test_a_bare_repository_is_replayed_too(learner: Path, tmp_path: Path) -> None:
    """A mirror clone says the same as the checkout that it was made of."""
    git(tmp_path, "clone", "--quiet", "--mirror", str(learner), "bare.git")

    assert replayed(tmp_path / "bare.git", "main") == replayed(learner)


def test_what_git_does_not_know_is_taken_as_the_options_say(tmp_path: Path) -> None:
    """Steps that wait for staff or for checks stay open, unless --approve and --checks-pass say otherwise."""
    flow = {"type": "workflow", "path": ".github/workflows/t.yml"}
    steps: list[dict[str, Any]] = [
        {"id": "ci", "title": "CI", "files": ["ci/**"], "complete": {"type": "check", "name": "c", "app_id": 7}},
        {"id": "flow", "title": "Flow", "files": ["f/**"], "complete": flow},
        {"id": "sign", "title": "Sign", "aliases": ["ok"], "files": ["s/**"], "complete": {"type": "approval"}},
    ]
    lab = lab_file(steps)
    folder = make_repository(tmp_path / "r", {".forgea/steps.json": lab, ".github/workflows/t.yml": "on: push\n"})
    work(folder, "1", {"x": "1"})

    assert told(replayed(folder)) == [("1", "accepted", [])]
    assert told(replayed(folder, "--checks-pass")) == [("1", "accepted", ["ci", "flow"])]
    assert told(replayed(folder, "--checks-pass", "--approve", "ok")) == [("1", "accepted", ["ci", "flow", "sign"])]


def test_against_shows_which_verdicts_a_changed_file_would_flip(learner: Path, tmp_path: Path) -> None:
    """Each push that differs is shown with both verdicts and why, then the totals; exit status 1."""
    other = tmp_path / "other.json"
    free = [STEPS[0], STEPS[1], STEPS[2] | {"needs": []}]
    other.write_text(lab_file(free, policy={"unmapped": "block"}, shared=["notes.txt"]))
    done = run(learner, "--against", other)
    shas = git(learner, "rev-list", "--reverse", "--abbrev-commit", "--abbrev=7", "HEAD").split()[1:]

    assert done.exit_code == 1, done.output
    assert done.stdout.splitlines() == [
        f"{shas[1]}  blocked  =>  accepted +three  2",
        "         no longer out of order: three/early.txt -> three (OUT_OF_ORDER, first: two)",
        "         now completes three",
        f"{shas[2]}  blocked  =>  accepted  3",
        "         no longer out of order: three/early.txt -> three (OUT_OF_ORDER, first: two)",
        f"{shas[3]}  accepted +three +two  =>  accepted +two  4",
        "         no longer completes three",
        "3 of 5 pushes flip: 2 blocked -> accepted, 1 same verdict, other steps.",
    ]


def test_against_tells_when_the_lab_is_complete_earlier_or_later(learner: Path, tmp_path: Path) -> None:
    """A push that one of the files would not have judged any more is a flip that says so."""
    other = tmp_path / "other.json"
    other.write_text(lab_file([*STEPS[:2], STEPS[2] | {"files": ["never/**"]}]))
    done = run(learner, "--against", other, "--json")
    document = json.loads(done.stdout)

    assert done.exit_code == 1
    assert document["pushes"] == 5
    assert document["flips"][-1]["before"] == "closed"
    assert document["flips"][-1]["after"] == "accepted"
    assert document["flips"][-1]["why"] == ["with the file as it was the lab was complete before"]
    assert document["totals"]["closed -> accepted"] == 1


def test_against_the_same_rules_under_other_names_nothing_flips(learner: Path, tmp_path: Path) -> None:
    """A step that was renamed by an alias is the same step; exit status 0 when no verdict flips."""
    other = tmp_path / "other.json"
    renamed = [STEPS[0], STEPS[1] | {"id": "deux", "aliases": ["two"]}, STEPS[2] | {"title": "The third"}]
    other.write_text(lab_file(renamed))

    done = run(learner, "--against", other)

    assert (done.exit_code, done.stdout) == (0, "5 pushes: no verdict flips.\n")
    assert json.loads(run(learner, "--against", other, "--json").stdout) == {"pushes": 5, "flips": [], "totals": {}}


def test_hostile_names_and_subjects_are_shown_and_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """Control characters and bytes that are no UTF-8 in names and subjects are made visible, in JSON escaped."""
    folder = history(tmp_path / "r", lab=lab_file(policy=POLICY))
    write(folder, {"a\x1b[2Jb": "", "line\nfeed": "", "\udcff": "", **{f"many{number}": "" for number in range(9)}})
    commit(folder, "red \x1b[31m\u202e")

    done, document = run(folder), replayed(folder)

    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "         and 7 more" in done.stdout.splitlines()
    assert {each["path"] for each in document["pushes"][0]["violations"]} >= {"a\x1b[2Jb", "line\nfeed", "\udcff"}


def test_wrong_use_is_one_line_and_exit_status_2(learner: Path, tmp_path: Path) -> None:
    """What the command line asks for and is not there is told in one line; a broken steps file is status 1."""
    broken = tmp_path / "broken.json"
    broken.write_text('{"version": 1, "title": 7}')
    plain = make_repository(tmp_path / "plain", {"README.md": "x"})
    work(plain, "1", {"x": "1"})
    cases: list[tuple[tuple[str | Path, ...], int, str]] = [
        ((tmp_path / "nowhere",), 2, "is not a folder"),
        ((tmp_path,), 2, "is not in a git repository"),
        ((learner, "no-such-branch"), 2, "has no commit or range 'no-such-branch'"),
        ((learner, "--template", "nothing"), 2, "has no commit or range 'nothing'"),
        ((learner, "-x"), 2, ""),
        ((learner, "HEAD...main"), 2, "write A..B, with two dots"),
        ((learner, "HEAD..HEAD"), 2, "there is no commit to push"),
        ((learner, "HEAD..HEAD~2", "--template", "HEAD~4"), 2, "there is no commit to push"),
        ((plain,), 2, "has no .forgea/steps.json: name a steps file with --lab"),
        ((learner, "--lab", tmp_path / "none.json"), 2, "there is no file"),
        ((learner, "--against", tmp_path / "none.json"), 2, "there is no file"),
        ((learner, "--lab", broken), 1, "broken.json"),
        ((learner, "--every", "0"), 2, ""),
        ((learner, "--approve", "nobody"), 2, "--approve: the lab has no step 'nobody'"),
    ]
    for words, status, message in cases:
        done = run(*words)
        assert (done.exit_code, done.stdout) == (status, ""), (words, done.output)
        assert message in done.stderr, words


def test_patterns_that_are_too_much_for_re2_are_the_authors_fault(
    learner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When RE2 gives up on the patterns with these files, one line says so, with status 1."""

    def too_much(*_: object) -> None:
        raise PatternError("The patterns of the lab together are too large for RE2.")

    monkeypatch.setattr("cli.replay_run.play", too_much)
    done = run(learner)

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.endswith(": The patterns of the lab together are too large for RE2.\n")


def test_a_long_history_is_replayed_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Hundreds of commits, blocked for long stretches, are replayed in seconds (how fast: `python -m bench.replay`)."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main")
    stream = history_of(Size(commits=300, files=50, steps=5))
    subprocess.run(["git", "fast-import", "--quiet"], cwd=tmp_path, input=stream, timeout=60, check=True)

    done = subprocess.run(
        [sys.executable, entry.__file__, "lab", "replay", str(tmp_path), "--json"],
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr.decode()
    document = json.loads(done.stdout)
    assert document["totals"]["pushes"] == 300
    assert document["totals"]["blocked"] > 100
    assert [step["completed_by_push"] is not None for step in document["steps"]] == [True] * 5
