"""Dotted paths: the values they lead to, and keeping, replacing and removing these."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.paths import NOTHING, Path, Tree, parse_paths

EVENT = {
    "user": {"name": "root", "email": "r@x"},
    "ips": ["1.1.1.1", "2.2.2.2"],
    "users": [{"email": "a@x", "id": 1}, {"id": 2}, {"email": "c@x"}],
    "grid": [[{"v": 1}], [{"v": 2}, {"v": 3}]],
    "0": "a key that is a number",
    "a.b": {"*": 7},
    "n": None,
}


def values(path: str) -> list:
    return Path(path).values(copy.deepcopy(EVENT))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("user.email", ["r@x"]),
        ("ips.0", ["1.1.1.1"]),
        ("ips.2", []),
        ("users.email", ["a@x", "c@x"]),
        ("users.1.id", [2]),
        ("users.*.id", [1, 2]),
        ("user.*", ["root", "r@x"]),
        ("grid.v", [1, 2, 3]),
        ("0", ["a key that is a number"]),
        ("a\\.b.\\*", [7]),
        ("n", [None]),
        ("n.x", []),
        ("user.name.first", []),
        ("absent", []),
        ("ips.name", []),
    ],
)
def test_a_path_leads_to_these_values(path, found) -> None:
    assert values(path) == found
    tokens: list = []
    Tree.of([Path(path)]).replace(copy.deepcopy(EVENT), tokens.append)
    assert tokens == found


@pytest.mark.parametrize("bad", ["", ".", "a.", ".a", "a..b", "a\\", "a\\x", "a,b"])
def test_an_invalid_path_is_refused_with_an_example(bad) -> None:
    with pytest.raises(ValueError, match=r"user\.email|several paths|backslash"):
        Path(bad)


@pytest.mark.parametrize("wrong", [7, None, b"user.email", ["user.email"]])
def test_a_path_that_is_no_text_is_refused_with_an_example(wrong) -> None:
    for make in (Path, lambda path: parse_paths(["a", path])):
        with pytest.raises(TypeError, match=r"must be a str such as 'user\.email', not"):
            make(wrong)


def test_a_path_shows_itself_as_it_was_written() -> None:
    assert repr(parse_paths("user.email,a\\.b")) == r"(Path('user.email'), Path('a\\.b'))"


def test_a_list_of_paths_is_split_at_its_commas_but_for_escaped_ones() -> None:
    assert [path.text for path in parse_paths("a.b, c,x\\,y")] == ["a.b", "c", "x\\,y"]
    assert [path.segments for path in parse_paths(["x\\,y"])] == [("x,y",)]
    assert len(parse_paths("a,a,b")) == 2
    for none in ([], "", "a,,b", "a,"):
        with pytest.raises(ValueError, match="path|name"):
            parse_paths(none)


def test_the_kept_parts_of_an_event_keep_their_structure() -> None:
    tree = Tree.of(parse_paths("user.name,users.email,ips.1,grid.*.0.v,n"))
    assert tree.keep(EVENT) == {
        "user": {"name": "root"},
        "users": [{"email": "a@x"}, {"email": "c@x"}],
        "ips": ["2.2.2.2"],
        "grid": [[{"v": 1}], [{"v": 2}]],
        "n": None,
    }
    assert Tree.of(parse_paths("absent")).keep(EVENT) is NOTHING
    assert Tree.of(parse_paths("user,user.name")).keep(EVENT) == {"user": EVENT["user"]}


def test_removing_takes_keys_out_and_leaves_the_other_elements_their_index() -> None:
    event = copy.deepcopy(EVENT)
    Tree.of(parse_paths("user.email,ips.0,users.email,a\\.b")).remove(event)
    assert event["user"] == {"name": "root"}
    assert event["ips"] == [None, "2.2.2.2"]
    assert event["users"] == [{"id": 1}, {"id": 2}, {}]
    assert "a.b" not in event


def test_a_value_is_replaced_once_however_many_paths_lead_to_it() -> None:
    paths = parse_paths("user.*,user.email,user,users.email,users.*.email,users.0")
    event = Tree.of(paths).replace(copy.deepcopy(EVENT), lambda value: [value])
    assert event["user"] == [EVENT["user"]]
    assert event["users"] == [[EVENT["users"][0]], {"id": 2}, {"email": ["c@x"]}]
    assert all(path.found for path in paths)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab0*."), inner, max_size=3)
    ),
    max_leaves=12,
)
path_texts = st.lists(
    st.sampled_from(["a", "b", "0", "1", "*", "\\*", "\\."]), min_size=1, max_size=3
).map(".".join)


@given(json_values, st.lists(path_texts, min_size=1, max_size=3))
def test_removed_values_cannot_be_found_and_others_stay(event, texts) -> None:
    paths = parse_paths(texts)
    before = copy.deepcopy(event)
    Tree.of(paths).remove(event)
    for text in texts:
        assert all(value is None for value in Path(text).values(event))
    if not any(Path(text).values(before) for text in texts):
        assert event == before


@given(json_values, st.lists(path_texts, min_size=1, max_size=3))
def test_a_path_keeps_exactly_the_values_that_it_finds(event, texts) -> None:
    kept = Tree.of(parse_paths(texts)).keep(event)
    found = [value for text in texts for value in Path(text).values(event)]
    assert (kept is NOTHING) == (not found)


def test_two_ways_to_write_an_index_are_both_followed() -> None:
    event = {"a": [{"x": 1, "y": 2}]}
    tree = Tree.of(parse_paths("a.0.x,a.00.y"))
    assert tree.replace(event, lambda _: "hidden") == {"a": [{"x": "hidden", "y": "hidden"}]}
