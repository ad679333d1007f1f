"""When a step is complete: each condition over small trees, and which contents it asks for."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from rules.conditions import holds, may_reopen, missing_facts, needed, needed_for, tree_holds
from rules.evidence import MAX_BYTES, MAX_FILES, Evidence, MissingBlob, View
from rules.mapping import PathMap
from rules.model import (
    Absent,
    AllOf,
    AnyOf,
    Approval,
    Changed,
    Check,
    Condition,
    Contains,
    Exists,
    Facts,
    Lab,
    Lacks,
    Not,
    Nothing,
    Policy,
    Progress,
    Tree,
    Workflow,
)
from rules.patterns import PatternError
from rules.template import Template
from tests.support.labs import (
    Files,
    Special,
    blob_sha,
    blobs,
    executable,
    lab,
    large,
    link,
    sha,
    snapshot,
    step,
    submodule,
    tree,
)

APPROVED = Facts(approved=frozenset({"s"}))


class Case:
    """One step `s` with a condition, a template, and the tree of a commit `head`."""

    def __init__(
        self,
        complete: Condition,
        head: Files,
        *,
        files: Collection[str] = ("*",),
        template: Files | None = None,
        later: Collection[Files] = (),
        facts: Facts | None = None,
        shared: Collection[str] = (),
        protected: Collection[str] = (),
        back: dict[str, Files] | None = None,
    ) -> None:
        self.lab = lab(step("s", *files, complete=complete), shared=shared, protected=protected)
        put_back = {path: tree(origin) for path, origin in (back or {}).items()}
        pinned, at_head = tree(template or {}), tree(head)
        versions = [tree(version) for version in later]
        trees: list[Tree] = [at_head, *put_back.values()]
        paths = PathMap(self.lab, [pinned, *versions, *trees])
        self.step = self.lab.steps[0]
        self.view = View(at_head, sha("head"), put_back)
        self.evidence = Evidence(
            self.lab,
            paths,
            Template(pinned, tuple(versions), paths),
            trees=trees,
            facts=facts or Facts(),
            blobs=blobs(head, *(back or {}).values()),
        )

    @property
    def holds(self) -> bool:
        """Whether the condition holds with the facts."""
        return holds(self.step, self.view, self.evidence)

    @property
    def tree_holds(self) -> bool:
        """Whether the tree has all that is wanted of it."""
        return tree_holds(self.step, self.view, self.evidence)

    @property
    def waits_for(self) -> tuple[str, ...]:
        """What the step waits for."""
        return missing_facts(self.step, self.view, self.evidence)


# ------------------------------------------------------------------------------------------------------ changed


@pytest.mark.parametrize(
    ("template", "head", "expected"),
    [
        ({}, {"a.txt": "1"}, True),
        ({"a.txt": "1"}, {"a.txt": "2"}, True),
        ({"a.txt": "1"}, {"a.txt": "1"}, False),
        ({"a.txt": "1"}, {}, False),
        ({"a.txt": "1"}, {"a.txt": executable("1")}, False),
        ({"a.txt": "1"}, {"a.txt": executable("2")}, True),
        ({"a.txt": "1"}, {"a.txt": link("1")}, True),
        ({}, {"a.txt": link("x")}, True),
        ({}, {"a.txt": submodule("x")}, True),
        ({}, {"b.md": "1"}, False),
        ({}, {"a.txt": ""}, True),
    ],
    ids=["new", "edited", "untouched", "deleted", "chmod", "chmod+edit", "type", "link", "submodule", "other", "empty"],
)
def test_changed_counts_content_that_is_there(template: Files, head: Files, expected: bool) -> None:
    """A path of the step that is new or has another content counts; a deletion or a mode change is no work."""
    assert Case(Changed(), head, files=["*.txt"], template=template).holds is expected


def test_changed_looks_at_the_steps_paths_only() -> None:
    """What the step's own patterns give back does not count."""
    assert not Case(Changed(), {"a.md": "1"}, files=["*", "!*.md"]).holds


def test_changed_never_counts_template_work_shared_or_protected_paths() -> None:
    """Content of a later template commit, a shared file and a protected file are not the step's work."""
    assert not Case(Changed(), {"a": "2"}, template={"a": "1"}, later=[{"a": "2"}]).holds
    assert Case(Changed(), {"a": "3"}, template={"a": "1"}, later=[{"a": "2"}]).holds
    assert not Case(Changed(), {"a": "2"}, shared=["a"]).holds
    assert not Case(Changed(), {"a": "2"}, protected=["a"]).holds


