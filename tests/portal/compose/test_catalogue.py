"""The catalogue finds what a person wants to do."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from changes.models import ChangeRequest
from executors.models import Commit, ItemResource, Rollout, WorkItem

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        ("open a port", "Balancer route"),
        ("a place for events", "Kafka topic"),
        ("database", "PostgreSQL database"),
        ("I need a login for postgres", "PostgreSQL role"),
        ("queues", "Kafka topic"),
        ("firewall", "Firewall rule"),
        ("who may read a table", "PostgreSQL grant"),
        ("expose a service", "Balancer route"),
    ],
)
def test_a_wish_finds_its_kind_first(rita, wish, kind):
    page = rita.client.get("/catalogue/", {"q": wish}, headers={"HX-Request": "true", "HX-Target": "cards"})
    titles = page.content.decode().split("<h2>")[1]
    assert kind in titles.split("</h2>")[0]
    assert "<html" not in page.content.decode()


def test_what_fits_only_by_a_syllable_is_not_offered(rita):
    page = rita.client.get("/catalogue/", {"q": "open a port"}).content.decode()
    assert "Firewall rule" in page
    assert "PostgreSQL grant" not in page  # reporting
    assert "LDAP group" not in page  # OpenLDAP


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
    assert "<code>partitions</code> can only get larger later. Kafka can add partitions" in page


def test_a_kind_says_when_a_change_of_it_is_a_risk(rita):
    rule, route = (
        rita.client.get(f"/catalogue/{kind}/").content.decode() for kind in ("FirewallRule", "BalancerRoute")
    )
    assert "When <code>host</code> is also in another team's document: " in route
    gains = 'When <code>sources</code> gains <code class="value">0.0.0.0/0</code> and <code>action</code> is '
    assert f'{gains}<code class="value">accept</code>: The rule lets the whole internet in' in rule
    assert f'{gains}<code class="value">drop</code> or <code class="value">reject</code>: The rule shuts' in rule
    assert "When <code>ports</code> covers less than before and <code>action</code> is " in rule


def test_a_kind_that_no_system_offers_cannot_be_asked_for(rita):
    assert "Request one" in rita.client.get("/catalogue/KafkaTopic/").content.decode()
    page = rita.client.get("/catalogue/FirewallRule/").content.decode()
    assert "Request one" not in page
    assert "the platform team declares a system" in page


def test_a_kind_says_who_must_agree_where_it_is_offered(rita):
    page = rita.client.get("/catalogue/KafkaTopic/").content.decode()
    assert "Who must agree: One of the owners of kafka-test (platform)." in page


def test_how_long_a_kind_usually_takes_is_told_from_past_work(rita):
    assert "How long it usually takes" not in rita.client.get("/catalogue/KafkaTopic/").content.decode()
    merged = timezone.now() - timedelta(hours=1)
    for number, seconds in enumerate((4, 8, 60), start=1):
        worked_on(rita.user, number, merged=merged, seconds=seconds)
    page = rita.client.get("/catalogue/KafkaTopic/").content.decode()
    assert "How long it usually takes" in page
    assert "<dd>30 min</dd>" in page
    assert "<dd>8.0 s</dd>" in page
    assert "usually 8.0 s after the merge" in rita.client.get("/catalogue/").content.decode()
    with CaptureQueriesContext(connection) as few:
        rita.client.get("/catalogue/")
    for number in range(4, 20):
        worked_on(rita.user, number, merged=merged, seconds=8)
    with CaptureQueriesContext(connection) as many:
        rita.client.get("/catalogue/")
    assert len(many) == len(few)


def worked_on(user, number, *, merged, seconds):
    """On record: a topic that was asked for half an hour before its merge, and applied so many seconds after it."""
    request = ChangeRequest.objects.create(
        requester=user, state="merged", created_at=merged - timedelta(minutes=30), closed_at=merged
    )
    commit = Commit.objects.create(position=number, sha=f"{number:040x}", change_request_id=request.pk)
    rollout = Rollout.objects.create(commit=commit, cause="merge")
    item = WorkItem.objects.create(
        rollout=rollout, position=number, wave=0, system="kafka-test", zone="default", state="succeeded"
    )
    ItemResource.objects.create(
        item=item,
        path=f"resources/payments/kafka-test/KafkaTopic/t{number}.yml",
        kind="KafkaTopic",
        identity=str(number),
        operation="create",
        blob="b" * 40,
        order=0,
        result="changed",
        finished_at=merged + timedelta(seconds=seconds),
    )


def test_fields_of_rows_are_explained(rita):
    assert "servers[].port" in rita.client.get("/catalogue/BalancerRoute/").content.decode()


def test_fields_stand_in_the_order_of_the_form_with_the_defaults_that_a_condition_gives(rita):
    page = rita.client.get("/catalogue/BalancerRoute/").content.decode()
    places = [page.index(f'<code class="nowrap">{name}</code>') for name in ("host", "path", "servers", "balance")]
    assert places == sorted(places)
    assert "roundrobin" in page[places[-1] :].split("</tr>")[0].split("<td")[-1]


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
