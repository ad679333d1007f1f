"""Reading git: against what the real git says, with names, folders and configurations that are meant to go wrong."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli import gitprocess
from cli.gitread import GitMissingError, GitReadError, NotARepositoryError, Repository, UnknownRevisionError
from rules.model import TreeEntry
from tests.support.authoring import commit, git, make_repository, write

ODD_NAMES = (
    "with space",
    "tab\there",
    'quo"te',
    "line\nfeed",
    "caf\u0065\u0301",
    "caf\u00e9",
    "\udcff\udcfe",
    "a\\b",
    "-x",
)


def _as_git_tells(folder: Path, *words: str) -> dict[str, TreeEntry]:
    """The entries of `git ls-tree -z` in a folder."""
    out = subprocess.run(["git", "ls-tree", "-r", "-z", *words], cwd=folder, capture_output=True, check=True).stdout
    found = {}
    for line in out.decode("utf-8", "surrogateescape").split("\0")[:-1]:
        about, _, path = line.partition("\t")
        mode, _, sha = about.split()
        found[path] = TreeEntry(path, mode, sha)
    return found


def test_a_tree_is_what_git_tells(tmp_path: Path) -> None:
    """Files, programs, links, submodules and folders with odd names are read as `git ls-tree` tells them."""
    folder = make_repository(
        tmp_path / "lab", {f"deep/{name}/{name}": name.encode("utf-8", "surrogateescape") for name in ODD_NAMES}
    )
    write(folder, {"run.sh": "#!/bin/sh\n", "README.md": "# Lab\n"})
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("README.md")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    git(folder, "add", "--all", "--", "run.sh", "README.md", "link")
    git(folder, "commit", "--quiet", "--message", "All kinds")

    with Repository.open(folder) as repository:
        tree = repository.tree("HEAD")

        assert tree == _as_git_tells(folder, "HEAD")
        assert {tree["run.sh"].mode, tree["link"].mode, tree["module"].mode} == {"100755", "120000", "160000"}
        assert repository.show_file("HEAD", "deep/line\nfeed/line\nfeed") == b"line\nfeed"
        assert repository.show_file("HEAD", "README.md", limit=3) == b"# L"
        assert repository.show_file("HEAD", "module") is None
        assert repository.show_file("HEAD", "nothing") is None
        assert repository.tree("main") is tree


def test_the_working_tree_is_what_would_be_committed(tmp_path: Path) -> None:
    """Tracked and untracked files with the sha that git would give them; ignored and deleted ones are not there."""
    folder = make_repository(tmp_path / "lab", {"gone": "x", "kept": "old", ".gitignore": "*.log\n"})
    (folder / "gone").unlink()
    write(
        folder,
        {name: name.encode("utf-8", "surrogateescape") for name in ODD_NAMES}
        | {"kept": "new", "a.log": "noise", "run": "!"},
    )
    (folder / "run").chmod(0o755)
    (folder / "link").symlink_to("kept")
    make_repository(folder / "inner", {"not-ours": "x"})
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")

    with Repository.open(folder) as repository:
        lying = repository.working_tree()
        read = repository.read_working_file("\udcff\udcfe")
        link, no_file = repository.read_working_file("link"), repository.read_working_file("nowhere")
    git(folder, "add", "--all", "--", ":!inner", ":!module")
    git(folder, "commit", "--quiet", "--message", "All")

    assert {path: entry._replace(size=None) for path, entry in lying.items()} == _as_git_tells(folder, "HEAD")
    assert lying["kept"].size == 3
    assert (read, link, no_file) == (b"\xff\xfe", None, None)


def test_a_folder_below_the_root_sees_only_itself(tmp_path: Path) -> None:
    """From a sub-folder, paths are relative to it in commits and in the working tree; it may be missing in history."""
    folder = make_repository(tmp_path / "lab", {"top": "x"})
    old = git(folder, "rev-parse", "HEAD")
    write(folder, {"labs/first/a/b": "1", "labs/second/c": "2"})
    commit(folder, "Labs")

    with Repository.open(folder / "labs" / "first") as repository:
        assert list(repository.tree("HEAD")) == ["a/b"]
        assert list(repository.working_tree()) == ["a/b"]
        assert repository.tree(old) == {}


def test_history_is_told_along_first_parents(tmp_path: Path) -> None:
    """Oldest first, the commits of a merged branch left out; a range leaves out what is before it."""
    folder = make_repository(tmp_path / "lab", {"a": "1"})
    first = git(folder, "rev-parse", "HEAD")
    git(folder, "switch", "--quiet", "--create", "side")
    side = commit(folder, "On the side")
    git(folder, "switch", "--quiet", "main")
    second = commit(folder, "Second\nline\n\nBody")
    git(folder, "merge", "--quiet", "--no-ff", "--message", "Merged", "side")
    merge = git(folder, "rev-parse", "HEAD")

    with Repository.open(folder) as repository:
        history = repository.first_parents("main")

        assert [each.sha for each in history] == [first, second, merge]
        assert [each.sha for each in repository.first_parents(f"{first}..HEAD")] == [second, merge]
        assert history[1].subject == "Second line"
        assert (history[1].author, history[1].at) == ("Author", datetime.fromtimestamp(1700000000, UTC))
        assert history[2].parents == (second, side)
        assert repository.is_ancestor(side, merge)
        assert not repository.is_ancestor(side, second)


def test_odd_commits_are_read(tmp_path: Path) -> None:
    """A commit without message, with a name that is not UTF-8 and a time that nobody can read, is still a commit."""
    folder = make_repository(tmp_path / "lab", {"a": "1"})
    tree = git(folder, "rev-parse", "HEAD^{tree}")
    raw = f"tree {tree}\nauthor ".encode() + b"M\xff <m@example.org> 99999999999999999999 +0000\ncommitter nobody\n\n"
    made = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--literally", "--stdin"],
        input=raw,
        cwd=folder,
        capture_output=True,
        check=True,
    )

    with Repository.open(folder) as repository:
        found = repository.commit(made.stdout.decode().strip())

    assert (found.author, found.subject, found.at) == ("M\ufffd", "", datetime.fromtimestamp(0, UTC))


def test_a_bare_repository_has_history_but_no_working_tree(tmp_path: Path) -> None:
    """Commits of a bare repository are read; asking for its working tree is answered by what to do."""
    folder = make_repository(tmp_path / "lab", {"a": "1"})
    git(tmp_path, "clone", "--quiet", "--bare", str(folder), "bare.git")

    with Repository.open(tmp_path / "bare.git") as repository:
        assert list(repository.tree("main")) == ["a"]
        with pytest.raises(GitReadError, match="name a commit"):
            repository.working_tree()


def test_unknown_revisions_are_refused(tmp_path: Path) -> None:
    """What is no commit, an option, or not even a name, is an unknown revision: wrong use, in one line."""
    folder = make_repository(tmp_path / "lab", {"a": "1"})

    with Repository.open(folder) as repository:
        for name in ("nowhere", "", "--help", "-x", "^main", "a b", "HEAD:a", "line\nfeed", "\0", "HEAD~9", "\x1b[2J"):
            for ask in (
                repository.resolve,
                repository.first_parents,
                lambda name: repository.first_parents(f"{name}..nowhere"),
            ):
                with pytest.raises(UnknownRevisionError) as refused:
                    ask(name)
                assert refused.value.status == 2
                assert str(refused.value).isprintable()


def test_an_empty_repository_has_no_commit(tmp_path: Path) -> None:
    """Before the first commit HEAD is unknown, and the working tree can be read."""
    folder = make_repository(tmp_path / "lab")
    write(folder, {"a": "1"})

    with Repository.open(folder) as repository:
        with pytest.raises(UnknownRevisionError):
            repository.commit("HEAD")
        assert list(repository.working_tree()) == ["a"]


def test_what_is_no_repository_is_said(tmp_path: Path) -> None:
    """A plain folder, a missing one and a file are told apart from a repository; the name cannot steer a terminal."""
    (tmp_path / "file").write_text("x")
    hostile = tmp_path / "a\x1b[2Jb"
    hostile.mkdir()

    for folder in (hostile, tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(NotARepositoryError) as refused:
            Repository.open(folder)
        assert refused.value.status == 2
        assert "\x1b" not in str(refused.value)


def test_a_machine_without_git_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git on PATH the remedy is to install it."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(GitMissingError, match="install it"):
        Repository.open(tmp_path)


def test_neither_the_users_nor_a_hostile_configuration_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GIT_* of the environment, the user's settings and programs that the repository names change and run nothing."""
    folder = make_repository(tmp_path / "lab", {"a": "1"})
    other = make_repository(tmp_path / "other", {"b": "1"})
    (tmp_path / "ignore").write_text("*\n")
    (tmp_path / ".gitconfig").write_text(f"[core]\n\texcludesFile = {tmp_path / 'ignore'}\n")
    trap = f"touch {tmp_path / 'ran'}; false"
    for key in ("core.fsmonitor", "core.pager", "core.sshCommand", "filter.trap.clean", "diff.external"):
        git(folder, "config", key, trap)
    write(folder, {".gitattributes": "* filter=trap\n", "new": "x"})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))

    with Repository.open(folder) as repository:
        assert list(repository.tree("HEAD")) == ["a"]
        assert set(repository.working_tree()) == {"a", "new", ".gitattributes"}

    assert not (tmp_path / "ran").exists()