@pytest.mark.parametrize(("number", "expected"), [(1, True), (2, True), (3, False)])
def test_changed_with_a_number_wants_so_many_paths(number: int, expected: bool) -> None:
    """`match: 2` is complete with two changed paths and not with one."""
    assert Case(Changed(number), {"a": "1", "b": "1", "c": "0"}, template={"c": "0"}).holds is expected


@pytest.mark.parametrize(
    ("files", "head", "expected"),
    [
        (["src/**", "docs/*.md"], {"src/a": "1", "docs/a.md": "1"}, True),
        (["src/**", "docs/*.md"], {"src/a": "1", "src/b": "1"}, False),
        (["src/a", "src/**"], {"src/a": "1"}, True),
        (["src/**", "!src/b", "docs/**"], {"src/b": "1", "docs/a": "1"}, False),
        (["src/**", "!src/b", "docs/**"], {"src/a": "1", "docs/a": "1"}, True),
        (["src/**"], {}, False),
    ],
    ids=["both", "one twice", "one path for two patterns", "given back", "give-back is no pattern", "none"],
)
def test_changed_all_wants_a_path_for_each_pattern(files: list[str], head: Files, expected: bool) -> None:
    """Every pattern that takes paths needs a changed one; one path may serve several patterns."""
    assert Case(Changed("all"), head, files=files).holds is expected


# -------------------------------------------------------------------------------------------------- exists, absent


@pytest.mark.parametrize(
    ("path", "head", "expected"),
    [
        ("A.md", {"A.md": "1"}, True),
        ("/A.md", {"A.md": "1"}, True),
        ("A.md", {"docs/A.md": "1"}, False),
        ("A.md", {"a.md": "1"}, False),
        ("docs", {"docs/a": "1"}, True),
        ("docs/", {"docs/a": "1"}, True),
        ("docs/", {"docs": "1"}, False),
        ("docs", {"docs": "1"}, True),
        ("docs", {"docs.md": "1", "docs-old/a": "1", "docs0": "1"}, False),
        ("*.md", {"docs/A.md": "1"}, True),
        ("docs/*.md", {"a/docs/A.md": "1"}, False),
        ("caf\u00e9", {"cafe\u0301": "1"}, True),
        ("a\\*b", {"a*b": "1"}, True),
        ("x", {"x": link("nowhere")}, True),
        ("x", {"x": submodule("1")}, True),
    ],
)
def test_a_condition_names_a_path_from_the_root_a_folder_or_a_pattern(path: str, head: Files, expected: bool) -> None:
    """Without a wildcard it is that path (or what lies below it), with one a pattern; `absent` is the opposite."""
    assert Case(Exists((path,)), head).holds is expected
    assert Case(Absent((path,)), head).holds is not expected


def test_exists_wants_each_path_and_absent_none() -> None:
    """Several paths: `exists` wants all of them, `absent` not a single one."""
    assert not Case(Exists(("a", "b")), {"a": "1"}).holds
    assert Case(Exists(("a", "b")), {"a": "1", "b": "1"}).holds
    assert not Case(Absent(("a", "b")), {"a": "1"}).holds
    assert Case(Absent(("a", "b")), {"c": "1"}).holds


# --------------------------------------------------------------------------------------------------- contains, lacks


@pytest.mark.parametrize(
    ("text", "expression", "expected"),
    [
        ("first\nsecond\n", "^second$", True),
        ("first\r\nsecond\r\n", "^first$", True),
        ("first\r\nsecond", r"first\nsecond", True),
        ("\ufeffimport x", "^import", True),
        ("a\nb", "a.b", False),
        ("one two", "two|three", True),
        ("Grüße", "^Gr..e$", True),
        (b"caf\xe9 \x00 end", r"caf\x{fffd} \x00 end", True),
        ("", "^$", True),
        ("text", "TEXT", False),
    ],
)
def test_contains_searches_text_line_by_line(text: str | bytes, expression: str, expected: bool) -> None:
    """`(?m)` is on, CRLF reads as LF, a byte order mark is nothing, what is no UTF-8 reads as U+FFFD."""
    assert Case(Contains("a", expression), {"a": text}).holds is expected
    assert Case(Lacks("a", expression), {"a": text}).holds is not expected


def test_contains_is_any_and_lacks_is_all_of_a_patterns_files() -> None:
    """One file with the text is enough for `contains`, and too much for `lacks`."""
    files: Files = {"a.py": "print(1)", "b.py": "pass"}

    assert Case(Contains("*.py", "print"), files).holds
    assert not Case(Lacks("*.py", "print"), files).holds
    assert Case(Lacks("*.py", "input"), files).holds


