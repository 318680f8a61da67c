"""Composing: form and YAML are two views of one document, and nothing typed is lost."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from changes import workflow
from changes.models import ChangeRequest, Edit
from changes.repository import Repository, RepositoryError
from changes.states import ChangeRequestState
from tests.portal.compose.desks import ORDERS, TOPIC, Desk, posted

pytestmark = pytest.mark.django_db


def test_a_new_resource_is_a_few_lines(rita):
    rita.add("KafkaTopic", "kafka-test", "refunds")
    assert rita.draft.edits.get().path == "resources/payments/kafka-test/KafkaTopic/refunds.yml"
    assert rita.text == "kind: KafkaTopic\nspec: {}\n"


def test_the_form_changes_only_what_was_typed(rita):
    rita.open(TOPIC)
    rita.save(spec__partitions="12")
    assert rita.text == ORDERS.replace("partitions: 6", "partitions: 12")


def test_a_form_sent_unchanged_changes_nothing(rita):
    edit = rita.open(TOPIC)
    rita.save()
    assert rita.text == ORDERS
    rita.add("BalancerRoute", "edge-test", "web")
    before = rita.text
    rita.save()
    assert rita.text == before
    assert edit.text == ORDERS


def test_the_yaml_is_in_the_answer_and_the_plan_too(rita):
    rita.open(TOPIC)
    answer = rita.save(spec__partitions="12").content.decode()
    assert 'id="yaml-new"' in answer
    assert "partitions: 12" in answer
    assert '<div id="plan" class="plan" hx-swap-oob="true"' in answer
    assert "Messages of one key may go to another partition than before" in answer
    assert 'id="form-body"' not in answer


def test_a_field_that_appears_is_drawn(rita):
    rita.open(TOPIC)
    answer = rita.save(spec__cleanup_policy="compact").content.decode()
    assert 'id="form-body"' in answer
    assert "spec.compaction.keep_hours" in answer


def test_a_route_to_a_shared_pool_has_no_servers_of_its_own(rita):
    rita.add("BalancerBackend", "edge-test", "web")
    rita.save(spec__servers__0__address="10.0.0.11", spec__servers__0__port="8080")
    rita.add("BalancerRoute", "edge-test", "shop")
    rita.save(spec__host="shop.example.com", spec__servers__0__address="10.0.0.12", spec__balance="source")
    assert "balance: source" in rita.text
    answer = rita.save(spec__pool="web").content.decode()
    assert rita.text == "kind: BalancerRoute\nspec:\n  host: shop.example.com\n  pool: web\n"
    assert "spec.balance" not in answer
    answer = rita.save(spec__pool="").content.decode()
    assert 'name="spec.servers.0.address"' in answer


def test_yaml_draws_the_form_anew(rita):
    rita.open(TOPIC)
    answer = rita.write(ORDERS.replace("6", "9")).content.decode()
    assert 'name="spec.partitions" id="spec.partitions" value="9"' in answer
    assert 'id="yaml-new"' not in answer


def test_text_that_is_no_number_stays_where_it_was_typed(rita):
    rita.open(TOPIC)
    answer = rita.save(spec__partitions="abc").content.decode()
    assert "partitions: abc" in rita.text
    assert 'data-fault="spec.partitions"' in answer
    assert 'value="abc"' in rita.page()


def test_yaml_that_cannot_be_read_is_kept_with_its_line(rita):
    rita.open(TOPIC)
    answer = rita.write("kind: KafkaTopic\nspec: [\n").content.decode()
    assert rita.text == "kind: KafkaTopic\nspec: [\n"
    assert "data-line=" in answer
    assert "form-body empty" in rita.page()
    assert 'id="form-body"' not in answer


def test_the_form_refuses_to_guess_while_the_yaml_cannot_be_read(rita):
    edit = rita.open(TOPIC)
    given = rita.form(edit)
    rita.write("spec: [\n", edit)
    given["seen"] = posted(rita.page(edit), "yaml-form")["seen"]
    answer = rita.send(edit, given).content.decode()
    assert "mend the YAML first" in answer
    assert rita.text == "spec: [\n"


def test_a_second_window_cannot_overwrite_the_first(rita):
    edit = rita.open(TOPIC)
    first, second = rita.form(edit), rita.form(edit)
    rita.send(edit, {**first, "spec.partitions": "8"})
    answer = rita.send(edit, {**second, "spec.partitions": "9"}).content.decode()
    assert "another window" in answer
    assert "partitions: 8" in rita.text


def test_what_is_missing_is_named_and_not_scolded(rita):
    rita.add("PostgresDatabase", "pg-test", "orders")
    page = rita.page()
    assert "Still to fill in" in page
    assert '<a href="#spec.owner">Owner</a>' in page
    assert "thing to mend" not in page


def test_a_reference_offers_what_this_request_adds(rita):
    rita.add("PostgresRole", "pg-test", "orders")
    rita.add("PostgresDatabase", "pg-test", "orders")
    assert '<option value="orders" data-note="in this request">' in rita.page()


def test_a_pasted_password_is_not_stored(rita):
    rita.add("PostgresRole", "pg-test", "orders")
    answer = rita.save(secrets__password__ref="hunter2").content.decode()
    assert "never the value itself" in answer
    assert not Edit.objects.filter(text__contains="hunter2").exists()


def test_a_password_pasted_into_the_yaml_is_not_stored(rita):
    rita.add("PostgresRole", "pg-test", "orders")
    before = rita.text
    answer = rita.write("kind: PostgresRole\nspec: {}\nsecrets: {password: hunter2}\n").content.decode()
    assert "Not saved: secrets.password" in answer
    assert rita.text == before


@pytest.mark.parametrize(
    "secrets",
    [
        "{password: hunter2",
        "{password: {ref: [hunter2]}}",
        "[hunter2]",
        "hunter2",
        "{password: {value: hunter2}}",
        "{password: file:payments/x, other: {value: hunter2}}",
        "{password: {ref: file:payments/x, generate: hunter2}}",
        '{password: file:payments/x}\nsecrets: {password: "hunter2"}',
        "{password: 'abc:hunter2'}",
        "{password: file:shop/hunter2}",
        '{password: "\\x68unter2"}',
    ],
)
def test_nothing_under_secrets_that_is_no_allowed_reference_is_stored(rita, secrets):
    rita.add("PostgresRole", "pg-test", "orders")
    before, text = rita.text, f"kind: PostgresRole\nspec: {{}}\nsecrets: {secrets}\n"
    answer = rita.write(text).content.decode()
    assert "Not saved" in answer
    assert re.search(r'id="problems"[^>]* data-unsaved>', answer)
    assert re.search(r'<li[^>]* data-line="[34]"', answer)
    assert not re.search('id="yaml-new"|id="form-body"', answer), "the editor would lose what was typed"
    assert rita.text == before
    without_scripts = rita.write(text, live=False)
    assert without_scripts.status_code == 409
    assert posted(without_scripts.content.decode(), "yaml-form")["text"] == text
    assert rita.text == before


def test_a_number_for_a_password_is_not_stored_and_an_empty_place_is(rita):
    rita.add("PostgresRole", "pg-test", "orders")
    rita.write("kind: PostgresRole\nspec: {}\nsecrets: {password: 4711471147}\n")
    assert "4711" not in rita.text
    rita.write("kind: PostgresRole\nspec: {}\nsecrets:\n  password:\n")
    assert rita.text.endswith("password:\n")
    rita.write("kind: PostgresRole\nspec: {}\nsecrets: {password: {ref: file:payments/orders, generate: true}}\n")
    assert "file:payments/orders" in rita.text


def test_a_text_that_cannot_be_read_is_kept_if_it_has_no_secrets(rita):
    rita.add("PostgresRole", "pg-test", "orders")
    rita.write("kind: PostgresRole\nspec: {\n")
    assert rita.text.endswith("spec: {\n")


def test_a_systems_references_are_kept_and_its_values_are_not(client, rita):
    pia, path = Desk(client, "pia"), "systems/pg-test.yml"
    pia.open(path)
    text = pia.text
    assert "Not saved" in pia.write(text.replace("env:MERGEYARD_SECRET_PG", "hunter2")).content.decode()
    assert pia.text == text
    pia.write(text + "title: Databases\n")
    assert pia.text.endswith("title: Databases\n")


def test_a_secret_to_generate_gets_the_suggested_place(rita):
    rita.add("PostgresRole", "pg-test", "orders")
    rita.save(secrets__password__generate=["false", "true"])
    assert "ref: file:payments/orders" in rita.text
    assert "generate: true" in rita.text


def test_rows_are_added_without_scripts(rita):
    rita.add("BalancerRoute", "edge-test", "web")
    page = rita.save(live=False, do="add spec.servers").content.decode()
    assert 'id="spec.servers.1.address"' in page
    given = posted(page, "document-form")
    given.update({"spec.servers.0.address": "10.0.0.1", "spec.servers.0.port": "80"})
    rita.send(rita.draft.edits.last(), given, live=False)
    assert 'address: "10.0.0.1"' in rita.text
    assert rita.text.count("- ") == 1


def test_a_plain_yaml_form_works_without_scripts(rita):
    rita.open(TOPIC)
    answer = rita.write(ORDERS.replace("6", "7"), live=False)
    assert answer.url == rita.address()
    assert "partitions: 7" in rita.text


def test_what_cannot_be_changed_any_more_says_why(rita):
    rita.open(TOPIC)
    page = rita.page()
    assert "Kafka cannot change the number of copies in place" in page
    rita.add("KafkaTopic", "kafka-test", "refunds")
    assert "Kafka cannot change the number of copies in place" not in rita.page()


def test_a_taken_or_impossible_name_is_refused(rita):
    rita.add("KafkaTopic", "kafka-test", "orders")
    assert not rita.draft.edits.exists()
    answer = rita.add("KafkaTopic", "kafka-test", "Orders!")
    assert "Orders%21" in answer.url
    assert "use up to 63 lower-case letters" in rita.client.get(answer.url).content.decode()


def test_only_own_teams_can_be_chosen(rita):
    rita.add("KafkaTopic", "kafka-test", "refunds", team="shop")
    assert rita.draft.edits.get().path.split("/")[1] == "payments"


def test_the_platform_team_may_choose_any_team(rita):
    pia = Desk(Client(), "pia")
    pia.add("KafkaTopic", "kafka-test", "refunds", team="shop")
    assert pia.draft.edits.get().path == "resources/shop/kafka-test/KafkaTopic/refunds.yml"


def test_existing_resources_are_found_by_words(rita):
    rita.open(TOPIC)
    found = rita.client.get(f"/changes/{rita.draft.number}/compose/add/?q=kafka+ord").content.decode()
    assert "In this request: open" in found
    assert "carts" not in rita.client.get(f"/changes/{rita.draft.number}/compose/add/?q=").content.decode()


def test_a_resource_can_be_deleted_and_kept(rita):
    draft = workflow.start_draft(rita.user)
    rita.client.post(f"/changes/{draft.number}/compose/add/", {"path": TOPIC, "delete": "1"})
    page = rita.page()
    assert "All messages of the topic are lost." in page
    assert "to mend" not in page
    edit = draft.edits.get()
    assert edit.deletes
    rita.client.post(f"{rita.address(edit)}remove/")
    assert not draft.edits.exists()


def test_title_and_reason_are_saved_while_typed(rita):
    rita.open(TOPIC)
    rita.client.post(
        f"/changes/{rita.draft.number}/compose/describe/",
        {"title": "More  room", "reason": "Sales"},
        headers={"HX-Request": "true"},
    )
    assert (rita.draft.title, rita.draft.reason) == ("More room", "Sales")


def test_a_request_without_a_title_gets_the_suggested_one(rita):
    rita.open(TOPIC)
    rita.save(spec__partitions="12")
    answer = rita.client.post(f"/changes/{rita.draft.number}/compose/propose/", {"title": "", "reason": ""})
    assert answer.url == f"/changes/{rita.draft.number}/"
    assert rita.draft.state == ChangeRequestState.OPEN
    assert rita.draft.title == "Change Kafka topic orders on kafka-test"


def test_an_empty_request_cannot_be_proposed(rita):
    draft = workflow.start_draft(rita.user, title="Nothing")
    page = rita.client.post(f"/changes/{draft.number}/compose/propose/", {"title": "Nothing"}, follow=True)
    assert "It changes nothing yet" in page.content.decode()
    assert rita.draft.state == ChangeRequestState.DRAFT


@pytest.mark.threat("faults.disk-repository")
def test_what_cannot_be_written_is_said_and_stays_a_draft(rita, monkeypatch):
    def full(*_, **__):
        raise RepositoryError("writing a commit: No space left on device")

    rita.open(TOPIC)
    rita.save(spec__partitions="12")
    with monkeypatch.context() as patched:
        patched.setattr(Repository, "commit", full)
        page = rita.client.post(f"/changes/{rita.draft.number}/compose/propose/", follow=True)
    assert "No space left on device" in page.content.decode()
    rita.client.post(f"/changes/{rita.draft.number}/compose/propose/")
    assert rita.draft.state == ChangeRequestState.OPEN


def test_an_open_request_is_composed_again_after_revise(rita):
    rita.open(TOPIC)
    rita.save(spec__partitions="12")
    rita.client.post(f"/changes/{rita.draft.number}/compose/propose/")
    assert rita.client.get(f"/changes/{rita.draft.number}/compose/").url == f"/changes/{rita.draft.number}/"
    workflow.revise(rita.draft, rita.user)
    rita.save(spec__partitions="13")
    assert "partitions: 13" in rita.text
    rita.client.post(f"/changes/{rita.draft.number}/compose/discard/")
    assert rita.draft.state == ChangeRequestState.OPEN
    assert not rita.draft.edits.exists()


def test_a_draft_can_be_discarded(rita):
    rita.open(TOPIC)
    rita.client.post(f"/changes/{rita.draft.number}/compose/discard/")
    assert rita.draft.state == ChangeRequestState.WITHDRAWN


def test_main_moved_on_and_both_ways_out_are_offered(rita):
    edit = rita.open(TOPIC)
    rita.save(spec__partitions="12")
    Edit.objects.update(base_blob="0" * 40)
    assert "Main has changed this file since you began." in rita.page()
    rita.client.post(f"{rita.address(edit)}settle/", {"take": "mine"})
    assert "Main has changed" not in rita.page()
    assert "partitions: 12" in rita.text
    rita.client.post(f"{rita.address(edit)}settle/", {"take": "main"})
    assert rita.text == ORDERS


@pytest.mark.threat("web.foreign")
@pytest.mark.parametrize("where", ["", "add/", "{edit}/"])
def test_a_draft_of_somebody_else_is_not_there(rita, where):
    edit = rita.open(TOPIC)
    sam = Desk(Client(), "sam")
    address = f"/changes/{edit.change_request_id}/compose/{where.format(edit=edit.pk)}"
    assert sam.client.get(address).status_code == 404


@pytest.mark.threat("web.foreign")
@pytest.mark.parametrize(
    "verb", ["{edit}/save/", "{edit}/remove/", "describe/", "propose/", "discard/", "{edit}/settle/"]
)
def test_somebody_else_cannot_write_a_draft(rita, verb):
    edit = rita.open(TOPIC)
    sam = Desk(Client(), "sam")
    assert sam.client.post(f"/changes/{edit.change_request_id}/compose/{verb.format(edit=edit.pk)}").status_code == 404
    assert rita.text == ORDERS
    assert ChangeRequest.objects.get().state == ChangeRequestState.DRAFT


def test_an_edit_of_another_request_is_not_reached(rita):
    edit = rita.open(TOPIC)
    other = workflow.start_draft(rita.user)
    assert rita.client.get(f"/changes/{other.number}/compose/{edit.pk}/").status_code == 404


@pytest.mark.threat("web.xss")
def test_markup_in_values_is_text(rita):
    rita.open(TOPIC)
    rita.write("kind: KafkaTopic\nspec:\n  partitions: '<script>alert(1)</script>'\n")
    page = rita.page()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_a_page_asks_the_database_no_more_for_more_fields(rita):
    rita.add("BalancerRoute", "edge-test", "web")
    counts = []
    for many in (1, 50):
        servers = "".join(f"    - {{address: a{n}, port: 80}}\n" for n in range(many))
        rita.write(f"kind: BalancerRoute\nspec:\n  servers:\n{servers}")
        with CaptureQueriesContext(connection) as queries:
            rita.page()
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 20
