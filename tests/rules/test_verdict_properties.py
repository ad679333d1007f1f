"""The invariants of section 5 of the decision document, over generated labs and sessions of pushes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import pytest
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st

from rules.conditions import needed_for
from rules.mapping import leaves
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
    PathOutcome,
    Policy,
    Progress,
    Snapshot,
    Step,
    StepState,
    Tree,
    Verdict,
    ViolationCode,
    Workflow,
)
from rules.patterns import compiled, with_roots
from rules.snapshot import same_content
from rules.verdict import judge
from tests.support.effort import examples
from tests.support.labs import Content, Files, blobs, chain, executable, lab, link, saved, sha, snapshot, step, tree

pytestmark = pytest.mark.heavy

PROPERTY = settings(
    max_examples=examples(50),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
PATHS = ["a", "b", "c", "d/x", "d/y", "e", "s", "t/1", "t/2", "u"]  # s: shared, t: protected, u: rarely named
STEP_IDS = ["one", "two", "three", "four", "five"]
FILE_PATTERNS = ["/a", "/b", "/c", "d/**", "d/x", "!d/y", "/e", "[ab]", "s"]
PROTECTED_PATTERNS = ("t/**",)

# ------------------------------------------------------------------------------------------------------- generators
# Strategies are made once: hypothesis looks through each new one, which takes longer than to draw from it.

contents: st.SearchStrategy[Content] = st.sampled_from(["0", "1", "2", "3", executable("1"), link("1")])
own_paths = st.sampled_from(["a", "b", "c", "d/x", "d/y", "e", "s"])
paths = st.sampled_from([*3 * ["a", "b", "c", "d/x", "d/y", "e"], "s", "u", "t/1", "t/2"])  # mostly work on steps
named = st.sampled_from(["a", "b", "c", "d/x", "d", "e", "d/*", "?", "u"])
levels = st.sampled_from(["block", "block", "warn"])
levels_or_allow = st.sampled_from(["allow", "allow", "allow", "block", "warn"])

counting: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Changed, st.sampled_from(["any", "any", "all", 1, 2])),
    st.builds(Exists, st.lists(named, min_size=1, max_size=2).map(tuple)),
)
tree_conditions: st.SearchStrategy[Condition] = st.one_of(
    counting,
    st.builds(Absent, st.lists(named, min_size=1, max_size=2).map(tuple)),
    st.builds(Contains, named, st.sampled_from(["1", "[23]"])),
    st.builds(Lacks, named, st.sampled_from(["1", "[23]"])),
)
facts_conditions: st.SearchStrategy[Condition] = st.sampled_from([Approval(), Nothing(), Workflow("w"), Check("c", 7)])


def combined(leaves: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    """A condition, or two of them under `all` or `any`."""
    pairs = st.tuples(leaves, leaves)
    return st.one_of(leaves, leaves, st.builds(AllOf, pairs), st.builds(AnyOf, pairs))


any_conditions = combined(
    st.one_of(tree_conditions, tree_conditions, st.builds(Not, tree_conditions), facts_conditions)
)


@cache
def policies(reopen: tuple[str, ...]) -> st.SearchStrategy[Policy]:
    """Every setting of every policy; the usual ones more often."""
    return st.builds(
        Policy,
        out_of_order=levels,
        protected=levels,
        unmapped=levels_or_allow,
        rework=levels_or_allow,
        reopen=st.sampled_from(reopen),
    )


@cache
def needs_of(number: int) -> st.SearchStrategy[list[str]]:
    """What a step may need: mostly the one before it."""
    earlier = st.sets(st.sampled_from(STEP_IDS[:number]), max_size=2) if number else st.just(set[str]())
    usual = st.just([STEP_IDS[number - 1]] if number else [])
    return st.one_of(usual, usual, earlier.map(sorted))


counts = st.sampled_from([2, 3, 4, 5, 1])
patterns_of_a_step = st.lists(st.sampled_from(FILE_PATTERNS), min_size=1, max_size=3, unique=True)
mostly, rarely = st.sampled_from([True, True, False]), st.sampled_from([False, False, True])
orders = [st.permutations(range(count)) for count in range(len(STEP_IDS) + 1)]
shared_files: st.SearchStrategy[tuple[str, ...]] = st.sampled_from([(), ("s",)])
REOPEN = ("rewrite", "rewrite", "always", "never")


@st.composite
def labs(
    draw: st.DrawFn,
    conditions: st.SearchStrategy[Condition] = any_conditions,
    reopen: tuple[str, ...] = REOPEN,
) -> Lab:
    """A lab of up to five steps with overlapping files and an acyclic graph of needs, in any list order."""
    steps: list[Step] = []
    for number, step_id in enumerate(STEP_IDS[: draw(counts)]):
        patterns, needs, optional = draw(patterns_of_a_step), draw(needs_of(number)), draw(rarely)
        steps.append(step(step_id, *patterns, needs=needs, complete=draw(conditions), optional=optional))
    listed = steps if draw(mostly) else [steps[at] for at in draw(orders[len(steps)])]
    return lab(*listed, protected=PROTECTED_PATTERNS, shared=draw(shared_files), policy=draw(policies(reopen)))


@cache
def lists_of_paths(over: st.SearchStrategy[str], least: int, most: int) -> st.SearchStrategy[list[str]]:
    """Some of these paths."""
    return st.lists(over, min_size=least, max_size=most, unique=True)


contents_or_none = st.one_of(contents, contents, contents, st.none())


@st.composite
def edits(draw: st.DrawFn, base: Files, over: st.SearchStrategy[str] = paths, least: int = 0, most: int = 4) -> Files:
    """Files after some were written or deleted."""
    files = dict(base)
    for path in draw(lists_of_paths(over, least, most)):
        content = draw(contents_or_none)
        if content is None:
            files.pop(path, None)
        else:
            files[path] = content
    return files


@cache
def some_facts(heads: tuple[str, ...]) -> st.SearchStrategy[Facts]:
    """Mostly none; else some approvals, overrides and results."""
    ids = st.frozensets(st.sampled_from(STEP_IDS), max_size=1)
    of_heads = st.frozensets(st.sampled_from(sorted(heads)), max_size=2)
    some = st.builds(
        Facts,
        approved=st.frozensets(st.sampled_from(STEP_IDS)),
        completed=ids,
        reopened=ids,
        unlocked=ids,
        accepted_heads=st.one_of(st.just(frozenset[str]()), of_heads),
        workflows=of_heads.map(lambda drawn: frozenset(("w", head) for head in drawn)),
        checks=of_heads.map(lambda drawn: frozenset(("c", 7, head) for head in drawn)),
    )
    return st.one_of(st.just(Facts()), some)


@dataclass(frozen=True, repr=False)
class Judged:
    """One push of a session: what was known before, and the verdict."""

    lab: Lab
    facts: Facts
    progress: Progress
    push: Snapshot
    verdict: Verdict
    head: Files
    accepted: Files
    template: Files
    later: Sequence[Files]
    commits: Sequence[Files]

    @property
    def after(self) -> Progress:
        """Progress once the verdict is saved."""
        return saved(self.progress, self.verdict)

    def __repr__(self) -> str:
        """What a person needs to understand a failing example."""
        steps = [(step.id, step.files, step.needs, step.complete) for step in self.lab.steps]
        lines = [f"lab {steps} {self.lab.policy} shared {self.lab.shared}", f"facts {self.facts}"]
        lines += [
            f"template {self.template} later {self.later}",
            f"accepted {self.accepted} rewrite {self.push.rewrite}",
        ]
        lines += [f"commits {self.commits} head {self.head} before {self.progress}"]
        lines += [f"gains {self.verdict.gains} losses {self.verdict.losses} violations {self.verdict.violations}"]
        return "\n".join(["", *lines, ""])


any_labs, templates = labs(), edits({}, most=5)
few, pushes = st.sampled_from([0, 0, 1, 2]), st.sampled_from([3, 4, 2, 1])


@st.composite
def sessions(
    draw: st.DrawFn, facts_of: Callable[[tuple[str, ...]], st.SearchStrategy[Facts]] = some_facts
) -> list[Judged]:
    """A lab, and a session of up to four pushes in which every verdict is saved: states that can really be reached."""
    a_lab, template = draw(any_labs), draw(templates)
    later: list[Files] = []
    for _ in range(draw(few)):
        later.append(draw(edits(later[-1] if later else template, least=1)))
    heads = [f"head{number}" for number in range(draw(pushes))]
    facts = draw(facts_of(tuple(sha(head) for head in heads)))
    accepted, accepted_sha, progress = template, None, Progress()
    known: list[Files] = [*later, template]
    story: list[Judged] = []
    for name in heads:
        # a push goes on from the last one; a rewrite goes back to (or syncs with) something that was there before
        rewrite = not draw(rarely) if progress.done else draw(rarely)
        base = draw(st.sampled_from(known)) if rewrite else known[-1]
        commits: list[Files] = []
        for _ in range(draw(few)):
            base = draw(edits(base, least=1))
            commits.append(base)
        head = draw(edits(base, least=0 if rewrite else 1))
        push = snapshot(
            head, template=template, accepted=accepted, later=later, commits=commits, rewrite=rewrite, head_sha=name
        )
        push = replace(push, accepted_sha=accepted_sha)
        verdict = judge(a_lab, progress, push, facts)
        story.append(Judged(a_lab, facts, progress, push, verdict, head, accepted, template, later, commits))
        progress = story[-1].after
        accepted_sha = verdict.accepted_after
        accepted = accepted if verdict.blocked else head
        known.append(head)
    note(story)
    return story


def note(story: list[Judged]) -> None:
    """Tell hypothesis' statistics what the sessions are like."""
    for name, happened in HAPPENINGS.items():
        if any(happened(each) for each in story):
            event(name)


