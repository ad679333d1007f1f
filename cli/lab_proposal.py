"""A first steps file for a repository: what `lab init` makes of its names and headings. No files are touched here.

What is looked for, in this order: numbered things (`exercises/01_intro/`, `step-2.md`, `chapter3/`), then the folders
and files of a source folder, then files of code. Nothing found gives a skeleton of one step.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from rules.escape import plain
from rules.patterns import PatternSet, with_roots

Read = Callable[[str], str]  # a file's beginning as text; empty if there is none

MAX_STEPS = 100  # as a lab file may have
_MAX_TITLE = 200
_MAX_PATTERN = 256
_MAX_FILES = 8  # patterns of one step
_WHOLE_FILES = 12  # so many files of a source folder become a step each; of more, each folder

_TEST_FOLDERS = frozenset({"test", "tests", "__tests__", "spec", "specs", "e2e", "cypress", "testing"})
_TEST_FILES: Mapping[str, re.Pattern[str]] = {
    "*.test.*": re.compile(r".+\.test\..+"),
    "*.spec.*": re.compile(r".+\.spec\..+"),
    "test_*.py": re.compile(r"test_.*\.py"),
    "*_test.*": re.compile(r".+_test\..+"),
    "*Test.java": re.compile(r".+Test\.java"),
}
_SHARED_FILES = re.compile(
    r"(readme|licen[cs]e|copying|contributing|code_of_conduct|security|notes)(\..*)?", re.IGNORECASE
)
_SHARED_FOLDERS = frozenset({"docs", "doc", "notes"})
_SOURCE_FOLDERS = frozenset({"src", "source", "lib", "app", "cmd", "pkg", "packages", "internal", "include"})
_CODE = re.compile(
    r".+\.(py|ipynb|js|jsx|mjs|cjs|ts|tsx|java|kt|go|rs|c|cc|cpp|h|hpp|cs|rb|php|swift|scala|sh|sql|html|css|vue|svelte"
    r"|r|R|jl|ex|exs|hs|ml|clj|lua|dart|m|pl|zig|elm)"
)
_TEXT = re.compile(r".+\.(md|markdown|rst|adoc|txt|html?)", re.IGNORECASE)
_NOT_CODE = re.compile(r"(setup|conftest|noxfile|conf)\.py|.+\.config\.[cm]?[jt]s|.+\.d\.ts|\..*")
# Folders whose numbers count something else than steps.
_NO_STEPS = frozenset(
    {"assets", "build", "data", "dist", "fixtures", "images", "img", "migrations", "node_modules", "public", "static"}
)
# "01-intro", "1.md", "step-2", "Chapter 03 Loops", "ex4.py": a number, with or without a word of these before it.
_NUMBERED = re.compile(
    r"(?:(?P<word>steps?|chapters?|ch|exercises?|ex|lessons?|parts?|tasks?|days?|weeks?|labs?|modules?|units?|stages?)"
    r"[-_. ]?)?"
    r"0*(?P<number>\d{1,4})(?P<rest>(?:[-_. ].*|[a-zA-Z].*)?)",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^ {0,3}#{1,2}[ \t]+(?P<text>.*?)[ \t#]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A steps file, and what its author should look at, as sentences. `basis`: what the steps were made of."""

    document: dict[str, Any]
    basis: str
    advice: tuple[str, ...]


@dataclass(slots=True)
class _Part:
    """A step to be: its patterns, a name to make an id and title of, and where a heading may stand."""

    name: str
    files: list[str] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)


def propose(paths: Iterable[str], read: Read, fallback_title: str) -> Proposal:
    """The proposal for a repository with these files. `read` is asked for the beginnings of Markdown files."""
    files = sorted(path for path in paths if not path.startswith(".forgea/"))
    protected, shared = _protected(files), _shared(files)
    taken = PatternSet([with_roots(protected), shared])
    parts, basis = _parts([path for path in files if not taken.match(path).groups])
    advice: list[str] = []
    if len(parts) > MAX_STEPS:
        advice.append(f"There was enough for {len(parts)} steps; a lab may have {MAX_STEPS}, so the rest was left out.")
    document: dict[str, Any] = {
        "version": 1,
        "title": _heading(["README.md", "readme.md"], read) or _title(fallback_title) or "A lab",
        "protected": protected,
        "shared": shared,
        "steps": _steps(parts[:MAX_STEPS], read) or [_first_step(files)],
    }
    if parts:
        advice.append("Steps: are these the steps of your lab, in this order? Merge, split and rename them.")
        advice.append('Conditions: each step is complete as soon as one of its files changes; see "complete".')
    else:
        advice.append("Steps: nothing in the repository looks like a step, so there is one to begin with: replace it.")
    if not protected:
        advice.append('Tests: none were found. Name what learners must not change in "protected".')
    return Proposal(document, basis, tuple(advice))


