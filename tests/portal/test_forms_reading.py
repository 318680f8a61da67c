"""A posted form changes only what a person changed."""

import pytest
from django.http import QueryDict

from portal.forms.posted import Action, Pairs, Reader, plain
from portal.forms.shapes import MISSING

TOPIC = {
    "type": "object",
    "additionalProperties": False,
    "required": ["partitions", "limits"],
    "properties": {
        "name": {"type": "string"},
        "partitions": {"type": "integer", "minimum": 1},
        "ratio": {"type": "number"},
        "cleanup": {"enum": ["delete", "compact"], "default": "delete"},
        "min_age": {"type": "integer"},
        "tiered": {"type": "boolean", "default": True},
        "note": {"type": "string", "x-multiline": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "readers": {"type": "array", "items": {"type": "string"}},
        "servers": {
            "type": "array",
            "items": {"type": "object", "properties": {"host": {"type": "string"}, "port": {"type": "integer"}}},
        },
        "limits": {"type": "object", "properties": {"rate": {"type": "integer"}}},
        "check": {"type": "object", "properties": {"path": {"type": "string"}}},
    },
    "if": {"properties": {"cleanup": {"const": "compact"}}},
    "else": {"properties": {"min_age": False}},
}


def read(old, posted, action=None):
    reader = Reader(QueryDict(posted), TOPIC, Action.parse(action) if action else None)
    typed = reader.read(TOPIC, old, "spec", required=True)
    return typed, reader


def written(old, posted, action=None):
    return plain(read(old, posted, action)[0])


def test_an_untouched_form_changes_nothing():
    old = {"partitions": 6, "extra": {"kept": [1]}, "ratio": 1.0, "name": ""}
    posted = (
        "spec.name=&spec.partitions=6&spec.ratio=1.0&spec.cleanup=delete&spec.tiered=true&spec.note=&spec.limits.rate="
    )
    assert written(old, posted) == {**old, "limits": {}}


def test_defaults_are_not_written_until_changed():
    assert written({"limits": {}}, "spec.cleanup=delete&spec.tiered=true") == {"limits": {}}
    assert written({"limits": {}}, "spec.cleanup=compact&spec.tiered=true&spec.tiered=false") == {
        "limits": {},
        "cleanup": "compact",
        "tiered": False,
    }


def test_an_explicitly_written_default_stays_written():
    assert written({"limits": {}, "cleanup": "delete"}, "spec.cleanup=delete")["cleanup"] == "delete"


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("abc", "abc"),
        ("1,000", "1,000"),
        ("012", "012"),
        ("6.5", "6.5"),
        ("１２", "１２"),
        ("9" * 30, "9" * 30),
    ],
)
def test_what_is_no_whole_number_stays_as_typed(typed, value):
    assert written({"limits": {}}, f"spec.partitions={typed}")["partitions"] == value


def test_numbers_take_fractions_and_exponents():
    assert written({"limits": {}}, "spec.ratio=2.5e3")["ratio"] == 2500.0
    assert written({"limits": {}}, "spec.ratio=nan")["ratio"] == "nan"


def test_emptying_a_field_removes_its_key():
    assert "partitions" not in written({"partitions": 6, "limits": {}}, "spec.partitions=")


def test_a_single_line_is_stripped_and_many_lines_are_not():
    posted = "spec.name=+orders+&spec.note=one%0D%0A++two%0D%0A"
    assert written({"limits": {}}, posted) == {"limits": {}, "name": "orders", "note": "one\n  two\n"}


def test_rows_come_in_the_order_posted():
    old = {"limits": {}, "readers": ["a", "b", "c"]}
    posted = "spec.readers.row=&spec.readers.row=2&spec.readers.row=0&spec.readers.2=c&spec.readers.0=a"
    assert written(old, posted)["readers"] == ["c", "a"]


def test_an_added_row_is_drawn_and_not_written():
    typed, reader = read(
        {"limits": {}, "readers": ["a"]}, "spec.readers.row=&spec.readers.row=0&spec.readers.0=a", "add spec.readers"
    )
    assert typed["readers"] == ["a", ""]
    assert plain(typed)["readers"] == ["a"]
    assert reader.focus == "spec.readers.1"


def test_an_added_object_is_written_once_something_is_in_it():
    assert "servers" not in written({"limits": {}}, "spec.servers.row=", "add spec.servers")
    posted = "spec.servers.row=&spec.servers.row=0&spec.servers.0.host=a&spec.servers.0.port="
    assert written({"limits": {}}, posted)["servers"] == [{"host": "a"}]


