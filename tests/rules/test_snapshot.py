"""Tree against tree."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rules.model import Change, ChangeKind, TreeEntry
from rules.snapshot import EMPTY_BLOB, diff, differing, entry_kind, same_content, same_entry
from tests.support.labs import Content, Files, Special, blob_sha, executable, link, submodule, tree

CONTENTS = st.sampled_from(["one", "two", "", executable("one"), link("one"), submodule("one")])
FILES = st.dictionaries(st.sampled_from(["a", "b", "c", "d/a", "d/b", "é"]), CONTENTS, max_size=6)


def changes(old: Files, new: Files) -> dict[str, ChangeKind]:
    """Changed paths with what happened to them."""
    return {change.path: change.kind for change in diff(tree(old), tree(new))}


def test_equal_trees_have_no_difference() -> None:
    """The same tree object, and another tree with the same entries, show nothing."""
    files: Files = {"a": "1", "b": executable("2")}
    one = tree(files)

    assert diff(one, one) == ()
    assert diff(one, tree(files)) == ()


def test_each_kind_of_change_is_told() -> None:
    """Added, modified, removed and mode-changed paths are told apart, sorted by path."""
    old: Files = {"same": "1", "text": "1", "gone": "2", "script": "3"}
    new: Files = {"same": "1", "text": "one", "new": "4", "script": executable("3")}

    assert diff(tree(old), tree(new)) == (
        Change("gone", ChangeKind.REMOVED),
        Change("new", ChangeKind.ADDED),
        Change("script", ChangeKind.MODE),
        Change("text", ChangeKind.MODIFIED),
    )


def test_another_type_of_entry_is_modified_whatever_the_object() -> None:
    """A file that became a link or a submodule is modified, not mode-changed, even with the same object."""
    for content in (link("x"), submodule("x")):
        assert changes({"a": "x"}, {"a": content}) == {"a": ChangeKind.MODIFIED}
        assert changes({"a": content}, {"a": executable("x")}) == {"a": ChangeKind.MODIFIED}


def test_the_size_is_no_difference() -> None:
    """Sizes follow from the object: a tree that does not tell them is no other tree."""
    assert diff({"a": TreeEntry("a", "100644", "1" * 40, 5)}, {"a": TreeEntry("a", "100644", "1" * 40)}) == ()


def test_a_rename_is_shown_on_both_ends() -> None:
    """A removed and an added path with the same object name each other."""
    assert diff(tree({"old": "text"}), tree({"new": "text"})) == (
        Change("new", ChangeKind.ADDED, renamed_from="old"),
        Change("old", ChangeKind.REMOVED, renamed_to="new"),
    )


def test_renames_of_one_object_keep_file_names_together() -> None:
    """Of several removed and added paths with one content those with equal names are pairs, the rest in order."""
    old: Files = {"a/one": "x", "a/three": "x", "a/two": "x"}
    new: Files = {"b/four": "x", "b/one": "x", "b/two": "x", "b/zero": "x"}

    sources = {change.path: change.renamed_from for change in diff(tree(old), tree(new)) if change.renamed_from}

    assert sources == {"b/one": "a/one", "b/two": "a/two", "b/four": "a/three"}


def test_two_empty_files_are_no_rename() -> None:
    """Every empty file has the same object: that tells nothing about where one came from."""
    assert blob_sha(b"") == EMPTY_BLOB
    assert all(change.renamed_from is None for change in diff(tree({"old": ""}), tree({"new": ""})))


def test_a_file_moved_onto_a_link_with_its_object_is_no_rename() -> None:
    """Objects of different types are not paired."""
    assert [change.renamed_from for change in diff(tree({"old": "x"}), tree({"new": link("x")}))] == [None, None]


def test_content_is_the_same_under_another_executable_bit_only() -> None:
    """chmod keeps the content; absence equals absence alone."""

    def entry(content: Content) -> TreeEntry:
        return tree({"a": content})["a"]

    assert same_content(entry("x"), entry(executable("x")))
    assert not same_entry(entry("x"), entry(executable("x")))
    assert not same_content(entry("x"), entry(link("x")))
    assert same_content(None, None)
    assert same_entry(None, None)
    assert not same_content(None, entry("x"))
    assert not same_entry(entry("x"), None)
    assert entry_kind(entry(Special(b"x", "100664"))) == "file"


@given(FILES, FILES)
def test_a_diff_says_exactly_how_two_trees_differ(old: dict[str, Content], new: dict[str, Content]) -> None:
    """Paths in the diff differ and others do not; both directions agree; renames are one to one."""
    forth, back = diff(tree(old), tree(new)), diff(tree(new), tree(old))

    changed = {path for path in {*old, *new} if old.get(path) != new.get(path)}
    assert [change.path for change in forth] == sorted(changed)
    assert set(differing(tree(old), tree(new))) == changed
    opposite = {
        ChangeKind.ADDED: ChangeKind.REMOVED,
        ChangeKind.REMOVED: ChangeKind.ADDED,
        ChangeKind.MODIFIED: ChangeKind.MODIFIED,
        ChangeKind.MODE: ChangeKind.MODE,
    }
    assert [opposite[change.kind] for change in forth] == [change.kind for change in back]
    by_path = {change.path: change for change in forth}
    for change in forth:
        if change.renamed_to is not None:
            assert change.kind is ChangeKind.REMOVED
            assert by_path[change.renamed_to].renamed_from == change.path
        if change.renamed_from is not None:
            assert change.kind is ChangeKind.ADDED
            assert by_path[change.renamed_from].renamed_to == change.path