@pytest.mark.parametrize("head", [{}, {"a": link("print")}, {"a": submodule("print")}], ids=["none", "link", "module"])
def test_contains_and_lacks_want_a_regular_file(head: Files) -> None:
    """Nothing, a link or a submodule at the path satisfies neither."""
    assert not Case(Contains("a", "."), head).holds
    assert not Case(Lacks("a", "print"), head).holds


def test_a_file_that_is_too_large_decides_nothing() -> None:
    """Over 1 MiB neither `contains` nor `lacks` holds, nor the opposite of either; another file may still contain."""
    head: Files = {"a": large(MAX_BYTES + 1)}

    for condition in (Contains("a", "x"), Lacks("a", "x")):
        assert not Case(condition, head).holds
        assert not Case(Not(condition), head).holds
    assert Case(Contains("*", "x"), {**head, "b": "x"}).holds
    assert not Case(Lacks("*", "x"), {**head, "b": "y"}).holds


def test_a_file_of_exactly_the_limit_is_read() -> None:
    """1 MiB is not too large, one byte more is, also when the tree does not tell sizes."""
    assert Case(Contains("a", "x$"), {"a": b" " * (MAX_BYTES - 1) + b"x"}).holds
    too_large = Case(Contains("a", "x$"), {"a": b" " * MAX_BYTES + b"x"})
    entry = too_large.view.tree["a"]
    too_large.view = View({"a": type(entry)(entry.path, entry.mode, entry.sha)}, sha("head"))
    assert not too_large.holds


def test_only_the_first_twenty_files_of_a_pattern_are_read() -> None:
    """A text in the 21st file is not found, and then `lacks` is not known to hold."""
    files: dict[str, str] = {f"f{number:02}": "no" for number in range(MAX_FILES)}

    assert Case(Lacks("f*", "yes"), files).holds
    assert Case(Contains("f*", "yes"), {**files, "f19": "yes"}).holds
    assert not Case(Contains("f*", "yes"), {**files, "f20": "yes"}).holds
    assert not Case(Lacks("f*", "yes"), {**files, "f20": "no"}).holds
    assert not Case(Not(Contains("f*", "yes")), {**files, "f20": "no"}).holds


def test_a_missing_content_is_our_fault_and_no_answer() -> None:
    """A blob that the snapshot lacks raises, and says which."""
    case = Case(Contains("a", "x"), {"a": "x"})
    case.evidence._blobs = {}

    with pytest.raises(MissingBlob) as caught:
        assert case.holds
    assert caught.value.sha == blob_sha(b"x")


def test_an_expression_that_re2_refuses_is_the_authors_fault() -> None:
    """No silent `false` for a broken expression."""
    with pytest.raises(PatternError):
        assert Case(Contains("a", "("), {"a": "x"}).holds


# ------------------------------------------------------------------------------------------------------------- facts


def test_approval_is_given_for_the_session() -> None:
    """`approval` holds for the step that staff approved, at any tree."""
    assert Case(Approval(), {}, facts=APPROVED).holds
    assert not Case(Approval(), {}, facts=Facts(approved=frozenset({"other"}))).holds


def test_a_workflow_run_counts_for_its_file_and_its_head() -> None:
    """Another file or another head is another run."""
    run = Workflow(".github/workflows/test.yml")

    def known(path: str, head: str) -> Facts:
        return Facts(workflows=frozenset({(path, sha(head))}))

    assert Case(run, {}, facts=known(run.path, "head")).holds
    assert not Case(run, {}, facts=known(run.path, "other")).holds
    assert not Case(run, {}, facts=known(".github/workflows/other.yml", "head")).holds


def test_a_workflow_run_counts_only_with_the_templates_protected_files() -> None:
    """A run of a workflow that the learner rewrote, or with tests that they weakened, says nothing."""
    facts = Facts(workflows=frozenset({("w.yml", sha("head"))}))
    template: Files = {"tests/a": "strict"}

    def case(head: Files) -> Case:
        return Case(
            Workflow("w.yml"), head, facts=facts, template=template, later=[{"tests/a": "new"}], protected=["tests/**"]
        )

    assert case(template).holds
    assert case({"tests/a": "new"}).holds
    assert not case({"tests/a": "weak"}).holds
    assert not case({"tests/a": executable("strict")}).holds


