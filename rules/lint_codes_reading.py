"""Codes of what keeps a lab file from being read: JSON, keys, values, ids, conditions, patterns."""

from __future__ import annotations

from rules.labfile_models import MAX_BYTES, MAX_EXPRESSION, MAX_PATTERN, MAX_PATTERNS, MAX_STEP_PATTERNS, MAX_STEPS
from rules.labfile_problems import MAX_PROBLEMS, ProblemCode
from rules.lint_code import CodeEntry, lab_text, step_text
from rules.positions import MAX_DEPTH, MAX_NUMBER

_ONE = step_text("one")
_FINE = lab_text(_ONE)


def _long_list(step: int) -> str:
    return "[" + ", ".join(f'"{step}x{number}{"?" * 240}"' for number in range(20)) + "]"


READING = (
    CodeEntry(
        ProblemCode.TOO_LARGE,
        "The file is too large",
        f"A lab file has at most {MAX_BYTES:,} bytes. Long lists of files are said shorter by patterns: `src/**` is "
        "everything in `src`.",
        _FINE + " " * MAX_BYTES,
        _FINE,
    ),
    CodeEntry(
        ProblemCode.NOT_UTF8,
        "The file is not UTF-8",
        "A lab file is text in UTF-8. An editor that saved it otherwise can convert it.",
        lab_text(_ONE, title='"Schleife für Anfänger"'),
        lab_text(_ONE, title='"Schleife für Anfänger"'),
        encoding="latin-1",
    ),
    CodeEntry(
        ProblemCode.SYNTAX,
        "The file is not JSON",
        "A comma too many or missing, a comment, single quotes, a bracket that is not closed. The place is exact; what "
        "comes after it is only looked at when it is repaired.",
        _FINE.replace("\n  ]", ",\n  ]"),
        _FINE,
    ),
    CodeEntry(
        ProblemCode.DUPLICATE_KEY,
        "A key stands twice in one object",
        "Most programs silently take the last of two equal keys, so one of the two would have no effect.",
        _FINE.replace('"title": "Lab",', '"title": "Lab",\n  "title": "Another",'),
        _FINE,
    ),
    CodeEntry(
        ProblemCode.BOM,
        "The file starts with a byte order mark",
        'Some editors put three invisible bytes before the text. JSON has none: save as "UTF-8", not as "UTF-8 with '
        'BOM".',
        "\ufeff" + _FINE,
        _FINE,
    ),
    CodeEntry(
        ProblemCode.NUMBER,
        "A number cannot be read",
        f"JSON has no NaN and no Infinity, and here a number has at most {MAX_NUMBER} characters.",
        lab_text(step_text("one", files='["a.md"]', complete='{"type": "changed", "match": NaN}')),
        lab_text(step_text("one", files='["a.md"]', complete='{"type": "changed", "match": 1}')),
    ),
    CodeEntry(
        ProblemCode.DEPTH,
        "Brackets are nested too deep",
        f"At most {MAX_DEPTH} brackets may be open at once. Conditions inside conditions rarely need five.",
        lab_text("[" * MAX_DEPTH),
        _FINE,
    ),
    CodeEntry(
        ProblemCode.TEXT,
        "A text holds half a character",
        "A lone surrogate such as `\\ud83d`, or the character `\\u0000`: neither can be stored. Write the character "
        "itself.",
        lab_text(_ONE, title='"Bug \\ud83d"'),
        lab_text(_ONE, title='"Bug \\ud83d\\udc1b"'),
    ),
    CodeEntry(
        ProblemCode.UNKNOWN_KEY,
        "A key is not known",
        "Every key has a meaning; one that nobody reads is most likely a slip of the pen.",
        _FINE.replace('"files"', '"optinal": true, "files"'),
        _FINE.replace('"files"', '"optional": false, "files"'),
    ),
    CodeEntry(
        ProblemCode.MISSING_KEY,
        "A key is missing",
        "The file needs `version`, `title` and `steps`; a step `id` and `title`; a condition `type` and what belongs "
        "to its type.",
        lab_text('{"id": "one", "files": ["one.md"]}'),
        _FINE,
    ),
    CodeEntry(
        ProblemCode.WRONG_TYPE,
        "A value is of the wrong type",
        'Nothing is converted: `true` is not `"true"`, and one pattern is still a list.',
        lab_text(step_text("one", files='"one.md"')),
        _FINE,
    ),
    CodeEntry(
        ProblemCode.VALUE,
        "A value is none of those allowed",
        "Where a key takes one of a few words or a number, nothing else is accepted. The message lists them.",
        lab_text(_ONE, policy='{"rework": "deny"}'),
        lab_text(_ONE, policy='{"rework": "warn"}'),
    ),
    CodeEntry(
        ProblemCode.LIMIT,
        "A limit is passed",
        f"At most {MAX_STEPS} steps, {MAX_STEP_PATTERNS} patterns a step, {MAX_PATTERNS:,} patterns in all, "
        f"{MAX_PATTERN} characters a pattern, {MAX_EXPRESSION:,} an expression; texts and lists that are needed are "
        "not empty.",
        lab_text(step_text("one", title='" "', files='["one.md"]').replace('"title": "One", ', "")),
        _FINE,
    ),
    CodeEntry(
        ProblemCode.VERSION,
        "The file is of another version",
        "`version` says which version of this format the file is written in. There is one so far.",
        lab_text(_ONE, version="2"),
        _FINE,
    ),
    CodeEntry(
        ProblemCode.ID,
        "An id is not allowed",
        "Ids are the keys of stored progress: lower-case letters, digits and hyphens, at most 64 of them, no hyphen "
        "first.",
        lab_text(step_text("Fix It", files='["one.md"]')),
        lab_text(step_text("fix-it")),
    ),
    CodeEntry(
        ProblemCode.BRANCH,
        "The branch's name is not allowed",
        "`branch` is a name as git allows it, without `refs/heads/`.",
        lab_text(_ONE, branch='"refs/heads/main"'),
        lab_text(_ONE, branch='"main"'),
    ),
    CodeEntry(
        ProblemCode.DUPLICATE_ID,
        "An id is used twice",
        "Ids and old ids (`aliases`) of all steps are one set of names, because progress is stored under them.",
        lab_text(_ONE, step_text("one", files='["two.md"]')),
        lab_text(_ONE, step_text("two")),
    ),
    CodeEntry(
        ProblemCode.UNKNOWN_NEED,
        "A needed step does not exist",
        "`needs` lists ids of steps of this file.",
        lab_text(_ONE, step_text("two", needs='["ones"]', files='["two.md"]')),
        lab_text(_ONE, step_text("two", needs='["one"]', files='["two.md"]')),
    ),
    CodeEntry(
        ProblemCode.CYCLE,
        "Steps wait for each other",
        "Following `needs` from a step must never lead back to it: none of these steps could ever be opened. A step "
        "without `needs` needs the nearest earlier step that is not optional.",
        lab_text(step_text("one", needs='["two"]', files='["one.md"]'), step_text("two")),
        lab_text(step_text("one", needs="[]", files='["one.md"]'), step_text("two")),
    ),
    CodeEntry(
        ProblemCode.REPEATED_NEED,
        "A step is needed twice",
        "The same id stands twice in `needs`; most likely another one was meant.",
        lab_text(_ONE, step_text("two", needs='["one", "one"]', files='["two.md"]')),
        lab_text(_ONE, step_text("two", needs='["one"]', files='["two.md"]')),
    ),
    CodeEntry(
        ProblemCode.NO_FILES,
        "A step has no files and yet wants a change",
        'The condition `changed`, which is also the default, looks at the files of the step. Without `"files"` it can '
        "never hold.",
        lab_text('{"id": "one", "title": "One"}'),
        _FINE,
    ),
    CodeEntry(
        ProblemCode.ALL_OPTIONAL,
        "Every step is optional",
        "A lab is finished when every step that is not optional is done; this one would be finished before it starts.",
        lab_text(step_text("one", files='["one.md"]', optional="true")),
        _FINE,
    ),
    CodeEntry(
        ProblemCode.CONDITION_TYPE,
        "A type of condition is not known",
        "The message lists the types that this version of Stepgate knows.",
        lab_text(step_text("one", complete='{"type": "exist", "paths": ["one.md"]}', files='["one.md"]')),
        lab_text(step_text("one", complete='{"type": "exists", "paths": ["one.md"]}', files='["one.md"]')),
    ),
    CodeEntry(
        ProblemCode.NOT_OVER_FACTS,
        "`not` stands over something that files do not decide",
        "A workflow run, a check or an approval that is not there yet is no proof that it never comes. `not` can stand "
        "over conditions on files only.",
        lab_text(step_text("one", complete='{"type": "not", "of": {"type": "approval"}}')),
        lab_text(step_text("one", complete='{"type": "not", "of": {"type": "exists", "paths": ["old.md"]}}')),
    ),
    CodeEntry(
        ProblemCode.CHECK_APP,
        "A check of GitHub Actions is no proof",
        "Whoever can push can run a workflow that posts a check of any name. To ask for a workflow, use a `workflow` "
        "condition: it names the file, which is then protected.",
        lab_text(step_text("one", complete='{"type": "check", "name": "test", "app_id": 15368}')),
        lab_text(step_text("one", complete='{"type": "workflow", "path": ".github/workflows/test.yml"}')),
    ),
    CodeEntry(
        ProblemCode.WORKFLOW_PATH,
        "A workflow is not named by its file",
        "GitHub runs workflows from `.github/workflows/` alone, in files that end in `.yml` or `.yaml`.",
        lab_text(step_text("one", complete='{"type": "workflow", "path": "test.yml"}')),
        lab_text(step_text("one", complete='{"type": "workflow", "path": ".github/workflows/test.yml"}')),
    ),
    CodeEntry(
        ProblemCode.PATTERN,
        "A pattern cannot be used",
        "Patterns are those of `.gitignore`. What git reads but never matches, or matches by surprise, is an error "
        "here: an open bracket, a backslash at the end, `[:alpha:]`, `./` and `../`, a leading `#`, `a//b`.",
        lab_text(step_text("one", files='["./one.md"]')),
        lab_text(step_text("one", files='["/one.md"]')),
    ),
    CodeEntry(
        ProblemCode.ONLY_NEGATED,
        "A list only gives back",
        "Patterns with `!` take back what earlier patterns of the list took. A list of nothing else takes nothing.",
        lab_text(step_text("one", files='["!two.md"]')),
        lab_text(step_text("one", files='["*.md", "!two.md"]')),
    ),
    CodeEntry(
        ProblemCode.EXPRESSION,
        "A regular expression cannot be used",
        "Expressions are those of RE2, which is safe on any text. It has no look-around and no back-references.",
        lab_text(step_text("one", complete='{"type": "contains", "path": "one.md", "pattern": "(?=done)"}')),
        lab_text(step_text("one", complete='{"type": "contains", "path": "one.md", "pattern": "done"}')),
    ),
    CodeEntry(
        ProblemCode.PATTERNS_TOO_LARGE,
        "All patterns together are too large",
        "All patterns of a lab are matched at once, in a bounded amount of memory. Many long patterns full of "
        "wildcards pass it.",
        lab_text(*(step_text(f"s{step}", files=_long_list(step)) for step in range(30))),
        _FINE,
    ),
    CodeEntry(
        ProblemCode.MORE,
        "There are more problems",
        f"At most {MAX_PROBLEMS} problems of a file are listed. Repair these first.",
        lab_text(_ONE, **{f"key{number}": "1" for number in range(MAX_PROBLEMS + 1)}),
        _FINE,
    ),
)
