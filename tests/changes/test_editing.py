"""Editing a document keeps what was not touched, to the byte, and always reads back as what was set."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from changes import editing
from changes.documents import InvalidFile, read_yaml
from changes.editing import update_text
from changes.rendering import render

TEXT = """\
# Orders of the shop; ask Rita.
kind: Queue
spec:
  # how many
  size:   6   # keep it small
  title: 'orders'

  routes:
  - name: a   # first
    weight: 1
  # the slow one
  - name: b
    weight: 2
  limits: { rate: 1,  burst: 2 }
  notes: |
    hello
    world

# the end
depends_on: [a/b/C/d]   # because
"""
DATA = read_yaml(TEXT.encode(), "").value


def read(text: str):
    return read_yaml(text.encode(), "").value


def data_with(**spec):
    return {**DATA, "spec": {**DATA["spec"], **spec}}


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_nothing_changed_means_not_a_byte_changed():
    assert update_text(TEXT, DATA) == TEXT


@pytest.mark.parametrize(
    ("data", "gone", "new"),
    [
        (data_with(size=7), ["  size:   6   # keep it small"], ["  size:   7   # keep it small"]),
        (data_with(size=None), ["  size:   6   # keep it small"], ["  size:   null   # keep it small"]),
        (data_with(title="no"), ["  title: 'orders'"], ["  title: 'no'"]),
        (data_with(title="it's"), ["  title: 'orders'"], ["  title: 'it''s'"]),
        (data_with(title=5), ["  title: 'orders'"], ["  title: 5"]),
        (data_with(title="a\nb"), ["  title: 'orders'"], ["  title: |-", "    a", "    b"]),
        (
            data_with(size=[1, 2]),
            ["  size:   6   # keep it small"],
            ["  size:", "    - 1", "    - 2   # keep it small"],
        ),
        (data_with(size={}), ["  size:   6   # keep it small"], ["  size: {}   # keep it small"]),
        (
            data_with(limits={"rate": 5, "burst": 2}),
            ["  limits: { rate: 1,  burst: 2 }"],
            ["  limits: { rate: 5,  burst: 2 }"],
        ),
        (data_with(limits={"rate": 1}), ["  limits: { rate: 1,  burst: 2 }"], ["  limits: {rate: 1}"]),
        (data_with(limits={}), ["  limits: { rate: 1,  burst: 2 }"], ["  limits: {}"]),
        (data_with(limits=3), ["  limits: { rate: 1,  burst: 2 }"], ["  limits: 3"]),
        (data_with(notes="bye\n"), ["    hello", "    world"], ["    bye"]),
        (data_with(notes="bye"), ["  notes: |", "    hello", "    world"], ["  notes: bye"]),
        (data_with(extra="22:22"), [], ['  extra: "22:22"']),
        (
            {**DATA, "depends_on": ["a/b/C/d", "e/f/G/h"]},
            ["depends_on: [a/b/C/d]   # because"],
            ["depends_on: [a/b/C/d, e/f/G/h]   # because"],
        ),
        (
            {**DATA, "depends_on": ["x/b/C/d"]},
            ["depends_on: [a/b/C/d]   # because"],
            ["depends_on: [x/b/C/d]   # because"],
        ),
        ({**DATA, "expires": "2027-01-31"}, [], ['expires: "2027-01-31"']),
        ({key: DATA[key] for key in ("kind", "spec")}, ["depends_on: [a/b/C/d]   # because"], []),
    ],
)
def test_only_the_lines_of_a_change_change(data, gone, new):
    after = update_text(TEXT, data)
    assert changed_lines(TEXT, after) == (gone, new)
    assert read(after) == data


@pytest.mark.parametrize(
    ("routes", "gone", "new"),
    [
        ([{"name": "a", "weight": 1}, {"name": "b", "weight": 9}], ["    weight: 2"], ["    weight: 9"]),
        ([{"name": "b", "weight": 2}], ["  - name: a   # first", "    weight: 1"], []),
        ([{"name": "a", "weight": 1}], ["  - name: b", "    weight: 2"], []),
        (
            [{"name": "z"}, *DATA["spec"]["routes"], {"name": "v"}, {"name": "x"}],
            [],
            ["  - name: z", "  - name: v", "  - name: x"],
        ),
        (
            [{"name": "a", "weight": 1}, {"name": "c", "deep": {"k": [1]}}, {"name": "b", "weight": 2}],
            [],
            ["  - name: c", "    deep:", "      k:", "        - 1"],
        ),
    ],
)
def test_list_items_are_followed_by_their_names(routes, gone, new):
    after = update_text(TEXT, data_with(routes=routes))
    assert changed_lines(TEXT, after) == (gone, new)
    assert read(after) == data_with(routes=routes)
    assert "# the slow one" in after


@pytest.mark.parametrize(
    "routes", [[], [{"name": "q"}], ["a", "b"], [{"other": 1}, {"name": "b", "weight": 2}], {"a": 1}]
)
def test_a_list_that_is_replaced_leaves_the_rest_alone(routes):
    after = update_text(TEXT, data_with(routes=routes))
    assert read(after) == data_with(routes=routes)
    for kept in (
        "# Orders of the shop",
        "# how many",
        "# keep it small",
        "# the end",
        "# because",
        "{ rate: 1,  burst: 2 }",
    ):
        assert kept in after


def test_a_new_field_stands_after_the_one_before_it():
    after = update_text(TEXT, {**DATA, "spec": {"size": 6, "mode": "keep", **DATA["spec"]}})
    assert "keep it small\n  mode: keep\n  title" in after


@pytest.mark.parametrize(
    ("text", "data", "expected"),
    [
        ("", {"kind": "A", "spec": {}}, "kind: A\nspec: {}\n"),
        ("# note", {"kind": "A", "spec": {}}, "# note\nkind: A\nspec: {}\n"),
        ("a: 1", {"a": 2}, "a: 2\n"),
        ("a:\nb: 1\n", {"a": 5, "b": 1}, "a: 5\nb: 1\n"),
        ("a:\nb: 1\n", {"a": {"c": "d"}, "b": 1}, "a:\n  c: d\nb: 1\n"),
        ("a: {}\n", {"a": {"b": [{"c": 1}]}}, "a:\n  b:\n    - c: 1\n"),
        ("{a: 1}\n", {"a": 2}, "{a: 2}\n"),
        ("{a: 1}\n", {"a": 1, "b": 2}, "{a: 1, b: 2}\n"),
        ("[1]\n", {"a": 1}, "a: 1\n"),
        ("a: >-\n  x\n  y\nb: 1 # c\n", {"a": "z", "b": 1}, "a: z\nb: 1 # c\n"),
        ('a: "x\n  y"\nb: 1 # c\n', {"a": "z", "b": 1}, "a: z\nb: 1 # c\n"),
        ('a: "x" # c\n', {"a": "y"}, 'a: "y" # c\n'),
        ('a: "x" # c\n', {"a": "y\nz"}, 'a: "y\\nz" # c\n'),
        ("a: 1\r\nb: 2 # c\r\n", {"a": 1, "b": 3}, "a: 1\r\nb: 3 # c\r\n"),
        ("? a\n: 1\nb: 2 # c\n", {"a": 3, "b": 2}, "? a\n: 3\nb: 2 # c\n"),
        ("- x\n", {"kind": "A"}, "kind: A\n"),
        ("a:\n- - x\n  - z\n", {"a": [["z"]]}, "a:\n- - z\n"),
        ("a:\n-\n  b: 1 # c\n- - - x\n", {"a": [{"b": 2}, [["x"]]]}, "a:\n-\n  b: 2 # c\n- - - x\n"),
        ("# c\na:\n- - x\n", {"a": [["w", "x"]]}, "# c\na:\n- - w\n  - x\n"),
        ("a:\n-\n  # c-d\n  b: 1\n- c\n", {"a": ["c"]}, "a:\n- c\n"),
        ("a:\n- 😀: 1 # é\n  b: 2\n", {"a": [{"😀": 1, "b": 3}]}, "a:\n- 😀: 1 # é\n  b: 3\n"),
        ("a: |+\n  x\n\nb: 1\n", {"a": "x\n\n", "b": 2}, "a: |+\n  x\n\nb: 2\n"),
        ("a: |\n  x\n\n\n# c\nb: 1\n", {"a": "x\n", "m": 1, "b": 1}, "a: |\n  x\nm: 1\n\n\n# c\nb: 1\n"),
        ("--- # start\na: 1\n...\n", {"a": 2}, "--- # start\na: 2\n...\n"),
        ("a: 1\nb: 2\n", {"c": 3}, "c: 3\n"),
        ("a: 1\n", {"a": 6.0}, "a: 6\n"),
    ],
)
def test_odd_layouts_are_edited_in_place(text, data, expected):
    after = update_text(text, data)
    assert after == expected
    assert read(after) == data


def test_a_list_at_the_top_can_be_edited_too():
    assert editing._edited("- x # a\n- y\n", ["x", "y"], ["x", "z"]) == "- x # a\n- z\n"


def test_a_text_that_cannot_be_read_is_never_thrown_away():
    with pytest.raises(InvalidFile):
        update_text("a: &x 1\n", {"a": 1})


@pytest.mark.parametrize("value", ["x\x1by", "x\u202ey", "\ud800"])
def test_data_that_no_file_may_hold_is_refused(value):
    with pytest.raises(InvalidFile):
        update_text("a: 1\n", {"a": value})


def test_what_cannot_be_put_in_place_is_written_anew(monkeypatch):
    monkeypatch.setattr(editing, "_edited", lambda before, old, new: "a: wrong\n")
    assert update_text("a: 1\n", {"a": 2}) == "a: 2\n"


AWKWARD = [
    "no",
    "1e3",
    "22:22",
    "012",
    "",
    "a: b",
    "- x",
    "# c",
    "a\nb\n",
    "a\nb",
    "x\n\n",
    "~",
    "null",
    "it's",
    '"q"',
    "%",
    "@x",
    "0x1f",
    "é",
    "😀",
    "---",
    "key:",
    "a #b",
    "|",
    "!t",
    "&a",
    " lead",
    "trail ",
    "\n",
    "10.0.0.1",
    "7d",
]
TEXTS = st.sampled_from(AWKWARD) | st.text("ab: -#'\"{}[],\n", max_size=6)
KEYS = st.sampled_from(["a", "b", "c", "name", "no", "1", "x y", "k:", "#"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.just(1.5) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=5)


@settings(max_examples=250, deadline=None)
@given(DOCUMENTS, DOCUMENTS, st.booleans())
def test_a_text_reads_back_as_what_was_set(before, after, crlf):
    text = render(before).replace("\n", "\r\n") if crlf else render(before)
    assert read(update_text(text, after)) == after


@settings(max_examples=250, deadline=None)
@given(DOCUMENTS, DOCUMENTS)
@example({"a": ":\n "}, {"a": ":\n"})
def test_the_house_style_is_always_edited_in_place(before, after):
    assert read(editing._edited(render(before), before, after)) == after
