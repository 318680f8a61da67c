"""What a form offers comes from where the document will be."""

import json

import pytest

from changes.catalog import catalog
from changes.documents import Address
from portal.forms.choices import RepositoryChoices
from tests.changes.trees import tree


@pytest.fixture
def head():
    systems = {"kafka-test": "kafka", "kafka-prod": "kafka", "pg-test": "postgresql"}
    files = {f"systems/{name}.yml": json.dumps({"type": type_, "owners": ["a"]}) for name, type_ in systems.items()}
    for team, system, name in (("a", "kafka-test", "mine"), ("b", "kafka-test", "theirs"), ("a", "kafka-prod", "far")):
        files[f"resources/{team}/{system}/KafkaUser/{name}.yml"] = json.dumps({"kind": "KafkaUser", "spec": {}})
    return tree(files, catalog())


def offered(head, system, schema):
    return [option.value for option in RepositoryChoices(head, Address("a", system, "KafkaAcl", "x"))(schema)]


def test_things_of_the_same_system_are_offered_where_it_has_them_the_own_teams_first(head):
    assert offered(head, "kafka-test", {"x-choices": {"kind": "KafkaUser"}}) == ["mine", "theirs"]
    assert offered(head, "kafka-prod", {"x-choices": {"kind": "KafkaUser"}}) == ["far"]
    assert offered(head, "kafka-prod", {"x-reference": {"kind": "KafkaUser"}}) == ["far"]


def test_things_of_every_system_are_offered_on_a_system_that_has_none_of_that_kind(head):
    assert offered(head, "pg-test", {"x-choices": {"kind": "KafkaUser"}}) == ["far", "mine", "theirs"]


@pytest.fixture
def groups():
    systems = {name: {"type": "openldap", "owners": ["a"]} for name in ("ldap-test", "ldap-prod")}
    files = {f"systems/{name}.yml": json.dumps(system) for name, system in systems.items()}
    for team, system, name, members in (
        ("b", "ldap-test", "theirs", ["carl", "anna", "bert"]),
        ("a", "ldap-test", "mine", ["anna"]),
        ("c", "ldap-test", "more", ["carl"]),
        ("a", "ldap-prod", "far", ["dora"]),
    ):
        document = {"kind": "LdapGroup", "spec": {"members": members}}
        files[f"resources/{team}/{system}/LdapGroup/{name}.yml"] = json.dumps(document)
    return tree(files, catalog())


def test_what_documents_of_the_same_system_say_in_a_field_is_offered_and_whose_it_is(groups):
    schema = {"x-choices": {"kind": "LdapGroup", "field": "members"}}
    choices = RepositoryChoices(groups, Address("a", "ldap-test", "LdapGroup", "x"))(schema)
    assert [(option.value, option.help) for option in choices] == [
        ("anna", "of a and 1 more"),
        ("bert", "of b"),
        ("carl", "of b and 1 more"),
    ]
    in_draft = frozenset(path for path in groups.documents if "/more" in path)
    [*_, carl] = RepositoryChoices(groups, Address("a", "ldap-test", "LdapGroup", "x"), in_draft)(schema)
    assert (carl.value, carl.help) == ("carl", "in this request")


@pytest.mark.parametrize("field", ["members.*", "members.*.name", "nothing"])
def test_a_field_is_found_through_lists_and_one_that_nobody_has_gives_nothing(groups, field):
    schema = {"x-choices": {"kind": "LdapGroup", "field": field}}
    choices = RepositoryChoices(groups, Address("a", "ldap-prod", "LdapGroup", "x"))(schema)
    assert [option.value for option in choices] == (["dora"] if field == "members.*" else [])


def test_every_kind_of_the_catalogue_that_offers_a_field_offers_what_its_example_has():
    """A wrong place would offer nothing and say nothing."""
    offering = 0
    for kind in catalog().kinds.values():
        for _, choice in kind.schema.marked("x-choices"):
            if isinstance(choice, dict) and "field" in choice:
                named = catalog().kinds[choice["kind"]]
                spec = named.with_defaults(named.example)
                files = {
                    "systems/here.yml": json.dumps({"type": named.type, "owners": ["a"]}),
                    f"resources/a/here/{named.name}/one.yml": json.dumps({"kind": named.name, "spec": spec}),
                }
                head = tree(files, catalog())
                assert RepositoryChoices(head, Address("a", "here", kind.name, "x"))({"x-choices": choice}), kind.name
                offering += 1
    assert offering > 5