# ------------------------------------------------------------------------------------- what steps do not consist of


def _protected(files: Sequence[str]) -> list[str]:
    """Patterns for tests and workflows."""
    patterns: dict[str, None] = {}
    for path in files:
        *folders, file = path.split("/")
        at = next((at for at, folder in enumerate(folders) if folder.lower() in _TEST_FOLDERS), None)
        if folders[:1] == [".github"]:
            patterns[".github/**"] = None
        elif at is not None:
            patterns[f"**/{folders[at]}/**" if at else f"{folders[0]}/**"] = None
        elif (pattern := _test_pattern(file)) is not None:
            patterns[pattern] = None
    return list(patterns)


def _test_pattern(file: str) -> str | None:
    return next((pattern for pattern, known in _TEST_FILES.items() if known.fullmatch(file)), None)


def _shared(files: Sequence[str]) -> list[str]:
    """Patterns for what may change at any time."""
    patterns: dict[str, None] = {}
    for path in files:
        first, slash, _ = path.partition("/")
        if slash and first.lower() in _SHARED_FOLDERS:
            patterns[f"/{first}/"] = None
        elif not slash and _SHARED_FILES.fullmatch(first):
            patterns[_pattern(first)] = None
    return list(patterns)


# ---------------------------------------------------------------------------------------------------------- steps


def _parts(files: Sequence[str]) -> tuple[list[_Part], str]:
    """The steps that the names suggest, and what they were made of."""
    for find in (_numbered, _of_sources, _of_code):
        parts, basis = find(files)
        if parts:
            return parts, basis
    return [], "nothing that looks like a step"


def _children(files: Sequence[str]) -> dict[str, dict[str, bool]]:
    """Of each folder ("" or "a/b/") what stands in it: name -> whether it is a folder."""
    found: defaultdict[str, dict[str, bool]] = defaultdict(dict)
    for path in files:
        folder = ""
        *folders, file = path.split("/")
        for name in folders:
            found[folder][name] = True
            folder += name + "/"
        found[folder].setdefault(file, False)
    return found


def _numbered(files: Sequence[str]) -> tuple[list[_Part], str]:
    """Folders and files of one folder that are numbered: the highest folder with three, then the one with most."""
    best: tuple[tuple[bool, int, int], str, dict[int, _Part]] | None = None
    for folder, names in _children(files).items():
        if any(name.startswith(".") or name.lower() in _NO_STEPS for name in folder.split("/")[:-1]):
            continue
        parts: dict[int, _Part] = {}
        for name, is_folder in sorted(names.items()):
            if not is_folder and not _TEXT.fullmatch(name) and not _is_code(name):
                continue
            stem = name if is_folder else _stem(name)
            known = _NUMBERED.fullmatch(stem)
            if known is None or (known["word"] is None and known["rest"][:1].isalpha()):
                continue
            part = parts.setdefault(int(known["number"]), _Part(known["rest"].strip("-_. ") or stem))
            part.files.append(_pattern(folder + name, is_folder=is_folder))
            part.headings += [f"{folder}{name}/README.md"] if is_folder else [folder + name]
        rank = (len(parts) > 2, -folder.count("/"), len(parts))
        if len(parts) > 1 and (best is None or rank > best[0]):
            best = rank, folder, parts
    if best is None:
        return [], ""
    _, folder, found = best
    return [found[number] for number in sorted(found)], f"the numbered names in {folder or 'the top folder'}"


def _of_sources(files: Sequence[str]) -> tuple[list[_Part], str]:
    """The files of a source folder; if they are many, its folders and the files beside them."""
    children = _children(files)
    for folder, is_folder in sorted(children.get("", {}).items()):
        if not is_folder or folder not in _SOURCE_FOLDERS:
            continue
        below = [path for path in files if path.startswith(f"{folder}/") and _is_code(path)]
        if below:
            return _grouped(below, f"{folder}/"), f"the files of {folder}/"
    return [], ""