@cache
def no_facts(_heads: tuple[str, ...]) -> st.SearchStrategy[Facts]:
    """Sessions without facts."""
    return st.just(Facts())


def blocking(verdict: Verdict) -> set[str]:
    """The paths that block."""
    return {violation.path for violation in verdict.violations if violation.level == "block"}


def _has_code(each: Judged, *, code: ViolationCode) -> bool:
    return any(found.code is code for found in each.verdict.violations)


def _has_outcome(each: Judged, *, outcome: PathOutcome) -> bool:
    return any(path.outcome is outcome for path in each.verdict.paths)


HAPPENINGS: Mapping[str, Callable[[Judged], bool]] = {
    "blocked": lambda each: each.verdict.blocked,
    "gains": lambda each: bool(each.verdict.gains),
    "gains at a blocked head": lambda each: each.verdict.blocked and bool(each.verdict.gains),
    "gains at an earlier commit": lambda each: any(g.commit_sha != each.push.head_sha for g in each.verdict.gains),
    "losses": lambda each: bool(each.verdict.losses),
    "losses at a blocked head": lambda each: each.verdict.blocked and bool(each.verdict.losses),
    "loss of a dependent": lambda each: any(loss.reason == "NEEDS" for loss in each.verdict.losses),
    "warning": lambda each: any(violation.level == "warn" for violation in each.verdict.violations),
    "complete": lambda each: each.verdict.complete,
    "waiting": lambda each: any(status.state is StepState.WAITING for status in each.verdict.steps),
    "protected since earlier": lambda each: any(violation.change is None for violation in each.verdict.violations),
    **{f"violation {code}": partial(_has_code, code=code) for code in ViolationCode},
    **{f"path {outcome}": partial(_has_outcome, outcome=outcome) for outcome in PathOutcome},
}


