"""The page of a change request, as people of different rights see and use it."""

import re

import pytest
from django.test import Client

from changes import workflow
from changes.models import Approval, ChangeRequest, User
from changes.review import evaluate
from changes.workflow.people import remember_editors
from tests.changes.conftest import ORDERS, REFUNDS, box


def page(client, request, tab=""):
    return client.get(f"/changes/{request.pk}/" + (f"?tab={tab}" if tab else "")).content.decode()


def digests(request):
    return [item.digest for item in evaluate(request).plan.items]


def test_the_plan_shows_each_field_before_and_after(office, reader):
    request = office.proposed({ORDERS: box(9)})
    text = page(reader("sam"), request)
    assert re.search(r'class="before"><code class="value">3</code>', text)
    assert re.search(r'class="after"><code class="value">9</code>', text)


def test_the_approver_is_told_that_it_waits_for_them(office, reader):
    text = page(reader("olga"), office.proposed())
    assert "This waits for you." in text
    assert "Approve the chosen" in text


def test_the_requester_is_told_why_they_cannot_approve(office, reader):
    text = page(reader("rita"), office.proposed())
    assert "You asked for it, so somebody else must approve it." in text
    assert "Approve the chosen" not in text


def test_a_stranger_is_told_whose_approval_is_asked_for(office, reader):
    assert "The approval of shelves is asked for; you are not one of them." in page(reader("sam"), office.proposed())


def test_who_had_a_hand_in_it_can_decline_it_and_take_that_back(office, reader):
    request = office.proposed()
    remember_editors(request, [office.olga])
    text = page(reader("olga"), request)
    assert "You had a hand in it, so somebody else must approve it. You can decline it all the same" in text
    assert "Approve the chosen" not in text
    assert "Take back my no" not in text
    form = {"head": request.head, "items": digests(request)}
    reader("olga").post(f"/changes/{request.pk}/approve/", form | {"decision": "no"})
    assert "Take back my no" in page(reader("olga"), request, "checks")
    answer = reader("olga").post(f"/changes/{request.pk}/approve/", form | {"decision": "yes"}, follow=True)
    assert "Your no is taken back. Somebody else must approve it." in answer.content.decode()
    assert "0 of 1 given" in page(reader("rita"), request, "checks")


def test_an_approval_from_the_page_makes_it_ready_to_merge(office, reader):
    request = office.proposed()
    form = {"head": request.head, "items": digests(request), "decision": "yes", "comment": "Fine."}
    answer = reader("olga").post(f"/changes/{request.pk}/approve/", form, follow=True)
    assert "You approved 1 item." in answer.content.decode()
    assert "Ready to merge" in page(reader("rita"), request)
    assert Approval.objects.get().comment == "Fine."


def test_only_the_chosen_items_are_approved(office, reader):
    request = office.proposed({REFUNDS: box(5), ORDERS: box(9)})
    chosen = digests(request)[:1]
    reader("olga").post(f"/changes/{request.pk}/approve/", {"head": request.head, "items": chosen, "decision": "yes"})
    assert Approval.objects.get().items == chosen
    assert "1 of 2 items approved" in page(reader("olga"), request, "checks")


def test_nothing_chosen_is_refused_in_a_sentence(office, reader):
    request = office.proposed()
    answer = reader("olga").post(
        f"/changes/{request.pk}/approve/", {"head": request.head, "decision": "yes"}, follow=True
    )
    assert "Choose at least one item" in answer.content.decode()
    assert not Approval.objects.exists()


@pytest.mark.threat("approval.stale-page", "approval.between")
def test_a_form_from_before_a_new_push_does_nothing(office, reader):
    request = office.proposed()
    stale = {"head": request.head, "items": digests(request), "decision": "yes"}
    workflow.revise(request, office.rita)
    workflow.put_edit(request, office.rita, REFUNDS, box(8))
    workflow.propose(request, office.rita)
    answer = reader("olga").post(f"/changes/{request.pk}/approve/", stale, follow=True)
    assert "It changed since you looked" in answer.content.decode()
    assert not Approval.objects.exists()


def test_the_merge_button_merges(office, reader):
    request = office.proposed()
    office.approved(request)
    answer = reader("rita").post(f"/changes/{request.pk}/merge/", {"head": request.head}, follow=True)
    assert "Being picked up" in answer.content.decode()
    assert office.again(request).state == "merged"


def test_a_merge_without_approvals_is_refused_with_the_reason(office, reader):
    request = office.proposed()
    answer = reader("rita").post(f"/changes/{request.pk}/merge/", {"head": request.head}, follow=True)
    assert "Waits for the approval of one of the owners of shelf-test" in answer.content.decode()
    assert office.again(request).state == "open"


