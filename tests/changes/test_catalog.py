# ruff: noqa: E501 - a case of a table is one line
"""The catalogue is read whole or refused, and its kinds speak so that a person can act."""

import shutil
from pathlib import Path

import pytest
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from changes import catalog as catalog_module
from changes.catalog import CatalogError, load
from changes.documents import Address, Document, canonical_json
from changes.schema import Schema, matches, resolve, values_at
from changes.schema_rules import schema_problems
from tests.changes.trees import CATALOGUE, KINDS

QUEUE = KINDS.kinds["Queue"]
SUBSCRIPTION = KINDS.kinds["Subscription"]
PLAYBOOKS = Path(__file__).parents[2] / "playbooks"


def messages(spec, **more):
    return {problem.field: problem.message for problem in QUEUE.problems({"size": 5, **spec}, **more)}


def test_the_test_catalogue_loads_in_its_order():
    assert list(KINDS.types) == ["directory", "queueing"]
    assert KINDS.types["queueing"].kinds == ("Queue", "Subscription")
    assert (QUEUE.type, QUEUE.title, QUEUE.identity, QUEUE.keywords) == ("queueing", "Queue", ("name",), ("messages",))
    assert KINDS.kinds["Account"].identity == ("name",)
    assert KINDS.kinds["Account"].secrets["password"].generate
    assert not KINDS.types["queueing"].secrets["token"].required


def test_the_catalogue_that_is_shipped_loads():
    shipped = load([PLAYBOOKS])
    assert shipped.types
    for kind in shipped.kinds.values():
        assert kind.problems(kind.example, name="example") == ()


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"size": 0}, "spec.size", "Must be at least 1 messages (is 0)."),
        ({"size": 1001}, "spec.size", "Must be at most 1000 messages (is 1001)."),
        ({"size": "5"}, "spec.size", 'Must be a whole number (is "5"); remove the quotes.'),
        ({"size": "many"}, "spec.size", 'Must be a whole number (is "many").'),
        ({"size": 1.5}, "spec.size", "Must be a whole number (is 1.5)."),
        ({"size": True}, "spec.size", "Must be a whole number (is true)."),
        ({"title": 7}, "spec.title", "Must be a text (is 7); put it in quotes."),
        ({"title": ""}, "spec.title", "Must not be empty."),
        ({"title": "x" * 21}, "spec.title", "Must have at most 20 characters (has 21)."),
        ({"title": "a\nb"}, "spec.title", "Must be one line: remove the line break."),
        ({"durable": "true"}, "spec.durable", 'Must be true or false (is "true"); remove the quotes.'),
        ({"name": "Bad Name"}, "spec.name", '"Bad Name" does not have the form ^[a-z][a-z0-9_]{0,30}$.'),
        (
            {"mode": "comapct"},
            "spec.mode",
            'Must be one of "keep", "compact", "drop" (is "comapct"). Did you mean \'compact\'?',
        ),
        ({"mode": 5}, "spec.mode", None),
        ({"ratio": 0}, "spec.ratio", "Must be more than 0 (is 0)."),
        ({"ratio": 1}, "spec.ratio", "Must be less than 1 (is 1)."),
        ({"ratio": 0.3}, "spec.ratio", "Must be a multiple of 0.25 (is 0.3)."),
        ({"sise": 5}, "spec.sise", "There is no field 'sise'; did you mean 'size'?"),
        ({"limits": {"rate": "1"}}, "spec.limits.rate", 'Must be a whole number (is "1"); remove the quotes.'),
        ({"limits": {"zzz": 1}}, "spec.limits.zzz", "There is no field 'zzz'; known are rate, burst."),
        ({"labels": {"A": "x"}}, "spec.labels", 'The key is not allowed: "A" does not have the form ^[a-z]+$.'),
        ({"labels": {"a": 1}}, "spec.labels.a", "Must be a text (is 1); put it in quotes."),
        ({"labels": {"a": "1", "b": "2", "c": "3"}}, "spec.labels", "Must have at most 2 fields."),
        ({"tags": []}, "spec.tags", "Must have at least 1 entry."),
        ({"tags": ["a", "b", "c", "d"]}, "spec.tags", "Must have at most 3 entries."),
        ({"tags": ["a", "a"]}, "spec.tags", "An entry is there twice: remove one of them."),
        ({"tags": "a"}, "spec.tags", 'Must be a list (is "a").'),
        ({"routes": [{"name": "a"}, {"weight": 1}]}, "spec.routes.1.name", "name is required: add it."),
        (
            {"routes": [{"name": "a", "wieght": 2}]},
            "spec.routes.0.wieght",
            "There is no field 'wieght'; did you mean 'weight'?",
        ),
        ({"target": "here"}, "spec.target", None),
        ({"login": "x"}, "spec.realm", "realm is required because of another field that is set: add it."),
        ({"mode": "compact"}, "spec.compaction", "compaction is required with these values: add it."),
        ({"mode": "compact", "compaction": 3}, "spec.compaction", "Must be at least 5 (is 3)."),
        ({"compaction": 7}, "spec.compaction", "Is not allowed here: remove it."),
    ],
)
def test_a_broken_rule_is_told_in_a_sentence(spec, field, message):
    found = messages(spec)
    assert list(found) == [field]
    assert message is None or found[field] == message


