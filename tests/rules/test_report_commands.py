"""The commands that learners paste, run with real bash and git in real repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from rules.report_commands import MAX_PATHS, Source, Undo, can_name, rename, undo

# Each beside a neighbour that a careless command would hit as well.
HOSTILE = [
    ("*.js", "other.js"),
    ("a?c", "abc"),
    ("[ab]", "a"),
    (":(top)x", "x"),
    (":!y", "y"),
    (":/z", "z"),
    ("-rf", "rf"),
    ("--", "dashes"),
    ("two  words", "two"),
    ('it\'s "quoted"', "its"),
    ("$(touch owned)", "touch"),
    ("`touch owned`", "tick"),
    ("a;touch owned", "semi"),
    ("line\nbreak", "line"),
    ("tab\there", "tab"),
    ("escape\x1b[31m", "escape"),
    ("\u202egnp.exe", "exe"),
    ("zero\u200bwidth", "zerowidth"),
    ("back\\slash", "backslash"),
    ("bang!!", "bang"),
    ("=equals", "equals"),
    ("~", "tilde"),
    ("größe/naïve.txt", "größe/naive.txt"),
    ("nfc-\u00e9", "nfc-e\u0301"),
    ("deep/er/*", "deep/er/file"),
    ("#hash", "hash"),
    ("a|b", "ab"),
]


@dataclass(frozen=True)
class Clone:
    """A learner's clone with a remote that takes pushes."""

    folder: Path

    def git(self, *words: str) -> str:
        """What git prints."""
        done = subprocess.run(
            ["git", *words], cwd=self.folder, env=ENVIRONMENT, capture_output=True, check=True, timeout=60
        )
        return done.stdout.decode()

    def write(self, files: dict[str, str]) -> None:
        """Put files into the working tree."""
        for path, content in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    def save(self, message: str) -> str:
        """Commit everything and push; the commit's sha."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        self.git("push", "--quiet")
        return self.git("rev-parse", "HEAD").strip()

    def tree(self, commit: str = "HEAD") -> dict[str, str]:
        """Blob of each path of a commit."""
        rows = self.git("ls-tree", "-r", "-z", commit).split("\0")[:-1]
        return {row.partition("\t")[2]: row.split()[2] for row in rows}

    def paste(self, lines: tuple[str, ...]) -> None:
        """Run the lines as a learner would, with a shell that stops at the first error."""
        script = "\n".join(lines)
        words = ["bash", "--norc", "-e", "-c", script]
        done = subprocess.run(words, cwd=self.folder, env=ENVIRONMENT, capture_output=True, check=False, timeout=60)

        assert done.returncode == 0, (script, done.stderr.decode())
        assert self.git("status", "--porcelain") == ""
        assert len(set(self.git("rev-parse", "HEAD", "@{upstream}").split())) == 1


ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Learner",
    "GIT_AUTHOR_EMAIL": "learner@example.invalid",
    "GIT_COMMITTER_NAME": "Learner",
    "GIT_COMMITTER_EMAIL": "learner@example.invalid",
}


#: Configuration of a clone beside its repository; without the housekeeping that git starts after each push.
CONFIGURATION = """\
[core]
	bare = false
