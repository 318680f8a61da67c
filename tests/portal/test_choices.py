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