def _of_code(files: Sequence[str]) -> tuple[list[_Part], str]:
    """All files of code; if they are many, the folders at the top."""
    code = [path for path in files if _is_code(path)]
    return (_grouped(code, ""), "the files of code") if code else ([], "")


def _grouped(files: Sequence[str], folder: str) -> list[_Part]:
    if len(files) <= _WHOLE_FILES:
        return [_Part(_stem(path), [_pattern(path)], [path]) for path in files]
    parts: dict[str, _Part] = {}
    for path in files:
        name, slash, _ = path.removeprefix(folder).partition("/")
        whole = f"{folder}{name}"
        if whole not in parts:
            headings = [f"{whole}/README.md"] if slash else []
            parts[whole] = _Part(_stem(whole), [_pattern(whole, is_folder=bool(slash))], headings)
    return list(parts.values())


def _is_code(path: str) -> bool:
    name = path.rpartition("/")[2]
    return bool(_CODE.fullmatch(name)) and not _NOT_CODE.fullmatch(name) and not path.startswith(".")


def _first_step(files: Sequence[str]) -> dict[str, Any]:
    """A step for a repository that shows none: a file that is not there yet."""
    taken = set(files)
    name = next(name for name in islice(_answer_names(), len(taken) + 1) if name not in taken)
    return {
        "id": "first",
        "title": "The first step",
        "description": f"Say what is to be done: for example, write {name}.",
        "files": [f"/{name}"],
        "complete": {"type": "exists", "paths": [name]},
    }


def _answer_names() -> Iterable[str]:
    yield "ANSWER.md"
    number = 2
    while True:
        yield f"ANSWER{number}.md"
        number += 1


def _steps(parts: Sequence[_Part], read: Read) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    ids: set[str] = set()
    for number, part in enumerate(parts, 1):
        step_id = _id(part.name)
        if not step_id or step_id in ids:
            step_id = next(new for n in range(number, number + len(parts) + 1) if (new := f"step-{n}") not in ids)
        ids.add(step_id)
        markdown = [path for path in part.headings if path.lower().endswith(".md")]
        title = _heading(markdown, read) or _title(part.name) or f"Step {number}"
        steps.append({"id": step_id, "title": title, "files": part.files[:_MAX_FILES]})
    return steps


# ---------------------------------------------------------------------------------------------------------- words


def _pattern(path: str, *, is_folder: bool = False) -> str:
    """The pattern for exactly this file, or for all below this folder, from the root of the repository."""
    escaped = [_in_pattern(char) for char in path]
    ending = "/**" if is_folder else ""
    if path.endswith(" ") and not ending:
        escaped[-1] = "\\ "
    if ("/" not in path and not ending) or path[0] in "!#":
        escaped.insert(0, "/")
    if len("".join(escaped)) + len(ending) > _MAX_PATTERN:
        return _beginning(escaped)
    return "".join(escaped) + ending


def _beginning(escaped: Sequence[str]) -> str:
    """The pattern for all paths that begin like one that is too long to be named."""
    kept: list[str] = []
    room = _MAX_PATTERN - len("/**")
    for piece in escaped:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    if "/" in kept[1:]:
        return "".join(kept[: len(kept) - kept[::-1].index("/")]) + "**"
    return "".join(kept) + "*"


def _in_pattern(char: str) -> str:
    """A character as itself. Line breaks and bytes that are no UTF-8 cannot be written: any character stands for it."""
    if char in "\r\n" or "\ud800" <= char <= "\udfff":
        return "?"
    return "\\" + char if char in "*?[\\" else char


def _stem(path: str) -> str:
    name = path.rpartition("/")[2]
    return name.partition(".")[0] or name


def _id(text: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return slug[:64].strip("-")


def _title(text: str) -> str:
    """A name as a title: "use_timer" becomes "Use timer"."""
    said = plain(re.sub(r"[-_.\s]+", " ", text))[:_MAX_TITLE].strip()
    return said[:1].upper() + said[1:]


def _heading(paths: Iterable[str], read: Read) -> str:
    """The first heading of the first of these files that has one."""
    for path in paths:
        found = _HEADING.search(read(path))
        if found is not None and (text := plain(found["text"])[:_MAX_TITLE].strip()):
            return text
    return ""