def test_alternatives_are_told_together():
    assert messages({"target": "here"})["spec.target"] == (
        'None of the alternatives fits. "here" is not an IPv4 address like 10.0.0.1. '
        'Or: Must be a whole number (is "here").'
    )


def test_a_long_value_is_shortened():
    assert len(messages({"name": "x" * 500})["spec.name"]) < 130


def test_problems_know_the_line_of_the_nearest_field():
    lines = {"spec": 2, "spec.routes": 4, "spec.routes.0": 5}
    spec = {"size": 0, "routes": [{"weight": 1}]}
    found = [(problem.file, problem.line, problem.field) for problem in QUEUE.problems(spec, file="f.yml", lines=lines)]
    assert found == [("f.yml", 2, "spec.size"), ("f.yml", 5, "spec.routes.0.name")]


def test_a_documents_name_must_fit_where_it_names_the_thing():
    assert messages({}, name="orders") == {}
    assert list(messages({}, name="my-orders")) == ["spec.name"]
    assert messages({"name": "my_orders"}, name="my-orders") == {}


@pytest.mark.threat("values.lines")
def test_text_of_several_lines_needs_the_schemas_word():
    assert messages({"notes": "a\nb\n"}) == {}
    assert set(messages({"tags": ["a\nb"], "labels": {"k": "c\nd"}})) == {"spec.tags.0", "spec.labels.k"}


def test_defaults_are_applied_deeply_and_in_the_order_of_the_schema():
    spec = {"routes": [{"name": "a"}, {"name": "b", "weight": 5}], "size": 5}
    full = QUEUE.with_defaults(spec)
    assert full == {
        "size": 5,
        "retention": 24,
        "mode": "keep",
        "limits": {"rate": 10},
        "routes": [{"name": "a", "weight": 1}, {"name": "b", "weight": 5}],
        "durable": True,
    }
    assert list(full) == ["size", "retention", "mode", "limits", "routes", "durable"]
    assert spec == {"routes": [{"name": "a"}, {"name": "b", "weight": 5}], "size": 5}
    assert QUEUE.with_defaults(full) == full


def test_defaults_of_branches_references_and_maps_are_applied():
    schema = Schema(
        {
            "type": "object",
            "properties": {
                "mode": {"default": "a"},
                "map": {"additionalProperties": {"properties": {"x": {"default": 1}}}},
                "ref": {"$ref": "#/$defs/r"},
                "list": {"type": "array", "items": True},
            },
            "allOf": [{"properties": {"all": {"default": 2}}}],
            "if": {"properties": {"mode": {"const": "a"}}},
            "then": {"properties": {"then": {"default": 3}}},
            "else": {"properties": {"else": {"default": 4}}},
            "$defs": {"r": {"$ref": "#/$defs/s"}, "s": {"default": {}, "properties": {"y": {"default": 5}}}},
        },
        "spec",
    )
    spec = {"map": {"k": {}, "l": 7}, "list": [1], "other": None}
    assert schema.with_defaults(spec) == {
        "mode": "a",
        "map": {"k": {"x": 1}, "l": 7},
        "ref": {"y": 5},
        "list": [1],
        "other": None,
        "all": 2,
        "then": 3,
    }
    assert schema.with_defaults({"mode": "b"})["else"] == 4


@pytest.mark.threat("values.fuzz")
@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*QUEUE.spec_schema["properties"], "zz"]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab\n", max_size=3),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "rate", "a"]), inner),
            max_leaves=5,
        ),
    )
)
def test_any_spec_gets_defaults_once_and_sentences_or_none(spec):
    full = QUEUE.with_defaults(spec)
    assert QUEUE.with_defaults(full) == full
    for problem in QUEUE.problems(spec, name="orders"):
        assert problem.message.endswith((".", "?"))
        assert problem.field.startswith("spec")