[remote "origin"]
	url = ../{name}.git
	fetch = +refs/heads/*:refs/remotes/origin/*
[branch "main"]
	remote = origin
	merge = refs/heads/main
[push]
	default = current
[maintenance]
	auto = false
"""


@pytest.fixture(scope="module", name="empty")
def _empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository, made once: a copy costs no process."""
    bare = tmp_path_factory.mktemp("empty") / "empty.git"
    words = ["git", "init", "--quiet", "--bare", "--template=", "-b", "main", str(bare)]
    subprocess.run(words, env=ENVIRONMENT, capture_output=True, check=True, timeout=60)
    with (bare / "config").open("a") as file:
        file.write("[receive]\n\tautogc = false\n")
    return bare


def a_clone(empty: Path, folder: Path, name: str = "clone") -> Clone:
    """An empty clone of an empty repository, on branch main."""
    shutil.copytree(empty, folder / f"{name}.git")
    shutil.copytree(empty, folder / name / ".git")
    (folder / name / ".git" / "config").write_text(CONFIGURATION.format(name=name))
    return Clone(folder / name)


@pytest.fixture(name="clone")
def _clone(empty: Path, tmp_path: Path) -> Clone:
    return a_clone(empty, tmp_path)


@dataclass(frozen=True)
class Hostile:
    """A clone with all hostile names and their neighbours, each accepted and then changed."""

    clone: Clone
    accepted: str
    tree: dict[str, str]  # of `accepted`


@pytest.fixture(scope="module", name="hostile", params=["added", "modified", "removed"])
def _hostile(request: pytest.FixtureRequest, empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    """By what was done to the hostile names: every neighbour is changed. A test takes back one name, wherever the
    others stand."""
    names, neighbours = [name for name, _ in HOSTILE], [neighbour for _, neighbour in HOSTILE]
    clone = a_clone(empty, tmp_path_factory.mktemp(request.param))
    clone.write(dict.fromkeys([*neighbours, "keep", *(names if request.param != "added" else ())], "one\n"))
    accepted = clone.save("accepted")
    clone.write(dict.fromkeys([*neighbours, "keep", *names], "two\n"))
    if request.param == "removed":
        for name in names:
            (clone.folder / name).unlink()
    clone.save("head")
    return Hostile(clone, accepted, clone.tree(accepted))


@pytest.mark.parametrize("name", [name for name, _ in HOSTILE], ids=[ascii(name) for name, _ in HOSTILE])
def test_exactly_the_named_file_is_taken_back(hostile: Hostile, name: str) -> None:
    """Whatever a file is called: it becomes as it was, and all others, its neighbour too, keep the learner's work."""
    clone, source = hostile.clone, Source(hostile.accepted)
    change = Undo(source, restore=(name,)) if name in hostile.tree else Undo(source, remove=(name,))
    before = clone.tree()

    commands = undo([change], "Take it back", 10_000)
    clone.paste(commands.lines)

    expected = {path: blob for path, blob in before.items() if path != name}
    after = clone.tree()
    assert before.get(name) != after.get(name)
    assert after == expected | {path: blob for path, blob in hostile.tree.items() if path == name}
    assert not (clone.folder / "owned").exists()


def test_all_hostile_names_at_once(clone: Clone) -> None:
    """Several files are taken back by one command for each kind of change."""
    names = [name for name, _ in HOSTILE]
    modified, added, removed = names[:9], names[9:18], names[18:]
    clone.write({**dict.fromkeys((*modified, *removed), "one\n"), **{neighbour: "one\n" for _, neighbour in HOSTILE}})
    accepted = clone.save("accepted")
    clone.write({**dict.fromkeys((*modified, *added), "two\n"), **{neighbour: "two\n" for _, neighbour in HOSTILE}})
    for name in removed:
        (clone.folder / name).unlink()
    head = clone.save("head")

    commands = undo([Undo(Source(accepted), tuple(added), (*modified, *removed))], "Take it back", 10_000)
    clone.paste(commands.lines)

    neighbours = {neighbour: clone.tree(head)[neighbour] for _, neighbour in HOSTILE}
    assert clone.tree() == clone.tree(accepted) | neighbours
    assert (commands.hidden, commands.unnamed) == (0, 0)


def test_protected_files_become_the_templates_whatever_was_done_to_them(clone: Clone) -> None:
    """One command restores changed and removed files, and takes away those that the template lacks."""
    clone.write({"tests/a": "template\n", "tests/b": "template\n", "src": "template\n"})
    template = clone.save("template")
    clone.write({"tests/a": "mine\n", "tests/new": "mine\n", "src": "mine\n"})
    (clone.folder / "tests/b").unlink()
    head = clone.save("head")

    clone.paste(undo([Undo(Source(template), restore=("tests/a", "tests/b", "tests/new"))], "Back", 10_000).lines)

    assert clone.tree() == clone.tree(template) | {"src": clone.tree(head)["src"]}


def test_a_moved_file_goes_back(clone: Clone) -> None:
    """Taking back a rename removes the new name and restores the old one."""
    clone.write({"old": "content\n", "keep": "one\n"})
    accepted = clone.save("accepted")
    clone.git("mv", "old", "new")
    clone.save("head")

    clone.paste(undo([Undo(Source(accepted), remove=("new",), restore=("old",))], "Back", 10_000).lines)

    assert clone.tree() == clone.tree(accepted)


def test_a_file_that_became_a_folder_goes_back(clone: Clone) -> None:
    """A file in whose place a folder was put is there again, and the other way round."""
    clone.write({"a": "file\n", "b/file": "file\n"})
    accepted = clone.save("accepted")
    (clone.folder / "a").unlink()
    (clone.folder / "b/file").unlink()
    (clone.folder / "b").rmdir()
    clone.write({"a/file": "new\n", "b": "new\n"})
    clone.save("head")

    clone.paste(undo([Undo(Source(accepted), ("a/file", "b"), ("a", "b/file"))], "Back", 10_000).lines)

    assert clone.tree() == clone.tree(accepted)


def test_a_mode_a_link_and_a_submodule_go_back(clone: Clone) -> None:
    """What is no ordinary change of text is taken back as well."""
    clone.write({"script": "one\n", "target": "one\n"})
    accepted = clone.save("accepted")
    (clone.folder / "script").chmod(0o755)
    (clone.folder / "target").unlink()
    (clone.folder / "target").symlink_to("script")
    clone.git("update-index", "--add", "--cacheinfo", f"160000,{accepted},module")
    (clone.folder / "module").mkdir()
    clone.save("head")

    clone.paste(undo([Undo(Source(accepted), ("module",), ("script", "target"))], "Back", 10_000).lines)

    assert clone.git("ls-tree", "-r", "HEAD") == clone.git("ls-tree", "-r", accepted)


def test_a_repository_without_the_templates_history_fetches_it(empty: Path, tmp_path: Path) -> None:
    """In a repository generated from a template its commit is not there: it is fetched by its sha."""
    template = a_clone(empty, tmp_path, "template")
    template.write({"tests/a": "template\n", "src": "template\n"})
    pinned = template.save("template")
    template.write({"tests/a": "later\n"})
    template.save("later")
    generated = a_clone(empty, tmp_path, "generated")
    generated.write({"tests/a": "mine\n", "src": "mine\n"})
    head = generated.save("head")
    source = Source(pinned, fetch_from=str(tmp_path / "template.git"))

    generated.paste(undo([Undo(source, restore=("tests/a",))], "Back", 10_000).lines)

    assert generated.tree() == template.tree(pinned) | {"src": generated.tree(head)["src"]}


def test_uncommitted_work_in_a_new_file_is_not_thrown_away(clone: Clone) -> None:
    """`git rm` refuses where the learner has gone on working since the push."""
    clone.write({"keep": "one\n"})
    accepted = clone.save("accepted")
    clone.write({"new": "one\n"})
    clone.save("head")
    clone.write({"new": "more\n"})

    with pytest.raises(AssertionError, match="local modifications"):
        clone.paste(undo([Undo(Source(accepted), remove=("new",))], "Back", 10_000).lines)

    assert (clone.folder / "new").read_text() == "more\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [("profile.md", "PROFILE.md"), ("-a b", "$(b)"), (":(top)*", ":!a"), ("x\ny", "\u200b")],
    ids=ascii,
)
def test_a_file_is_renamed(clone: Clone, old: str, new: str) -> None:
    """The command for a near miss gives the file its right name."""
    clone.write({old: "content\n", "keep": "one\n"})
    head = clone.save("head")

    clone.paste((rename(old, new), "git commit -qm Rename", "git push -q"))

    assert clone.tree() == {new: clone.tree(head)[old], "keep": clone.tree(head)["keep"]}


def test_commands_by_example() -> None:
    """Removals, then what is restored, then one commit for all."""
    changes = [
        Undo(Source("a" * 40), remove=("new.js",), restore=("src/a b.js",)),
        Undo(Source("b" * 40, "https://github.com/octo-course/lab.git"), restore=("tests/*.js",)),
    ]

    assert undo(changes, "Back", 1_000).lines == (
        "git rm -- new.js",
        f"git restore --source={'a' * 40} --staged --worktree -- 'src/a b.js'",
        f"git fetch 'https://github.com/octo-course/lab.git' {'b' * 40}",
        f"git --literal-pathspecs restore --source={'b' * 40} --staged --worktree -- 'tests/*.js'",
        "git commit -m Back",
        "git push",
    )


def test_what_cannot_be_named_or_does_not_fit_is_counted() -> None:
    """Names that are not UTF-8 are never guessed, and long lists are cut between names."""
    many = tuple(f"file{number:02}" for number in range(MAX_PATHS + 5))
    commands = undo([Undo(Source("a" * 40), many, ("x" * 500, "\ufffd", "\udc80", "short"))], "Back", 400)

    assert (commands.hidden, commands.unnamed) == (6, 2)
    assert commands.lines[0].split()[3:] == list(many[:MAX_PATHS])
    assert commands.lines[1].endswith(" -- short")


def test_nothing_to_name_is_nothing_to_do() -> None:
    """Without a file that a command can name there is no command, and no commit either."""
    assert undo([Undo(Source("a" * 40), ("\ufffd",))], "Back", 400).lines == ()
    assert undo([], "Back", 400).lines == ()


@pytest.mark.parametrize(("path", "nameable"), [("a", True), ("\n", True), ("a\ufffd", False), ("\ud800", False)])
def test_which_files_a_command_can_name(path: str, nameable: bool) -> None:
    """GitHub's API shows bytes that are no UTF-8 as U+FFFD; their file cannot be named."""
    assert can_name(path) is nameable
