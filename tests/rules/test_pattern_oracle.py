"""rules.patterns against the installed git: the same answers, outside the differences that are decided and shown."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from rules.pattern_reading import affirmed
from rules.patterns import PatternSet, check_pattern
from tests.support.effort import examples

pytestmark = pytest.mark.heavy

CASES = 20_000  # (list, path) cases compared with git, each outside the decided differences
PATHS_PER_LIST = 80

SEGMENTS = [
    "a", "b", "ab", "abc", "a.md", "b.md", "é", "A", "a b", "#a", "!a", "a ", "[a]", "a*b", "a-b", ".a", "a\\b", "日本",
    "B.md", "a\tb",
]  # fmt: skip
PIECES = [
    "a", "b", "c", "ab", ".md", "é", "A", " ", "-", "*", "*", "**", "***", "?", "[ab]", "[!a]", "[^b]", "[a-c]", "[]a]",
    "[a-]", "[!]-]", "[--0]", "[\\]a]", "[[a]", "[*?]", "[a-c-b]", "\\*", "\\a", "\\ ", "\\#", "\\!", "\\[", "\\\\",
    "#", "!", "日", "\t", "B", ".", "$", "(a|b)", "+", "^", "{a}",
]  # fmt: skip


def some_pattern(source: random.Random) -> str:
    """A pattern out of pieces, most of them sensible, many of them nasty."""

    def segment() -> str:
        if source.random() < 0.25:
            return source.choice(["*", "**", "***", "?"])
        if source.random() < 0.4:
            return source.choice(SEGMENTS[:8])
        return "".join(source.choice(PIECES) for _ in range(source.randint(1, 3)))

    body = "/".join(segment() for _ in range(source.choice([1, 1, 2, 2, 3, 4])))
    ends = ["", "", "", "/", "/**", " ", "/**/"]
    return source.choice(["", "", "", "!", "!"]) + source.choice(["", "", "/"]) + body + source.choice(ends)


def some_path(source: random.Random) -> str:
    """A path of one to four segments."""
    return "/".join(source.choice(SEGMENTS) for _ in range(source.choice([1, 2, 2, 3, 4])))


def path_for(pattern: str, source: random.Random) -> str:
    """A path that the pattern likely matches: its wildcards filled in, sometimes a file put below or a folder above."""
    fillings = {
        "*": ["", "a", "b.md", "-"],
        "**": ["a", "a/b", "ab/b/c"],
        "?": ["a", "-", "]"],
        "[": ["a", "b", "c", "-", "]"],
    }

    def filled(found: re.Match[str]) -> str:
        token = found.group()
        key = "**" if token.startswith("**") else token[0]
        return token[1:] if key == "\\" else source.choice(fillings[key])

    body = re.sub(r"\\.|\*+|\?|\[.[^]]*\]", filled, affirmed(pattern).rstrip(" "))
    parts = [part for part in body.split("/") if part not in ("", ".", "..")]
    return "/".join(source.choice([[], [], [], ["a"]]) + parts + source.choice([[], [], ["b"]])) or "a"


def outside_our_promise(pattern: str) -> bool:
    """Whether a pattern has no meaning here (an error), counts characters where git counts bytes, or meets git's
    misreading of `x**` with a slash elsewhere: git (seen in 2.39) cuts off the literal `x` and then takes the rest
    for a whole segment of `**`, while its manual says that such stars are regular ones."""
    misread = re.match(r"!?/?[^*?\[\\]*[^*?\[\\/]\*\*+(/|$)", pattern.rstrip(" "))
    return check_pattern(pattern) is not None or (misread is not None and "/" in pattern)


def folders_above(path: str) -> list[str]:
    """The folders of a path, each as a path of its own."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def decidedly_different(group: Sequence[str], paths: Sequence[str]) -> set[str]:
    """The paths where a decided difference may be at play: a `!` pattern is concerned and some pattern of the list
    matches a folder above, or bytes are not characters."""
    alone = PatternSet([(affirmed(pattern),) for pattern in group])
    different = set()
    bytewise = any("?" in pattern or "[" in pattern for pattern in group)
    for path in paths:
        negated = any(group[number].startswith("!") for number in alone.match(path).groups)
        # A folder matches when some new file in it does: its name is in no pattern. A star that takes the file
        # itself makes a few cases more count as different than need be.
        if negated and any(alone.match(f"{folder}/\1").groups for folder in folders_above(path)):
            different.add(path)
        if bytewise and not path.isascii():
            different.add(path)
    return different