def test_a_field_that_only_the_document_can_name_is_not_a_field_of_the_spec():
    account = KINDS.kinds["Account"]
    assert account.problems({}, name="rita") == ()
    assert [problem.field for problem in account.problems({"name": "rita"}, name="rita")] == ["spec.name"]
    assert account.complete({}, "rita") == {"name": "rita", "admin": False}


def document(kind, spec, name="orders"):
    return Document(Address("payments", "queue-test", kind.name, name), spec)


def test_an_identity_comes_from_the_spec_then_from_the_documents_name():
    assert QUEUE.identity_of(document(QUEUE, {"size": 5})) == '{"name":"orders"}'
    assert QUEUE.identity_of(document(QUEUE, {"name": "o_v1"})) == '{"name":"o_v1"}'
    two = document(SUBSCRIPTION, {"queue": "q"}, "billing")
    assert SUBSCRIPTION.identity_of(two) == canonical_json({"queue": "q", "reader": "billing"})
    assert SUBSCRIPTION.shown_identity(two) == "q billing"
    assert QUEUE.complete({}, "orders")["name"] == "orders"
    assert QUEUE.complete({"name": "x"}, "orders")["name"] == "x"


def test_a_default_can_be_part_of_an_identity(copy):
    path = copy / "queueing/kinds/Subscription.yml"
    path.write_text(path.read_text().replace("reader: {type: string}", "reader: {type: string, default: all}"))
    kind = load([copy]).kinds["Subscription"]
    assert kind.shown_identity(document(kind, {"queue": "q"})) == "q all"


def test_references_are_found_in_fields_and_lists():
    found = SUBSCRIPTION.references({"queue": "a", "fallbacks": ["b", 7], "follows": "c"})
    assert [(reference.field, reference.kind, reference.value) for reference in found] == [
        ("spec.queue", "Queue", "a"),
        ("spec.fallbacks.0", "Queue", "b"),
    ]
    assert KINDS.reference_identity(found[0]) == '{"name":"a"}'


def test_a_connection_is_checked_and_its_local_paths_are_known():
    type = KINDS.types["queueing"]
    assert type.connection_problems({"host": "a.example.org"}) == ()
    (problem,) = type.connection_problems({"host": "a", "port": 0}, file="systems/a.yml", lines={"connection.port": 3})
    assert (problem.line, problem.field) == (3, "connection.port")
    assert type.full_connection({"host": "a"}) == {"host": "a", "port": 5672}
    assert type.local_paths({"host": "a", "state_directory": "/var/lib/x"}) == ("/var/lib/x",)
    assert type.local_paths({"host": "a"}) == ()


def test_a_kind_of_no_catalogue_has_no_kind():
    stranger = Document(Address("a", "b", "Stranger", "c"), {})
    assert KINDS.kind_of(stranger) is None
    assert KINDS.kind_of(document(QUEUE, {})) is QUEUE


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(CATALOGUE, tmp_path / "catalogue")
    return tmp_path / "catalogue"


def refused(root: Path, *others: Path):
    with pytest.raises(CatalogError) as caught:
        load([root, *others])
    return [(Path(problem.file).name, problem.field, problem.message) for problem in caught.value.problems]


QUEUE_FILE = "queueing/kinds/Queue.yml"


