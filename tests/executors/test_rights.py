"""Who may read what work puts out, and who may act on it."""

import pytest

from changes.models import ChangeRequest, PlanRow
from executors.actions import NotTheirs, cancel, retry
from executors.discovery import reapply
from executors.models import Commit, Rollout, WorkItem
from executors.reconcile import reconcile
from executors.rights import act_rights, read_rights, teams_behind
from tests.executors.conftest import FILES, box, document

PEOPLE = ("rita", "paul", "sam", "olga", "pia")


def merged(yard, changes, *, by="rita", teams=("payments",)):
    """A merge of a request by that person that edits documents of these teams."""
    sha = yard.merge(changes)
    while reconcile():
        pass
    number = Commit.objects.get(sha=sha).change_request_id
    ChangeRequest.objects.filter(pk=number).update(requester=yard.user(by))
    for team in teams:
        PlanRow.objects.create(change_request_id=number, path=box("x", team=team), operation="create", team=team)
    return Rollout.objects.get(commit__sha=sha)


def who(yard, rights, item):
    return {name for name in PEOPLE if rights(yard.user(name), item.rollout)(item)}


@pytest.fixture
def again(yard):
    """Work of payments that is applied again after somebody of another team merged something else."""
    merged(yard, {box("orders"): document("Box")})
    merged(yard, {box("other", "shelf-b", "others"): document("Box")}, by="sam", teams=("others",))
    return reapply("shelf-a", "The shelf forgot everything.").items.get()


def test_work_that_is_applied_again_is_its_own_teams_and_not_who_merged_last(yard, again):
    assert again.rollout.commit.change_request_id is not None
    assert again.rollout.change_request_id is None
    for rights in (read_rights, act_rights):
        assert who(yard, rights, again) == {"rita", "paul", "olga", "pia"}
    assert teams_behind(again) == {"payments"}


def test_who_merged_last_is_refused_work_that_is_applied_again(yard, again):
    for verb in (cancel, retry):
        with pytest.raises(NotTheirs, match="the teams whose resources these are"):
            verb(again, yard.user("sam"))


def test_the_requests_teams_read_all_of_its_work_and_act_on_their_own(yard):
    changes = {box("orders"): document("Box"), box("other", "shelf-b", "others"): document("Box")}
    merged(yard, changes, by="paul", teams=("payments", "others"))
    item = WorkItem.objects.get(system="shelf-b")
    assert who(yard, read_rights, item) == {"rita", "paul", "sam", "olga", "pia"}
    assert who(yard, act_rights, item) == {"paul", "sam", "olga", "pia"}
    cancel(item, yard.user("sam"))


def test_what_is_applied_again_still_stands_by_the_merge_that_made_it(yard, again):
    yard.work()
    standing = yard.resource(box("orders"))
    assert standing.last_run.item == again
    assert standing.applied_commit == standing.commit != again.rollout.commit
    assert standing.applied_position == again.position


def test_an_auditor_reads_and_is_refused_every_act(yard, again):
    yard.merge(
        {
            "mergeyard.yml": f"{FILES['mergeyard.yml']}auditors: audit\n",
            "teams/audit.yml": "title: Audit\nmembers: [anna]\n",
        }
    )
    anna = yard.user("anna")
    assert read_rights(anna, again.rollout)(again)
    assert not act_rights(anna, again.rollout)(again)
    for verb in (cancel, retry):
        with pytest.raises(NotTheirs):
            verb(again, anna)


def test_a_rollout_is_about_what_its_cause_says(again):
    assert again.rollout.title == "The shelf forgot everything."
    assert Rollout.objects.filter(cause="merge").latest("pk").title == "Change something"