def test_several_workflows_each_want_their_run() -> None:
    """One run does not stand for the other."""
    both = AllOf((Workflow("v.yml"), Workflow("w.yml")))
    facts = Facts(workflows=frozenset({("v.yml", sha("head"))}))

    assert Case(both, {}, facts=facts).waits_for == ("workflow w.yml",)
    assert Case(both, {}, facts=Facts(workflows=facts.workflows | {("w.yml", sha("head"))})).holds


def test_a_check_counts_for_its_name_its_app_and_its_head() -> None:
    """A check of the same name by another App is another check."""
    check = Check("quality", 7)

    assert Case(check, {}, facts=Facts(checks=frozenset({("quality", 7, sha("head"))}))).holds
    assert not Case(check, {}, facts=Facts(checks=frozenset({("quality", 8, sha("head"))}))).holds
    assert not Case(check, {}, facts=Facts(checks=frozenset({("quality", 7, sha("other"))}))).holds


def test_nothing_to_do_holds_at_once() -> None:
    """`none` is something to read."""
    assert Case(Nothing(), {}).holds


def test_all_any_and_not_combine() -> None:
    """`all` wants every part, `any` one, `not` none."""
    yes, no = Exists(("a",)), Exists(("b",))
    head: Files = {"a": "1"}

    assert Case(AllOf((yes, Not(no))), head).holds
    assert not Case(AllOf((yes, no)), head).holds
    assert Case(AnyOf((no, yes)), head).holds
    assert not Case(AnyOf((no, no)), head).holds
    assert not Case(Not(yes), head).holds


def test_an_undecided_part_leaves_the_whole_undecided_unless_another_part_decides() -> None:
    """`all` with a false part is false, `any` with a true part is true, whatever cannot be read."""
    unread, yes, no = Contains("big", "x"), Exists(("big",)), Exists(("b",))
    head: Files = {"big": large(MAX_BYTES + 1)}

    assert not Case(AllOf((unread, yes)), head).holds
    assert not Case(Not(AllOf((unread, yes))), head).holds
    assert Case(Not(AllOf((unread, no))), head).holds
    assert Case(AnyOf((unread, yes)), head).holds
    assert not Case(Not(AnyOf((unread, no))), head).holds


# ----------------------------------------------------------------------------------------------------------- waiting


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Approval(), ("approval by staff",)),
        (AllOf((Exists(("a",)), Approval())), ("approval by staff",)),
        (AllOf((Exists(("b",)), Approval())), ()),
        (AllOf((Workflow("w.yml"), Approval())), ("workflow w.yml", "approval by staff")),
        (AllOf((Approval(), Approval())), ("approval by staff",)),
        (AnyOf((Approval(), Check("lint", 7))), ("approval by staff or check lint",)),
        (AnyOf((Exists(("b",)), Approval())), ("approval by staff",)),
        (AnyOf((Exists(("a",)), Approval())), ()),
        (AnyOf((AllOf((Approval(), Check("c", 1))), Workflow("w"))), ("approval by staff and check c or workflow w",)),
        (Exists(("b",)), ()),
        (Nothing(), ()),
    ],
)
def test_a_step_waits_when_it_lacks_nothing_but_facts(condition: Condition, expected: tuple[str, ...]) -> None:
    """What is waited for is said in words; a step whose tree lacks something does not wait."""
    assert Case(condition, {"a": "1"}).waits_for == expected


def test_a_step_that_holds_waits_for_nothing() -> None:
    """With the approval given there is nothing left to say."""
    assert Case(Approval(), {}, facts=APPROVED).waits_for == ()


def test_waiting_for_a_workflow_says_that_protected_files_are_in_the_way() -> None:
    """A run would not count while a protected file is not the template's."""
    case = Case(Workflow("w.yml"), {"t": "mine"}, template={"t": "theirs"}, protected=["t"])

    assert case.waits_for == ("workflow w.yml, which counts once the protected files are the template's",)


def test_what_the_tree_has_is_asked_without_facts() -> None:
    """A new head has no workflow run yet: that takes nothing away from its tree."""
    assert Case(AllOf((Exists(("a",)), Workflow("w"), Check("c", 1), Approval())), {"a": "1"}).tree_holds
    assert not Case(AllOf((Exists(("b",)), Workflow("w"))), {"a": "1"}).tree_holds


# ---------------------------------------------------------------------------------------------------- paths put back


