"""A schema and a value become fields."""

from portal.forms.posted import BLANK, Pairs
from portal.forms.tree import Drawing, Option, hint, titled
from tests.portal.test_forms_reading import TOPIC


def draw(value, **around):
    return Drawing(root=TOPIC, **around).draw(TOPIC, value, name="spec")


def by_name(field):
    return {each.name: each for each in field.walk()}


def test_every_widget_is_found():
    fields = by_name(draw({"readers": ["a"], "labels": {"tier": "gold"}, "servers": [{"host": "x"}]}))
    assert {name: each.widget for name, each in fields.items()} == {
        "spec": "object",
        "spec.name": "text",
        "spec.partitions": "integer",
        "spec.ratio": "number",
        "spec.cleanup": "radio",
        "spec.tiered": "boolean",
        "spec.note": "multiline",
        "spec.labels": "map",
        "spec.labels.0.value": "text",
        "spec.readers": "list",
        "spec.readers.0": "text",
        "spec.servers": "list",
        "spec.servers.0": "object",
        "spec.servers.0.host": "text",
        "spec.servers.0.port": "integer",
        "spec.limits": "object",
        "spec.limits.rate": "integer",
        "spec.check": "object",
        "spec.check.path": "text",
    }


def test_a_condition_shows_its_fields():
    assert "spec.min_age" not in by_name(draw({}))
    assert "spec.min_age" in by_name(draw({"cleanup": "compact"}))


def test_a_default_is_chosen_or_shown_as_placeholder():
    fields = by_name(draw({}))
    assert fields["spec.cleanup"].text == "delete"
    assert fields["spec.tiered"].text == "true"


def test_five_choices_are_a_select_with_a_way_to_choose_nothing():
    schema = {"enum": ["a", "b", "c", "d", "e"]}
    field = Drawing(root=schema).draw(schema, "z", name="x")
    assert field.widget == "select"
    assert field.options[0] == Option("", "Not set")
    assert field.options[-1] == Option("z", "z", "not one of the choices")


def test_errors_stand_at_the_document_path_past_blank_rows():
    fields = by_name(draw({"readers": [BLANK, "b"]}, errors={"spec.readers.0": ("is wrong",)}))
    assert fields["spec.readers.1"].errors == ("is wrong",)
    assert fields["spec.readers.0"].errors == ()


def test_a_map_draws_its_rows_with_their_keys():
    fields = by_name(draw({"labels": Pairs([("a", "1"), ("a", "2")])}))
    assert [fields[f"spec.labels.{n}.value"].key for n in (0, 1)] == ["a", "a"]


def test_what_was_changed_is_marked_with_what_it_was():
    fields = by_name(draw({"partitions": 12, "name": "x"}, base={"spec.partitions": "6", "spec.name": "x"}))
    assert (fields["spec.partitions"].changed, fields["spec.partitions"].was) == (True, "6")
    assert not fields["spec.name"].changed
    assert not fields["spec.cleanup"].changed


def test_a_text_in_a_number_is_drawn_as_typed():
    assert by_name(draw({"partitions": "abc"}))["spec.partitions"].text == "abc"


def test_a_value_of_another_shape_is_left_to_the_yaml():
    assert by_name(draw({"partitions": [1]}))["spec.partitions"].widget == "yaml"


def test_the_structure_changes_only_with_fields():
    assert draw({"partitions": 1}).structure == draw({"partitions": "x"}).structure
    assert draw({}).structure != draw({"cleanup": "compact"}).structure
    assert draw({"readers": ["a"]}).structure != draw({}).structure


def test_references_are_followed_with_their_own_title():
    schema = {
        "type": "object",
        "$defs": {"port": {"type": "integer", "title": "A port", "minimum": 1}},
        "properties": {"http": {"$ref": "#/$defs/port", "title": "HTTP port"}, "other": {"$ref": "#/$defs/port"}},
        "dependentRequired": {"http": ["other"]},
    }
    fields = by_name(Drawing(root=schema).draw(schema, {"http": 80}, name="spec"))
    assert fields["spec.http"].title == "HTTP port"
    assert fields["spec.other"].title == "A port"
    assert fields["spec.other"].required


def test_choices_are_asked_by_the_schema():
    schema = {"type": "string", "x-reference": {"kind": "Role"}}
    field = Drawing(root=schema, choices=lambda s: (Option("r", "r"),)).draw(schema, "r", name="x", required=True)
    assert [option.value for option in field.options] == ["", "r"]


def test_bounds_are_told_in_words():
    assert hint({"minimum": 1, "maximum": 9, "x-unit": "hours"}) == "1 to 9"
    assert hint({"minimum": 0}) == "at least 0"
    assert hint({"maxLength": 63}) == "at most 63 characters"


def test_a_property_without_a_title_gets_one():
    assert titled("spec.max_connections") == "Max connections"
    assert titled("spec.readers.3") == ""