def test_rows_move_and_leave_by_buttons():
    old = {"limits": {}, "readers": ["a", "b", "c"]}
    posted = "&".join(
        ["spec.readers.row="] + [f"spec.readers.row={n}&spec.readers.{n}={v}" for n, v in enumerate("abc")]
    )
    assert written(old, posted, "up spec.readers 2")["readers"] == ["a", "c", "b"]
    assert written(old, posted, "down spec.readers 0")["readers"] == ["b", "a", "c"]
    assert written(old, posted, "remove spec.readers 1")["readers"] == ["a", "c"]
    assert read(old, posted, "down spec.readers 0")[1].focus == "spec.readers.1.down"
    assert read(old, posted, "remove spec.readers 2")[1].focus == "spec.readers.1.remove"


def test_removing_the_last_row_removes_the_key():
    assert "readers" not in written(
        {"limits": {}, "readers": ["a"]},
        "spec.readers.row=&spec.readers.row=0&spec.readers.0=a",
        "remove spec.readers 0",
    )


def test_an_object_in_a_list_keeps_keys_that_the_form_does_not_show():
    old = {"limits": {}, "servers": [{"host": "a", "weight": 3}, {"host": "b", "weight": 5}]}
    posted = "spec.servers.row=&spec.servers.row=1&spec.servers.1.host=c&spec.servers.1.port="
    assert written(old, posted)["servers"] == [{"host": "c", "weight": 5}]


def test_a_map_takes_rows_of_name_and_value():
    posted = "spec.labels.row=&spec.labels.row=0&spec.labels.0.key=tier&spec.labels.0.value=gold"
    assert written({"limits": {}}, posted)["labels"] == {"tier": "gold"}


def test_a_name_given_twice_is_told_and_the_first_one_written():
    posted = "spec.labels.row=&" + "&".join(
        f"spec.labels.row={n}&spec.labels.{n}.key=tier&spec.labels.{n}.value={v}" for n, v in enumerate(["gold", "tin"])
    )
    typed, reader = read({"limits": {}}, posted)
    assert plain(typed)["labels"] == {"tier": "gold"}
    assert isinstance(typed["labels"], Pairs)
    assert typed["labels"][1] == ("tier", "tin")
    assert reader.problems == [("spec.labels.1.key", "“tier” is there twice; only the first one is in the document.")]


def test_a_value_without_a_name_is_told_and_kept_on_the_page():
    typed, reader = read(
        {"limits": {}}, "spec.labels.row=&spec.labels.row=0&spec.labels.0.key=&spec.labels.0.value=gold"
    )
    assert plain(typed)["labels"] == {}
    assert typed["labels"] == [("", "gold")]
    assert reader.problems[0][0] == "spec.labels.0.key"


def test_a_field_that_a_condition_hides_leaves_the_document():
    old = {"limits": {}, "cleanup": "compact", "min_age": 5}
    assert written(old, "spec.cleanup=delete&spec.min_age=5") == {"limits": {}, "cleanup": "delete"}


def test_a_hidden_value_that_somebody_wrote_as_yaml_stays():
    assert written({"limits": {}, "min_age": 5}, "spec.partitions=2") == {"limits": {}, "min_age": 5, "partitions": 2}


def test_an_optional_group_appears_only_when_something_is_in_it():
    assert "check" not in written({"limits": {}}, "spec.check.path=")
    assert written({"limits": {}}, "spec.check.path=/up")["check"] == {"path": "/up"}
    assert "check" not in written({"limits": {}, "check": {"path": "/up"}}, "spec.check.path=")


def test_a_value_of_another_shape_is_left_alone():
    old = {"limits": {}, "partitions": {"oops": 1}, "readers": "not a list", "labels": [1]}
    posted = "spec.partitions=3&spec.readers.row=&spec.labels.row="
    assert written(old, posted) == old


def test_foreign_row_numbers_are_ignored():
    posted = "spec.readers.row=&spec.readers.row=-1&spec.readers.row=x&spec.readers.row=77&spec.readers.77=z"
    assert written({"limits": {}, "readers": ["a"]}, posted)["readers"] == ["z"]


def test_nothing_posted_reads_as_nothing():
    assert Reader(QueryDict(""), TOPIC).read(TOPIC, MISSING, "spec") == {"limits": {}}