def test_failing_checks_are_listed_with_file_and_what_to_do(office, reader):
    request = office.proposed({REFUNDS: "kind: Box\nspec:\n  sise: 3\n"})
    text = page(reader("rita"), request, "checks")
    assert "sise" in text
    assert REFUNDS in text
    assert "Blocked" in text


def test_a_request_that_clashes_with_main_offers_the_way_out(office, reader):
    request = office.proposed({ORDERS: box(9)})
    office.merged({ORDERS: box(7)}, title="Another")
    text = page(reader("rita"), request)
    assert "The same file was changed on both sides" in text
    assert f'action="/changes/{request.pk}/revise/"' in text


def test_the_merged_page_shows_its_rollout(office, reader, work):
    request = office.merged({ORDERS: box(9)})
    rollout = work(office.again(request))
    text = page(reader("sam"), request)
    assert rollout.pk
    assert "Applied" in text
    assert "1 of 1 work item" in text


def test_a_long_plan_folds_the_fields_that_are_no_risk(office, reader):
    many = {f"resources/payments/shelf-test/Box/many-{n:02}.yml": box(n + 1) for n in range(31)}
    request = office.proposed(many)
    folded = page(reader("olga"), request)
    assert folded.count('<details class="disclosure plan-was">') == 31
    assert "<summary>name, size" in folded
    assert '<details class="disclosure plan-was">' not in page(reader("olga"), request, "plan&all")
    few = office.proposed({ORDERS: box(9)})
    assert '<details class="disclosure plan-was">' not in page(reader("olga"), few)


def test_whoever_may_edit_it_has_the_button(office, reader):
    request = office.proposed({ORDERS: box(9)})
    for name, may in (("rita", True), ("sam", False)):
        assert (f'action="/changes/{request.pk}/revise/"' in page(reader(name), request)) is may
    mate = User.objects.create_user("ted")
    office.declared({"teams/payments.yml": "title: Payments\nmembers: [rita, ted]\n"})
    client = Client()
    client.force_login(mate)
    assert f'action="/changes/{request.pk}/revise/"' in page(client, request)


def test_a_merged_request_that_nobody_picked_up_yet_says_what_it_waits_for(office, reader):
    text = page(reader("sam"), office.merged({ORDERS: box(9)}))
    assert "usually within two seconds" in text


def test_withdrawing_asks_for_no_reason_and_rejecting_does(office, reader):
    first, second = office.proposed(), office.proposed({ORDERS: box(9)}, title="Second")
    reader("rita").post(f"/changes/{first.pk}/withdraw/", {"why": ""})
    assert office.again(first).state == "withdrawn"
    answer = reader("olga").post(f"/changes/{second.pk}/reject/", {"head": second.head, "why": ""}, follow=True)
    assert "Say why" in answer.content.decode()
    reader("olga").post(f"/changes/{second.pk}/reject/", {"head": second.head, "why": "Too big"})
    assert "Too big" in page(reader("rita"), second, "discussion")


def test_a_revert_opens_a_draft_in_compose(office, reader):
    request = office.merged({ORDERS: box(9)})
    answer = reader("rita").post(f"/changes/{request.pk}/revert/")
    draft = ChangeRequest.objects.get(reverts=request)
    assert answer.url == f"/changes/{draft.pk}/compose/"


@pytest.mark.threat("web.xss")
def test_markup_in_a_comment_and_a_title_stays_text(office, reader):
    request = office.proposed(title="<script>alert(1)</script>")
    reader("olga").post(f"/changes/{request.pk}/comment/", {"text": "<img src=x onerror=alert(1)>"})
    text = page(reader("sam"), request, "discussion")
    assert "<script>alert" not in text
    assert "<img src=x" not in text


@pytest.mark.threat("git.bidi")
def test_characters_that_cannot_be_seen_are_drawn_in_the_text_diff(office, reader):
    request = office.proposed({REFUNDS: "kind: Box\nspec:\n  size: 5  # five\u202eevif\n"})
    assert "U+202E" in page(reader("olga"), request, "files")


def test_somebody_elses_draft_is_not_found(office, reader):
    draft = workflow.start_draft(office.rita, title="Secret plans")
    assert reader("sam").get(f"/changes/{draft.pk}/").status_code == 404
    assert reader("rita").get(f"/changes/{draft.pk}/").url == f"/changes/{draft.pk}/compose/"


def test_the_head_alone_is_drawn_for_updates(office, reader):
    request = office.proposed()
    text = reader("rita").get(f"/changes/{request.pk}/", {"part": "head"}).content.decode()
    assert text.startswith('<div id="change-head"')
    assert "<html" not in text