@pytest.mark.parametrize(
    ("file", "old", "new", "field", "said"),
    [
        (QUEUE_FILE, "title: Queue\n", "titel: Queue\n", "titel", "did you mean 'title'"),
        (QUEUE_FILE, "title: Queue\n", "title: ''\n", "title", "must be a text"),
        (QUEUE_FILE, "keywords: [messages]", "keywords: messages", "keywords", "list of texts"),
        (QUEUE_FILE, "identity: [name]", "identity: [nmae]", "identity", "did you mean 'name'"),
        (QUEUE_FILE, "identity: [name]", "identity: []", "identity", "at least one"),
        (QUEUE_FILE, "maximum: 1000", "maximun: 1000", "spec.properties.size.maximun", "did you mean 'maximum'"),
        (QUEUE_FILE, "maximum: 1000", "maximum: x", "spec.properties.size.maximum", "not a JSON Schema"),
        (QUEUE_FILE, "x-unit: messages", "x-unit: 5", "spec.properties.size.x-unit", "text like hours"),
        (QUEUE_FILE, "x-multiline: true", "x-multiline: 1", "spec.properties.notes.x-multiline", "true or false"),
        (QUEUE_FILE, "durable: {type: boolean", "durable: {x-reference: Queue", "spec.properties.durable.x-reference", "{kind:"),
        (QUEUE_FILE, "durable: {type: boolean", "durable: {x-reference: {kind: Queue, system: all}", "spec.properties.durable.x-reference", "same"),
        (QUEUE_FILE, "durable: {type: boolean", "durable: {x-choices: {a: b}", "spec.properties.durable.x-choices", "teams"),
        (QUEUE_FILE, "durable: {type: boolean, default: true}", "durable: 7", "spec.properties.durable", "mapping"),
        (QUEUE_FILE, "default: 24", "default: often", "spec.properties.retention.default", "refused by its own field"),
        (QUEUE_FILE, "#/$defs/route", "#/$defs/rout", "spec.properties.routes.items.$ref", "names nothing"),
        (QUEUE_FILE, "items: {$ref: '#/$defs/route'}".replace("'", '"'), "$ref: '#/properties/routes'", None, "leads back to itself"),
        (QUEUE_FILE, "^[a-z]+$", "(", "spec.properties.labels.propertyNames.pattern", "not a JSON Schema"),
        (QUEUE_FILE, "#/$defs/route", "https://example.org/x", "spec.properties.routes.items.$ref", "part of this file"),
        (QUEUE_FILE, "weight: {type: integer, default: 1}", "weight: {$ref: '#/$defs/route'}", None, "leads back to itself"),
        (QUEUE_FILE, "  type: object\n  additionalProperties: false\n  required: [size]", "  type: object", "spec", "additionalProperties"),
        (QUEUE_FILE, "  mode: Make a new", "  mood: Make a new", "immutable.mood", "did you mean 'mode'"),
        (QUEUE_FILE, "on: decrease, field: retention", "on: shrink, field: retention", "risky.1.on", "must be one of"),
        (QUEUE_FILE, "on: decrease, field: retention", "on: decrease", "risky.1.field", "needs a field"),
        (QUEUE_FILE, "on: decrease, field: retention", "on: equals, field: retention", "risky.1.value", "needs a value"),
        (QUEUE_FILE, "on: decrease, field", "on: decrease, value: 1, field", "risky.1.value", "takes no value"),
        (QUEUE_FILE, "on: decrease, field", "on: matches, value: '(', field", "risky.1.value", "regular expression"),
        (QUEUE_FILE, "  shards: A shard", "  shard: A shard", "grows.shard", "did you mean 'shards'"),
        (QUEUE_FILE, "value: false,", "value: false, where: {mood: x},", "risky.3.where", "did you mean 'mode'"),
        (QUEUE_FILE, "value: false,", "value: false, where: keep,", "risky.3.where", "a mapping of fields to values"),
        (QUEUE_FILE, "on: delete", "on: delete, where: {mode: keep}", "risky.0.where", "for a risk of a field"),
        (QUEUE_FILE, "on: delete", "on: delete, unlimited: 0", "risky.0.unlimited", "takes no unlimited"),
        (QUEUE_FILE, "on: delete", "on: delete, field: size", "risky.0.field", "takes no field"),
        (QUEUE_FILE, "field: retention", "field: retentoin", "risky.1.field", "did you mean 'retention'"),
        (QUEUE_FILE, 'message: "Costs money."', "massage: x", "risky.5.massage", "did you mean 'message'"),
        (QUEUE_FILE, "example: {size: 5}", "example: {size: 0}", "example.size", "at least 1"),
        (QUEUE_FILE, "example: {size: 5}", "", "example", "is missing"),
        (QUEUE_FILE, "identity: [name]", "identity: &x [name]", "identity", "anchors"),
        ("queueing/kinds/Subscription.yml", "{kind: Queue, system: same}", "{kind: Quue}", "spec.queue", "not a kind of"),
        ("queueing/kinds/Subscription.yml", "{kind: Queue}", "{kind: Subscription}", "spec.fallbacks.*", "more than one field"),
        ("queueing/kinds/Subscription.yml", "{kind: Queue}", "{kind: Account}", "spec.fallbacks.*", "not a kind of"),
        ("queueing/kinds/Subscription.yml", "x-choices: {kind: Subscription}", "x-choices: {kind: Sub}", "spec.follows", "does not have"),
        ("queueing/kinds/Subscription.yml", "x-choices: {kind: Subscription}", "x-choices: {kind: Queue, field: taggs.*}", "spec.follows", "did you mean 'tags'"),
        ("queueing/kinds/Subscription.yml", "x-choices: {kind: Subscription}", "x-choices: {kind: Queue, field: 5}", "spec.properties.follows.x-choices", "teams"),
        ("queueing/kinds/Subscription.yml", "x-choices: {kind: Subscription}", "x-choices: {systems: queueing, field: a}", "spec.properties.follows.x-choices", "teams"),
        ("queueing/kinds/Subscription.yml", "x-choices: {kind: Subscription}", "x-choices: {systems: que}", "spec.follows", "does not have"),
        ("queueing/system.yml", "kinds: [Queue, Subscription]", "kinds: [Queue, Subscriptoin]", "kinds", "did you mean 'Subscription'"),
        ("queueing/system.yml", "kinds: [Queue, Subscription]", "kinds: [Queue]", "kinds", "is not listed"),
        ("queueing/system.yml", "title: Password", "titel: Password", "secrets.password.titel", "did you mean"),
        ("queueing/system.yml", "required: true", "required: 1", "secrets.password.required", "true or false"),
        ("queueing/system.yml", "  password: {", "  pass-word: {", "secrets.pass-word", "lower-case"),
        ("queueing/system.yml", "type: object", "type: objct", "connection.type", "not a JSON Schema"),
        ("directory/system.yml", "connection: {type: object, additionalProperties: false, properties: {}}", "connection: 5", "connection", "JSON Schema"),
        ("directory/system.yml", "kinds: [Account]", "kinds: [Account]\nsecrets: []", "secrets", "mapping"),
        ("directory/kinds/Account.yml", "title: Account", "title: Account\nimmutable: []", "immutable", "mapping"),
    ],
)  # fmt: skip
def test_a_catalogue_file_that_is_not_whole_names_file_and_key(copy, file, old, new, field, said):
    path = copy / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    found = refused(copy)
    assert any(
        name == path.name and (field is None or where == field) and said in text for name, where, text in found
    ), found


