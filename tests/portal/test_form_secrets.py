"""The form offers the places that a team really has, and takes nothing else for a secret."""

from dataclasses import dataclass, field

import pytest
from django.http import QueryDict

from changes.kinds import SecretField
from portal.forms.document import Surroundings, read_post, refusal, sections


@dataclass
class Role:
    secrets: dict
    spec_schema: dict = field(default_factory=lambda: {"type": "object", "properties": {}})
    immutable: dict = field(default_factory=dict)


ROLE = Role({"password": SecretField("password", "Password", "", True, True)})
PAIR = Role({**ROLE.secrets, "pin": SecretField("pin", "PIN", "", True, True)})


def offered(prefixes, kind=ROLE):
    around = Surroundings(secret_prefixes=prefixes, name="orders")
    drawn = next(each for each in sections(kind, {}, around) if each.id == "secrets")
    return [each.children[0].placeholder for each in drawn.fields]


@pytest.mark.parametrize(
    ("prefixes", "places"),
    [
        ((), [""]),
        (("file:pay/",), ["file:pay/orders"]),
        (("vault:pay/",), ["vault:pay/orders#password"]),
        (("ansible-vault:pay.yml",), ["ansible-vault:pay.yml#orders"]),
        (("ansible-vault:pay/", "vault:pay/"), ["vault:pay/orders#password"]),
    ],
)
def test_the_first_place_with_room_is_offered(prefixes, places):
    assert offered(prefixes) == places


def test_two_secrets_of_a_document_get_two_places():
    assert offered(("file:pay/",), PAIR) == ["file:pay/orders-password", "file:pay/orders-pin"]
    assert offered(("vault:pay/",), PAIR) == ["vault:pay/orders#password", "vault:pay/orders#pin"]


@pytest.mark.parametrize(
    ("prefixes", "written"),
    [
        (("ansible-vault:pay.yml", "vault:pay/"), {"ref": "vault:pay/orders#password", "generate": True}),
        (("ansible-vault:pay.yml",), {"generate": True}),
    ],
)
def test_what_is_generated_gets_a_place_that_a_worker_can_write_to(prefixes, written):
    posted = QueryDict("secrets.password.ref=&secrets.password.generate=false&secrets.password.generate=true")
    reading = read_post(ROLE, {"kind": "Role", "spec": {}}, posted, prefixes=prefixes, name="orders")
    assert reading.document["secrets"]["password"] == written


@pytest.mark.threat("values.pasted-secret", "values.foreign-secret")
@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("vault:pay/orders#password", ""),
        (
            "vault:pay/orders",
            "Go on: vault:pay/ is followed by a name of letters, digits, dots and dashes, and the name",
        ),
        ("vault:pay/../shop/x#y", "Go on: "),
        ("vault:shop/orders#password", "Give the place where the value is kept, beginning with vault:pay/, and never"),
        ("file:pay/orders", "Give the place where the value is kept"),
        ("hunter2hunter2", "Give the place where the value is kept"),
    ],
)
def test_only_a_reference_under_the_teams_prefixes_is_taken(ref, said):
    found = refusal(ref, ("vault:pay/",))
    assert found.startswith(said)
    assert bool(found) is bool(said)
    assert "hunter2" not in found


def test_a_prefix_without_a_slash_ends_at_its_name():
    assert refusal("file:payments/x", ("file:pay",))
    assert not refusal("file:pay/x", ("file:pay",))