def test_the_generated_sessions_are_interesting() -> None:
    """Everything that the properties below speak of does occur in the generated sessions."""
    seen: Counter[str] = Counter()

    @settings(PROPERTY, max_examples=examples(200), database=None, phases=[Phase.generate])
    @given(sessions())
    def collect(story: list[Judged]) -> None:
        seen.update(name for name, happened in HAPPENINGS.items() if any(happened(each) for each in story))

    collect()

    assert set(HAPPENINGS) == set(seen), seen


# ------------------------------------------------------------------------------------------------------- properties


@PROPERTY
@given(sessions())
def test_judging_is_deterministic_and_total_with_exactly_the_needed_contents(story: list[Judged]) -> None:
    """Equal values give equal verdicts, and no content is asked for that `needed_for` did not name."""
    for each in story:
        names = needed_for(each.lab, each.progress, replace(each.push, blobs={}), each.facts)
        exact = replace(each.push, blobs={name: content for name, content in each.push.blobs.items() if name in names})
        fresh = replace(exact, head=dict(reversed(list(exact.head.items()))), accepted=dict(exact.accepted))

        assert judge(each.lab, each.progress, exact, each.facts) == each.verdict
        assert judge(each.lab, each.progress, fresh, each.facts) == each.verdict


@PROPERTY
@given(sessions())
def test_a_verdict_adds_up(story: list[Judged]) -> None:
    """Gains, losses, blocked, complete and states say the same thing."""
    for each in story:
        verdict = each.verdict
        gains, losses = {gain.step_id for gain in verdict.gains}, {loss.step_id for loss in verdict.losses}

        assert gains == verdict.done_after - verdict.done_before
        assert losses == verdict.done_before - verdict.done_after
        assert verdict.blocked is bool(blocking(verdict))
        assert {status.step_id for status in verdict.steps if status.state is StepState.DONE} == verdict.done_after
        assert verdict.complete is all(step.optional or step.id in verdict.done_after for step in each.lab.steps)
        changed = {path for path in {*each.head, *each.accepted} if each.head.get(path) != each.accepted.get(path)}
        assert [path.path for path in verdict.paths] == sorted(changed)
        for status in verdict.steps:
            if status.state is StepState.LOCKED:
                assert status.missing
                assert not set(status.missing) & verdict.done_after