def test_a_file_that_is_no_mapping_is_refused(copy):
    (copy / QUEUE_FILE).write_text("- x\n")
    (copy / "directory/system.yml").write_text("- x\n")
    assert ("Queue.yml", "", "The file must be a mapping of keys.") in refused(copy)


def test_a_risk_needs_a_message(copy):
    path = copy / QUEUE_FILE
    path.write_text(path.read_text().replace('message: "Costs money."', "message: ''"))
    assert refused(copy) == [("Queue.yml", "risky.5", "A risk needs a message.")]


def test_names_of_types_and_kinds_keep_their_alphabet(copy):
    (copy / "queueing").rename(copy / "Queue_ing")
    (copy / "Queue_ing/kinds/Queue.yml").rename(copy / "Queue_ing/kinds/queue.yml")
    found = " ".join(text for _, _, text in refused(copy))
    assert "cannot be the name of a type" in found
    assert "begins with a capital letter" in found


def test_a_kind_or_a_type_may_be_there_only_once(copy, tmp_path):
    shutil.copytree(CATALOGUE / "directory", tmp_path / "more" / "directory")
    found = " ".join(text for _, _, text in refused(copy, tmp_path / "more"))
    assert "The system type is already in" in found
    assert "The kind Account is already one of directory." in found


def test_a_folder_that_is_missing_is_named(tmp_path):
    assert refused(tmp_path / "nowhere") == [("nowhere", "", "This catalogue folder does not exist.")]


def test_an_error_says_everything_at_once(copy):
    (copy / QUEUE_FILE).write_text("title: x\nspec: {}\n")
    with pytest.raises(CatalogError, match="Queue.yml.*"):
        load([copy])


def test_a_types_digest_follows_its_files(copy):
    before = load([copy]).types
    (copy / "queueing" / "apply.yml").write_text("- hosts: all\n")
    (copy / "queueing" / "__pycache__").mkdir()
    (copy / "queueing" / "__pycache__" / "x.pyc").write_bytes(b"x")
    after = load([copy]).types
    assert before["queueing"].digest != after["queueing"].digest
    assert before["directory"].digest == after["directory"].digest