def test_a_damaged_repository_is_told(tmp_path: Path) -> None:
    """An object that is missing, of another kind or unreadable is an error that says so, and nothing hangs."""
    folder = make_repository(tmp_path / "lab", {"a": "1", "b": "2"})
    with Repository.open(folder) as repository:
        tree = repository.tree("HEAD")
        lost = folder / ".git" / "objects" / tree["a"].sha[:2] / tree["a"].sha[2:]
        lost.chmod(0o600)
        lost.write_bytes(b"not zlib")

        with pytest.raises(GitReadError, match=tree["a"].sha):
            repository.blob(tree["a"].sha)
        with pytest.raises(GitReadError, match="damaged"):
            repository.blob("1" * 40)
        with pytest.raises(GitReadError, match="not a blob"):
            repository.blob(repository.commit("HEAD").tree)
        assert repository.blob(tree["b"].sha) == b"2"


def test_git_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git that hangs ends in an error after the time-out, for commands and for the running one."""
    folder = make_repository(tmp_path / "lab", {"a": "1"})
    with Repository.open(folder) as repository:
        sha = repository.resolve("HEAD")
        hanging = tmp_path / "bin" / "git"
        hanging.parent.mkdir()
        hanging.write_text("#!/bin/sh\nexec sleep 60\n")
        hanging.chmod(0o755)
        monkeypatch.setenv("PATH", f"{hanging.parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(gitprocess, "GIT_TIMEOUT", 0.05)

        with pytest.raises(GitReadError, match="took longer"):
            repository.resolve("HEAD")
        with pytest.raises(GitReadError, match="took longer"):
            repository.blob(sha)


def test_large_blobs_are_cut(tmp_path: Path) -> None:
    """Of a large file only what is asked for is kept, and the next answer is not confused by the rest."""
    folder = make_repository(tmp_path / "lab", {"large": os.urandom(1 << 20), "small": "s"})

    with Repository.open(folder) as repository:
        tree = repository.tree("HEAD")
        large, small = tree["large"].sha, tree["small"].sha

        assert len(repository.blob(large)) == 1 << 20
        assert repository.blobs([large, small], limit=10) == {large: (folder / "large").read_bytes()[:10], small: b"s"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_repository_of_another_user_is_read(tmp_path: Path) -> None:
    """A folder that belongs to somebody else, as in a container, is read like one's own."""
    folder = make_repository(tmp_path / "lab", {"a": "1"})
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534)

    with Repository.open(folder) as repository:
        assert list(repository.tree("HEAD")) == list(repository.working_tree()) == ["a"]