def git_winners(root: Path, lists: Sequence[tuple[list[str], list[str]]]) -> list[list[int | None]]:
    """What the installed git says: for each list, and each path of it, the index of the winning pattern.

    Each list is the .gitignore of a folder of its own, so that one process answers all.
    """
    env = {"PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}
    subprocess.run(["git", "init", "-q", str(root)], check=True, env=env, timeout=30)
    asked = []
    for number, (group, paths) in enumerate(lists):
        (root / f"list{number}").mkdir()
        (root / f"list{number}" / ".gitignore").write_text("".join(f"{line}\n" for line in group), "utf-8")
        asked += [f"list{number}/{path}\0" for path in paths]
    command = ["git", "-c", "core.ignoreCase=false", "check-ignore", "--no-index", "-z", "--stdin", "-v", "-n"]
    sent = "".join(asked).encode()
    done = subprocess.run(command, input=sent, capture_output=True, check=False, cwd=root, env=env, timeout=100)
    assert done.returncode in (0, 1), done.stderr
    fields = done.stdout.decode().split("\0")[:-1]
    records = iter([fields[at : at + 4] for at in range(0, len(fields), 4)])
    answers: list[list[int | None]] = []
    for number, (_, paths) in enumerate(lists):
        answers.append([])
        for path in paths:
            _, line, _, name = next(records)
            assert name == f"list{number}/{path}"
            answers[-1].append(int(line) - 1 if line else None)
    assert next(records, None) is None
    return answers


def cases_outside_the_differences(source: random.Random, wanted: int) -> list[tuple[list[str], list[str]]]:
    """Lists of patterns with paths, so many pairs of a list that is not empty and a path in all."""
    lists: list[tuple[list[str], list[str]]] = []
    cases = 0
    while cases < wanted:
        drawn = [some_pattern(source) for _ in range(source.choice([1, 1, 2, 3, 5]))]
        group = [pattern for pattern in drawn if not outside_our_promise(pattern)]
        if not group:
            continue
        paths = [some_path(source) for _ in range(PATHS_PER_LIST // 2)]
        paths += [path_for(pattern, source) for pattern in group * (PATHS_PER_LIST // 2 // len(group))]
        paths = sorted(set(paths) - decidedly_different(group, paths))
        lists.append((group, paths))
        cases += len(paths)
    return lists


def test_agrees_with_the_installed_git(tmp_path: Path) -> None:
    """Outside the decided differences, a path is in a list exactly when git says so, 20,000 generated times."""
    lists = cases_outside_the_differences(random.Random(20_240), examples(CASES))
    both: list[bool] = []

    for (group, paths), winners in zip(lists, git_winners(tmp_path, lists), strict=True):
        ours = PatternSet([group])
        for path, winner in zip(paths, winners, strict=True):
            ignored = winner is not None and not group[winner].startswith("!")
            assert (ours.match(path).winner(0) is not None) == ignored, (group, path, winner)
            both.append(ignored)

    assert len(both) >= CASES
    assert 0.2 < sum(both) / len(both) < 0.8  # the cases tell a matcher from a constant


def test_the_winning_pattern_is_gits(tmp_path: Path) -> None:
    """Where no folder above is matched, the index of the winning pattern is the line that git names."""
    source = random.Random(7)
    names = [name for name in SEGMENTS if name.isascii()]
    lists = []
    for _ in range(100):
        drawn = [some_pattern(source).rstrip("/*") for _ in range(4)]
        group = [pattern for pattern in drawn if not outside_our_promise(pattern)]
        lists.append((group, [source.choice(names) for _ in range(10)]))
    positive = 0

    for (group, paths), winners in zip(lists, git_winners(tmp_path, lists), strict=True):
        ours = PatternSet([group])
        for path, winner in zip(paths, winners, strict=True):
            expected = None if winner is None or group[winner].startswith("!") else winner
            assert ours.match(path).winner(0) == expected, (group, path)
            positive += expected is not None

    assert positive > 50


# ------------------------------------------------------------------------------------------- the decided differences


def git_takes(root: Path, path: str, *group: str) -> bool:
    """Whether git's list holds a path."""
    winner = git_winners(root, [(list(group), [path])])[0][0]
    return winner is not None and not group[winner].startswith("!")


def we_take(path: str, *group: str) -> bool:
    """Whether our list holds a path."""
    return PatternSet([group]).match(path).winner(0) is not None


@pytest.mark.parametrize(
    ("path", "group", "ours"),
    [
        ("src/a.md", ("src", "!src/*.md"), False),  # `!` reaches below a folder that is taken
        ("src/a/b.md", ("src/", "!**/*.md"), False),
        ("a/b.txt", ("a/b.txt", "!a/"), False),  # and gives back all below the folder that it names
        ("é", ("?",), True),  # `?` and `[...]` are one character, not one byte
        ("é", ("[é]",), True),
        ("é", ("[!a]",), True),
        ("cafe\u0301", ("caf\u00e9",), True),  # names that are equal in NFC are one name
        ("a/b/x", ("a**/x",), False),  # a run of stars inside a name is one star, as git's manual says
    ],
)
def test_what_is_decided_otherwise_than_git(path: str, group: tuple[str, ...], ours: bool, tmp_path: Path) -> None:
    """Each decided difference is one: the installed git answers the opposite."""
    assert we_take(path, *group) is ours
    assert git_takes(tmp_path, path, *group) is not ours


@pytest.mark.parametrize(
    ("pattern", "path", "gits"),
    [
        ("[[:alpha:]]", "a", True),  # POSIX classes work in git; here a range says it
        ("a\\", "a\\", False),  # the rest never matches anything in git
        ("[a", "[a", False),
        ("[z-a]", "m", False),
        ("#a", "#a", False),
        ("./a", "a", False),
        ("a//b", "a/b", False),
        ("a/../b", "b", False),
    ],
)
def test_what_git_reads_and_we_refuse(pattern: str, path: str, gits: bool, tmp_path: Path) -> None:
    """What is an error here has no match in git either, POSIX classes apart."""
    assert check_pattern(pattern) is not None
    assert git_takes(tmp_path, path, pattern) is gits


def test_case_counts_whatever_git_is_told(tmp_path: Path) -> None:
    """Patterns are case-sensitive, as git is unless core.ignoreCase is set."""
    assert not we_take("readme.md", "README.md")
    assert not git_takes(tmp_path, "readme.md", "README.md")