def test_a_types_digest_follows_the_plugins_that_all_types_share(copy, tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(catalog_module, "SHARED_PLUGINS", shared)
    before = load([copy]).types
    (shared / "module_utils.py").write_text("changed = True\n")
    after = load([copy]).types
    assert all(before[name].digest != after[name].digest for name in before)


def test_the_installations_catalogue_is_read_once(copy):
    catalog_module.catalog.cache_clear()
    with override_settings(MERGEYARD_CATALOG=[copy]):
        assert catalog_module.catalog() is catalog_module.catalog()
        assert list(catalog_module.catalog().types) == ["directory", "queueing"]
    catalog_module.catalog.cache_clear()


def test_a_schema_may_nest_in_all_the_usual_ways():
    node = {"type": "string", "x-unit": "u"}
    data = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"a": {"anyOf": [node, {"not": {"const": 1}}]}, "b": True, "c": {"x-choices": "teams"}},
        "dependentSchemas": {"a": {"required": ["b"]}},
    }
    assert schema_problems(data) == []
    assert ((("a",), "u")) in Schema(data, "spec").marked("x-unit")
    found = {problem.field: problem.message for problem in Schema(data, "spec").problems({"a": "x"}, file="", lines={})}
    assert found == {"spec.b": "b is required because of another field that is set: add it."}


def test_rarer_rules_have_sentences_too():
    data = {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 2,
        "properties": {
            "const": {"const": 3},
            "not": {"not": {"const": 1}},
            "contains": {"contains": {"const": 1}},
            "short": {"type": "string", "minLength": 3},
            "any": {"anyOf": [{"type": "integer"}, {"type": "boolean"}]},
            "both": {"oneOf": [{"minimum": 1}, {"maximum": 5}]},
            "types": {"type": ["string", "null"]},
            "format": {"type": "string", "format": "uuid"},
            "few": {"contains": {"const": 1}, "maxContains": 1},
        },
    }
    schema = Schema(data, "spec")
    spec = {
        "const": 4,
        "not": 1,
        "contains": [2],
        "short": "x",
        "any": "x",
        "both": 3,
        "types": 3,
        "format": "x",
        "few": [1, 1],
    }
    found = {
        problem.field.removeprefix("spec."): problem.message for problem in schema.problems(spec, file="", lines={})
    }
    assert found["const"] == "Must be 3 (is 4)."
    assert found["not"] == "This combination of values is not allowed: change one of them."
    assert found["contains"] == "None of the entries is of the sort that must be there: add one."
    assert found["short"] == "Must have at least 3 characters."
    assert found["any"].startswith("None of the alternatives fits.")
    assert found["both"] == "More than one of the alternatives fits: say which one you mean."
    assert found["types"] in ("Must be empty or a text (is 3).", "Must be a text or empty (is 3).")
    assert found["format"] == '"x" is not a UUID.'
    assert "few" in found
    assert [p.message for p in schema.problems({}, file="", lines={})] == ["Must have at least 2 fields."]


def test_a_pattern_that_takes_for_ever_is_given_up():
    schema = Schema({"properties": {"a": {"type": "string", "pattern": "^(a|b|ab)*(?=c)$"}}}, "spec")
    (problem,) = schema.problems({"a": "ab" * 30}, file="", lines={})
    assert (problem.id, problem.field) == ("schema.pattern", "spec.a")
    assert "too repetitive" in problem.message


def test_a_rule_without_a_sentence_of_its_own_is_told_too():
    schema = Schema({"properties": {"a": {"unevaluatedItems": False}}}, "spec")
    (problem,) = schema.problems({"a": [1]}, file="", lines={})
    assert (problem.id, problem.field) == ("schema.unevaluatedItems", "spec.a")


def test_places_in_a_value_are_matched_by_pattern():
    assert matches(("a", "*", "b"), ["a", 3, "b"])
    assert not matches(("a",), ["a", 0])
    value = {"a": [{"b": 1}, {"b": 2}], "m": {"x": {"b": 3}}, "s": "t"}
    assert list(values_at(value, ("a", "*", "b"), "spec")) == [("spec.a.0.b", 1), ("spec.a.1.b", 2)]
    assert list(values_at(value, ("m", "*", "b"), "spec")) == [("spec.m.x.b", 3)]
    assert list(values_at(value, ("s", "b"), "spec")) == []


def test_a_local_reference_is_resolved_or_refused():
    data = {"$defs": {"a/b": {"type": "string"}, "l": [1]}}
    assert resolve(data, "#/$defs/a~1b") == {"type": "string"}
    assert resolve(data, "#") is data
    with pytest.raises(KeyError):
        resolve(data, "#/$defs/l/0")