def test_held_paths_are_seen_where_they_are_put_back_from() -> None:
    """A held edit, addition and deletion are seen as they were before."""
    accepted: Files = {"edited": "old", "deleted": "old"}
    back = dict.fromkeys(("edited", "deleted", "added"), accepted)
    head: Files = {"edited": "new", "added": "new"}

    assert Case(Contains("edited", "old"), head, back=back).holds
    assert not Case(Contains("edited", "new"), head, back=back).holds
    assert Case(Exists(("deleted",)), head, back=back).holds
    assert not Case(Exists(("added",)), head, back=back).holds
    assert not Case(Changed(), head, template=accepted, back=back).holds
    assert Case(Changed(), head, template=accepted, back={"edited": accepted}).holds


# -------------------------------------------------------------------------------------------------- needed contents


def reading(*paths: str) -> Lab:
    """A lab with a `contains` step for each path, named as the path."""
    return lab(*(step(path, "*", complete=Contains(path, "x"), aliases=[f"old-{path}"]) for path in paths))


def test_needed_names_the_contents_that_conditions_read() -> None:
    """Regular files at the named paths, in each of the trees, and nothing else."""
    a_lab = lab(
        step("one", "*", complete=AllOf((Contains("a", "x"), Not(Lacks("d/*", "x"))))),
        step("two", "*", complete=Exists(("c",))),
    )
    one: Files = {"a": "A1", "c": "C", "d/x": "D", "d/l": link("a"), "d/s": submodule("a")}
    two: Files = {"a": "A2"}

    assert needed(a_lab, frozenset(), tree(one), tree(two)) == {blob_sha(b"A1"), blob_sha(b"A2"), blob_sha(b"D")}


def test_needed_is_empty_without_content_conditions() -> None:
    """A lab that reads nothing costs no call."""
    assert needed(lab(step("s", "*")), frozenset(), tree({"a": "1"})) == frozenset()


def test_needed_leaves_out_what_is_too_large_or_one_too_many() -> None:
    """Files over 1 MiB and those after the first twenty of a pattern are never fetched; unknown sizes are."""
    files: dict[str, Special] = {f"f{number:02}": Special(b"%d" % number, "100644") for number in range(MAX_FILES + 1)}
    files["f03"] = large(MAX_BYTES + 1)
    files["f04"] = large(MAX_BYTES)
    at_head = dict(tree(files))
    entry = at_head["f05"]
    at_head["f05"] = type(entry)(entry.path, entry.mode, entry.sha)

    names = needed(reading("f*"), frozenset(), at_head)

    assert names == {entry.sha for path, entry in at_head.items() if path not in {"f03", "f20"}}


def test_completed_steps_are_read_only_if_they_can_be_reopened() -> None:
    """With nothing to take away a done step needs no content."""
    at_head = tree({"a": "A", "b": "B"})
    both, rest = {blob_sha(b"A"), blob_sha(b"B")}, {blob_sha(b"B")}

    assert needed(reading("a", "b"), frozenset({"a"}), at_head) == both
    assert needed(reading("a", "b"), frozenset({"a"}), at_head, reopens=False) == rest
    assert needed(reading("a", "b"), frozenset({"old-a"}), at_head, reopens=False) == rest


def test_steps_may_be_reopened_by_a_rewrite_by_policy_or_by_staff() -> None:
    """The three ways in which a done step is looked at again."""
    plain, rewritten = snapshot({}, accepted={}), snapshot({}, accepted={}, rewrite=True)
    first = snapshot({}, rewrite=True)  # nothing was accepted: there is nothing that was rewritten
    staff = Facts(reopened=frozenset({"s"}))

    assert not may_reopen(lab(), plain, Facts())
    assert may_reopen(lab(), rewritten, Facts())
    assert not may_reopen(lab(), first, Facts())
    assert may_reopen(lab(), plain, staff)
    assert may_reopen(lab(policy=Policy(reopen="always")), plain, Facts())
    assert not may_reopen(lab(policy=Policy(reopen="never")), rewritten, Facts())


def test_needed_for_a_snapshot_names_accepted_head_and_commits() -> None:
    """The trees that judging looks at; of the template only what is protected."""
    push = snapshot(
        {"a": "3"}, accepted={"a": "1"}, commits=[{"a": "2"}], template={"a": "0", "t": "T"}, later=[{"t": "U"}]
    )
    a_lab = lab(step("s", "*", complete=AllOf((Contains("a", "x"), Contains("t", "x")))), protected=["t"])

    assert needed_for(a_lab, Progress(), push, Facts()) == {blob_sha(text) for text in (b"1", b"2", b"3", b"T", b"U")}
    assert needed_for(lab(step("s", "*")), Progress(), push, Facts()) == frozenset()
