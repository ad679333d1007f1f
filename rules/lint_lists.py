"""What the lists of patterns say by themselves: patterns without effect, and lists that take from each other."""

from __future__ import annotations

from rules.labfile_problems import ProblemCode, Problems, quoted
from rules.lint_survey import PatternList, Survey, is_free


def check_lists(survey: Survey, hopeless: frozenset[int], problems: Problems) -> None:
    """Add the problems of all lists. `hopeless`: steps of which it was told already that they can never complete."""
    for each in survey.lists:
        _check_order(each, problems)
        for number, pattern in enumerate(each.patterns):
            if not pattern.startswith("!") and pattern not in each.patterns[number + 1 :]:
                found = _without_effect(survey, each, number, told=each.step in hopeless)
                if found:
                    problems.add(found[0], (*each.at, number), *found[1:])


def _check_order(each: PatternList, problems: Problems) -> None:
    """Patterns that their place in the list leaves without effect."""
    first: dict[str, int] = {}
    taking = False
    for number, pattern in enumerate(each.patterns):
        at = (*each.at, number)
        if pattern in first:
            line = problems.line((*each.at, first[pattern]))
            message = f"{quoted(pattern)} is in this list a second time; the one on line {line} has no effect."
            problems.add(ProblemCode.REPEATED_PATTERN, at, message, "Remove one of them.")
        elif pattern.startswith("!") and not taking:
            message = f"{quoted(pattern)} gives back nothing: no pattern before it takes anything."
            problems.add(ProblemCode.NEGATED_FIRST, at, message, "The last match wins: put it after the others.")
        taking = taking or not pattern.startswith("!")
        first[pattern] = number


def _without_effect(
    survey: Survey, each: PatternList, number: int, *, told: bool
) -> tuple[ProblemCode, str, str] | None:
    """What leaves nothing of a pattern: later patterns of its list, or the lists that come before steps.

    `told`: it was said already that the step has nothing.
    """
    if told:
        return None
    pattern, step = each.patterns[number], each.step
    given_back = sum({survey.bit(later) for later in each.patterns[number + 1 :] if later.startswith("!")})
    if not survey.some(pattern, lambda kind: not kind.matching & given_back):
        message = f"Later ! patterns of this list give back all that {quoted(pattern)} takes."
        return ProblemCode.OVERRULED, message, "The last match wins: put the wider patterns first."
    if step is None:
        return None
    if not survey.some(pattern, lambda kind: step in kind.place.owners and not kind.place.protected):
        message = f"All that {quoted(pattern)} names is protected: only the template changes it, and it never counts."
        return ProblemCode.PROTECTED_TAKES, message, 'Take it out of "files", or out of "protected".'
    if not survey.some(pattern, lambda kind: step in kind.place.owners and is_free(kind)):
        message = f"All that {quoted(pattern)} names is shared or protected, and never counts for a step."
        return ProblemCode.SHARED_TAKES, message, 'Take it out of "files", or out of "shared".'
    return None
