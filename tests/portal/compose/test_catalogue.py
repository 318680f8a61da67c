"""The catalogue finds what a person wants to do."""

import pytest

from changes.models import ChangeRequest

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        ("open a port", "Balancer route"),
        ("a place for events", "Kafka topic"),
        ("database", "PostgreSQL database"),
        ("I need a login", "PostgreSQL role"),
        ("queues", "Kafka topic"),
    ],
)
def test_a_wish_finds_its_kind_first(rita, wish, kind):
    page = rita.client.get("/catalogue/", {"q": wish}, headers={"HX-Request": "true", "HX-Target": "cards"})
    titles = page.content.decode().split("<h2>")[1]
    assert kind in titles.split("</h2>")[0]
    assert "<html" not in page.content.decode()


def test_what_nobody_offers_says_what_to_do(rita):
    assert "Nothing fits “teleporter”" in rita.client.get("/catalogue/", {"q": "teleporter"}).content.decode()


def test_a_kind_is_explained(rita):
    page = rita.client.get("/catalogue/KafkaTopic/").content.decode()
    for text in (
        "cannot be changed later",
        "All messages of the topic are lost.",
        "compaction.keep_hours",
        "kafka-test",
    ):
        assert text in page
    assert "Only with some values of other fields." in page


def test_fields_of_rows_are_explained(rita):
    assert "servers[].port" in rita.client.get("/catalogue/BalancerRoute/").content.decode()


def test_an_unknown_kind_is_not_there(rita):
    assert rita.client.get("/catalogue/Teleporter/").status_code == 404


def test_a_request_starts_from_a_kind_and_the_next_kind_joins_it(rita):
    answer = rita.client.post("/compose/?kind=KafkaTopic")
    assert answer.url == f"/changes/{rita.draft.number}/compose/add/?kind=KafkaTopic"
    assert f"Add to #{rita.draft.number}" in rita.client.get("/catalogue/").content.decode()
    rita.client.post("/compose/?kind=PostgresRole", {"current": "1"})
    assert ChangeRequest.objects.count() == 1
    rita.client.post("/compose/?kind=PostgresRole")
    assert ChangeRequest.objects.count() == 2


def test_a_resource_page_starts_a_change_of_it(rita):
    path = "resources/payments/kafka-test/KafkaTopic/orders.yml"
    answer = rita.client.post(f"/compose/?edit={path}")
    assert rita.draft.edits.get().path == path
    assert answer.url.endswith(f"/compose/{rita.draft.edits.get().pk}/")
    rita.client.post(f"/compose/?delete={path}")
    assert rita.draft.edits.get().deletes