@PROPERTY
@given(sessions())
def test_each_path_gets_the_first_verdict_that_applies(story: list[Judged]) -> None:
    """The order of section 5, said once more in a few naive lines."""
    for each in story:
        astray = {path.path for path in each.verdict.violations if path.code is ViolationCode.PROTECTED_PATH}
        for path in each.verdict.paths:
            assert path.outcome in naive_outcomes(each, path.path, astray)


def naive_outcomes(each: Judged, path: str, astray: Collection[str]) -> set[PathOutcome]:
    """What a path of a push may be, judged by itself."""
    versions = (each.push.template, *each.push.later_templates)
    groups = (with_roots(each.lab.protected), each.lab.shared, *(step.files for step in each.lab.steps))
    inside = compiled(groups).match(path).groups
    if 0 in inside and path in astray:
        return {PathOutcome.PROTECTED}
    if any(same_content(version.get(path), each.push.head.get(path)) for version in versions):
        return {PathOutcome.TEMPLATE_WORK}
    assert 0 not in inside  # protected, and no version of the template has it: it must be astray
    if 1 in inside:
        return {PathOutcome.SHARED}
    owners = [each.lab.steps[group - 2] for group in inside]
    if not owners:
        return {PathOutcome.UNMAPPED}
    done = each.verdict.done_after
    unlocked = each.facts.unlocked
    if not any(step.id in done | unlocked or done.issuperset(step.needs) for step in owners):
        return {PathOutcome.LOCKED}
    all_done = all(step.id in each.verdict.done_before for step in owners)
    return {PathOutcome.OPEN, PathOutcome.REWORK} if all_done else {PathOutcome.OPEN}


@PROPERTY
@given(sessions())
def test_judging_twice_changes_nothing(story: list[Judged]) -> None:
    """Once the verdict is saved the same head neither gains nor loses, and is as red or green as before."""
    for each in story:
        head = each.push
        if not each.verdict.blocked:
            head = replace(head, accepted=head.head, accepted_sha=head.head_sha, rewrite=False, commits=())
        again = judge(each.lab, each.after, head, each.facts)

        assert (again.gains, again.losses) == ((), ())
        assert again.blocked is each.verdict.blocked
        assert again.accepted_after == each.verdict.accepted_after


@PROPERTY
@given(sessions())
def test_judging_an_accepted_head_again_from_its_attempt_says_the_same(story: list[Judged]) -> None:
    """With the `accepted_before` of the attempt (for its warnings) nothing changes either."""
    for each in story:
        gains = {gain.step_id for gain in each.verdict.gains}
        since = (each.progress.since_accepted | gains) & each.verdict.done_after
        again = judge(each.lab, Progress(each.verdict.done_after, since), each.push, each.facts)

        assert (again.gains, again.losses) == ((), ())
        assert [(found.path, found.level) for found in again.violations] == [
            (found.path, found.level) for found in each.verdict.violations
        ]


@PROPERTY
@given(sessions(), contents, st.integers(0, 3))
def test_a_violating_path_neither_helps_nor_takes(story: list[Judged], content: Content, since: int) -> None:
    """A push with one more path that violates completes and reopens exactly what it does without."""
    each = story[-1]
    # a workflow run counts only while all protected files are the template's: there such an edit does take something
    runs = any(isinstance(leaf, Workflow) for one in each.lab.steps for leaf in leaves(one.complete))
    for path in PATHS:
        verdict = with_path(each, path, content, since)
        if verdict is None or path not in blocking(verdict):
            continue
        code = next(violation.code for violation in verdict.violations if violation.path == path)
        if code is ViolationCode.PROTECTED_PATH and runs:
            continue
        event(f"added {code}")
        assert verdict.done_after == each.verdict.done_after
        assert blocking(verdict) >= blocking(each.verdict)


