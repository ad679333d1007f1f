"""Codes of what a lab file that can be read means: patterns without effect, steps that cannot or need not be done."""

from __future__ import annotations

from rules.labfile_problems import ProblemCode
from rules.lint_code import CodeEntry, lab_text, step_text

_ONE = step_text("one", files='["one.md"]', complete='{"type": "changed"}')
_TESTED = '{"type": "contains", "path": "src/timer.js", "pattern": "useRef"}'
_CHANGED_TOO = f'{{"type": "all", "of": [{{"type": "changed"}}, {_TESTED}]}}'

MEANING = (
    CodeEntry(
        ProblemCode.NEGATED_FIRST,
        "A `!` pattern gives back nothing",
        "The last match wins. A pattern with `!` takes back what patterns before it took; this one has none before it.",
        lab_text(step_text("one", files='["!src/generated/**", "src/**"]')),
        lab_text(step_text("one", files='["src/**", "!src/generated/**"]')),
    ),
    CodeEntry(
        ProblemCode.OVERRULED,
        "Later patterns give back all that a pattern takes",
        "The last match wins, so a narrow pattern before a wider `!` pattern has no effect.",
        lab_text(step_text("one", files='["src/**", "README.md", "!**/*.md"]')),
        lab_text(step_text("one", files='["src/**", "!**/*.md", "README.md"]')),
    ),
    CodeEntry(
        ProblemCode.REPEATED_PATTERN,
        "A pattern stands twice in a list",
        "The last match wins, so the earlier of two equal patterns has no effect.",
        lab_text(step_text("one", files='["one.md", "two.md", "one.md"]')),
        lab_text(step_text("one", files='["one.md", "two.md"]')),
    ),
    CodeEntry(
        ProblemCode.NEVER_COMPLETES,
        "No work can complete a step",
        "Its condition asks for something that learners cannot do: all files that could count are protected or given "
        "back, the path that it names is protected, blocked, or owned only by steps that wait for this one, or the "
        "workflow is not in the template.",
        lab_text(
            step_text("one", complete='{"type": "exists", "paths": ["two.md"]}', files='["one.md"]'), step_text("two")
        ),
        lab_text(
            step_text("one", complete='{"type": "exists", "paths": ["one.md"]}', files='["one.md"]'), step_text("two")
        ),
    ),
    CodeEntry(
        ProblemCode.PROTECTED_TAKES,
        "`protected` swallows files of a step",
        "Protected files come before steps: only the template changes them, and they never count. The step has other "
        "files, so it can be completed, but not with these.",
        lab_text(step_text("one", files='["src/**", "tests/one.js"]'), protected='["tests/**"]'),
        lab_text(step_text("one", files='["src/**", "tests/one.js"]'), protected='["tests/**", "!tests/one.js"]'),
    ),
    CodeEntry(
        ProblemCode.SHARED_TAKES,
        "`shared` swallows files of a step",
        "Shared files may change at any time and never count. The step has other files, so it can be completed, but "
        "not with these.",
        lab_text(step_text("one", files='["src/**", "notes/one.md"]'), shared='["notes/"]'),
        lab_text(step_text("one", files='["src/**", "notes/one.md"]'), shared='["notes/*", "!notes/one.md"]'),
    ),
    CodeEntry(
        ProblemCode.ONE_EDIT,
        "One edit completes two steps",
        "Both steps ask for nothing but a change, and share files: the first edit of such a file completes both, and "
        "learners never see the second step. Give it a condition of its own.",
        lab_text(step_text("one", files='["src/**"]'), step_text("two", files='["src/timer.js"]')),
        lab_text(step_text("one", files='["src/**"]'), step_text("two", files='["src/timer.js"]', complete=_TESTED)),
    ),
    CodeEntry(
        ProblemCode.REWORK_BLOCKS,
        "Rework is blocked",
        "Normal work touches files of finished steps again: a rename, a clean-up, a fix. With this policy each such "
        'push is red, and learners do not know why. `"warn"` says it without blocking.',
        lab_text(_ONE, policy='{"rework": "block"}'),
        lab_text(_ONE, policy='{"rework": "warn"}'),
    ),
    CodeEntry(
        ProblemCode.DEAD_PATTERN,
        "A pattern matches nothing in the template",
        "Often a folder was renamed or a name misspelled. If learners are to create such files, say so with an "
        "`exists` or `contains` condition, and the warning is gone.",
        lab_text(step_text("one", files='["src/hook/**"]')),
        lab_text(step_text("one", files='["src/hooks/**"]')),
        template={"src/hooks/timer.js": "let a = 1;\n"},
    ),
    CodeEntry(
        ProblemCode.CASE_ONLY,
        "A name differs from the template's in case only",
        "Upper and lower case count, on GitHub as in git. Two names that differ in nothing else are most likely meant "
        "to be one.",
        lab_text(step_text("one", files='["Src/**"]')),
        lab_text(step_text("one", files='["src/**"]')),
        template={"src/timer.js": "let a = 1;\n"},
    ),
    CodeEntry(
        ProblemCode.NOTHING_CREATES,
        "A condition names a file that nobody is asked to create",
        "The template has no such file, and no step has it among its files. Most likely the name is misspelled here or "
        "in `files`.",
        lab_text(step_text("one", files='["src/**"]', complete='{"type": "exists", "paths": ["ANSWER.md"]}')),
        lab_text(step_text("one", files='["ANSWER.md"]', complete='{"type": "exists", "paths": ["ANSWER.md"]}')),
        template={"src/timer.js": "let a = 1;\n"},
    ),
    CodeEntry(
        ProblemCode.ALREADY_HOLDS,
        "The untouched template satisfies a condition",
        "The first push would complete the step, whatever it holds. Ask for something that is not there yet, or for "
        "`changed` as well.",
        lab_text(step_text("one", files='["src/**"]', complete=_TESTED)),
        lab_text(step_text("one", files='["src/**"]', complete=_CHANGED_TOO)),
        template={"src/timer.js": "let a = useRef(1);\n"},
    ),
    CodeEntry(
        ProblemCode.NOT_READ,
        "A condition names more files than are read",
        "`contains` and `lacks` read the first 20 files that a pattern names, each of at most 1 MiB. While one of them "
        "is not read, the condition may stay undecided, and does not hold.",
        lab_text(
            step_text("one", files='["data/**"]', complete='{"type": "lacks", "path": "data/**", "pattern": "TODO"}')
        ),
        lab_text(
            step_text("one", files='["data/**"]', complete='{"type": "lacks", "path": "data/1.txt", "pattern": "TODO"}')
        ),
        template={f"data/{number}.txt": "TODO\n" for number in range(21)},
    ),
)
