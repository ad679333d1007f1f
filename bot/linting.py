"""The steps file at a head of a template: read through the API, and looked at with the template's own files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from bot.budget import OverBudgetError, in_a_thread
from github.client import InstallationClient
from github.errors import IncompleteTree
from github.trees import Trees
from rules.effort import Tick
from rules.evidence import is_small
from rules.labfile import parse_lab
from rules.labfile_problems import ProblemCode
from rules.lint import LintResult, TemplateFile, lint, needed_contents
from rules.model import Problem
from rules.patterns import PatternError

LAB_FILE = ".forgea/steps.json"

# A template is read for one lint and not kept: bytes of trees and blobs in memory meanwhile.
_CACHE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """What stands at the head of a branch. `result` None: there is no steps file."""

    branch: str
    head_sha: str
    result: LintResult | None


async def read_branch(client: InstallationClient, full_name: str, branch: str) -> Reading | None:
    """The steps file at the head of a branch, and all that is wrong with it; None: there is no such branch.

    Raises GitHubError.
    """
    head = await client.branch_head(full_name, branch)
    if head is None:
        return None
    data = await client.file(full_name, LAB_FILE, head)
    return Reading(branch, head, None if data is None else await _lint(client, full_name, head, data))


async def _lint(client: InstallationClient, full_name: str, head: str, data: bytes) -> LintResult:
    """Within the budget of a judgement. A file that can be read is not refused because looking closer takes too long:
    that depends on our machine; its author is warned that judging may take too long as well.
    """
    template, contents = await _template(client, full_name, head, data)
    try:
        return await in_a_thread(partial(_linted, data, template, contents))
    except PatternError as error:
        problem = Problem(ProblemCode.PATTERNS_TOO_LARGE, f"{error}".rstrip(".") + ".", "Use fewer wildcards.")
        return LintResult(None, (problem,), None)
    except OverBudgetError as error:
        read = parse_lab(data)
        words = f"Not everything of this file could be checked, and pushes may take too long to judge: {error}"
        problem = Problem(ProblemCode.NOT_READ, words.rstrip(".") + ".", "Use fewer wildcards.", severity="warning")
        return LintResult(read.lab, (*read.problems, problem), None)


def _linted(
    data: bytes,
    template: tuple[TemplateFile, ...] | None,
    contents: Mapping[str, bytes],
    tick: Tick,
) -> LintResult:
    return lint(data, template=template, contents=contents, tick=tick)


async def _template(
    client: InstallationClient, full_name: str, head: str, data: bytes
) -> tuple[tuple[TemplateFile, ...] | None, Mapping[str, bytes]]:
    """The template's files, and the contents that conditions read; None when GitHub does not list all of them.

    A file that cannot be read as a lab needs none.
    """
    lab = parse_lab(data).lab
    if lab is None:
        return None, {}
    trees = Trees(_CACHE_BYTES)
    try:
        tree = (await trees.files(client, full_name, head)).tree
        files = tuple(TemplateFile(entry.path, entry.mode, entry.sha) for entry in tree.values())
        wanted = await in_a_thread(lambda _tick: needed_contents(lab, files))
        paths = [path for path in wanted if is_small(tree[path].size)]
        blobs = await trees.blobs(client, full_name, {tree[path].sha for path in paths})
    except (IncompleteTree, PatternError, OverBudgetError):
        return None, {}
    return files, {path: blobs[tree[path].sha] for path in paths}