def with_path(each: Judged, path: str, content: Content, since: int) -> Verdict | None:
    """The verdict on the same push with another file, from the given commit on; None if the push has the path."""
    entry = tree({path: content})[path]
    if each.push.head.get(path) != each.push.accepted.get(path) or each.push.head.get(path) == entry:
        return None
    commits = tuple(
        replace(commit, tree={**commit.tree, path: entry}) if number >= since else commit
        for number, commit in enumerate(each.push.commits)
    )
    contents_too = {**each.push.blobs, **blobs({path: content})}
    push = replace(each.push, head={**each.push.head, path: entry}, commits=commits, blobs=contents_too)
    return judge(each.lab, each.progress, push, each.facts)


@PROPERTY
@given(sessions(facts_of=no_facts))
def test_done_steps_have_done_needs(story: list[Judged]) -> None:
    """Whatever is pushed or taken away, done never holds a step without what it needs."""
    for each in story:
        for one in each.lab.steps:
            assert one.id not in each.verdict.done_after or each.verdict.done_after.issuperset(one.needs)


@PROPERTY
@given(sessions())
def test_a_file_that_nobody_names_changes_the_verdict_by_unmapped_only(story: list[Judged]) -> None:
    """One more path, one more violation if the policy says so, and the fork is not untouched; nothing else."""
    each = story[-1]
    stray: Files = {"nobody/names.me": "like nothing else"}  # no rename of anything
    push = replace(each.push, head={**each.push.head, **tree(stray)})
    verdict = judge(each.lab, each.progress, push, each.facts)

    (path,) = set(verdict.paths) - set(each.verdict.paths)
    assert (path.path, path.outcome) == ("nobody/names.me", PathOutcome.UNMAPPED)
    more = set(verdict.violations) - set(each.verdict.violations)
    assert {found.code for found in more} <= {ViolationCode.UNMAPPED_PATH}
    assert len(more) == (each.lab.policy.unmapped != "allow")
    assert not verdict.untouched
    known = ("paths", "violations", "blocked", "untouched")
    assert replace(verdict, **{name: getattr(each.verdict, name) for name in known}) == each.verdict


@PROPERTY
@given(
    labs(combined(counting), reopen=("rewrite", "never")),
    edits({}, own_paths),
    st.data(),
)
def test_pushing_in_accepted_pieces_or_at_once_ends_in_the_same_done(
    a_lab: Lab, template: Files, data: st.DataObject
) -> None:
    """Work of k commits completes the same steps whether each is pushed and accepted by itself or all together."""
    pieces: list[Files] = []
    base = template
    for _ in range(data.draw(st.sampled_from([3, 4, 2]))):
        base = data.draw(edits(base, own_paths, least=1, most=3))
        pieces.append(base)
    accepted, accepted_sha, done = template, None, frozenset[str]()
    for number, files in enumerate(pieces):
        push = snapshot(files, template=template, accepted=accepted, head_sha=f"piece{number}")
        verdict = judge(a_lab, Progress(done), replace(push, accepted_sha=accepted_sha), Facts())
        assume(not verdict.blocked)
        accepted, accepted_sha, done = files, verdict.accepted_after, verdict.done_after
    at_once = snapshot(pieces[-1], template=template, commits=pieces[:-1])

    assert judge(a_lab, Progress(), at_once, Facts()).done_after == done
    event(f"{len(done)} steps in {len(pieces)} pieces")


@PROPERTY
@given(sessions())
def test_an_amend_that_keeps_the_tree_keeps_done(story: list[Judged]) -> None:
    """A force-push of another commit with the same tree costs nothing, wherever the session stands."""
    each = story[-1]
    amended = replace(each.push, head_sha=sha("amended"))
    if not each.verdict.blocked:  # the old head became ACCEPTED, and is no ancestor of its amended twin
        amended = replace(amended, accepted=amended.head, accepted_sha=each.push.head_sha, rewrite=True, commits=())
    assume(not each.facts.accepted_heads)  # staff accepted that head, not its twin
    verdict = judge(each.lab, each.after, amended, each.facts)

    assert verdict.losses == ()
    assert verdict.blocked is each.verdict.blocked


def test_the_generators_use_small_trees() -> None:
    """Guard of this file: the labs' patterns speak of the paths that the pushes change."""
    everything: Tree = tree(dict.fromkeys(PATHS, "1"))
    groups = tuple((pattern,) for pattern in (*FILE_PATTERNS, *PROTECTED_PATTERNS) if not pattern.startswith("!"))
    matched = {group for path in everything for group in compiled(groups).match(path).groups}

    assert matched == set(range(len(groups)))
    assert not compiled(groups).match("nobody/names.me").groups
    assert chain("a").steps[0].files == ("/a.txt", "/a/**")
