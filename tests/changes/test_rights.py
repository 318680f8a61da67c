"""Rights come from main's files and from nowhere else."""

from django.contrib.auth.models import AnonymousUser

from changes import workflow
from changes.review import evaluate
from changes.rights import rights_of
from tests.changes.conftest import FILES

SITE = FILES["mergeyard.yml"]


def test_a_member_an_owner_an_engineer_and_a_stranger(office):
    rita, olga, pia, sam = map(rights_of, (office.rita, office.olga, office.pia, office.sam))
    assert (rita.teams, rita.is_platform, rita.owned_systems) == ({"payments"}, False, frozenset())
    assert olga.owns("shelf-test")
    assert pia.is_platform
    assert rita.can_edit("payments")
    assert not rita.can_edit("shelves")
    seen = {"teams": ["payments"], "systems": ["shelf-test"]}
    assert [who.can_see_logs(**seen) for who in (rita, olga, pia, sam)] == [True, True, True, False]


def test_auditors_read_everything_and_are_nothing_else(office):
    audit = {"teams/audit.yml": "title: Audit\nmembers: [anna]\n", "mergeyard.yml": f"{SITE}auditors: audit\n"}
    assert not rights_of(office.anna).reads_all
    change = office.proposed(audit, by=office.pia)
    office.approved(change, by=office.piet)
    workflow.merge(change, office.pia)
    anna = rights_of(office.anna)
    assert anna.reads_all
    assert anna.can_see_logs(teams=["payments"], systems=["shelf-test"])
    assert (anna.is_platform, anna.owned_systems, anna.can_edit("payments")) == (False, frozenset(), False)


def test_rights_follow_main(office):
    change = office.proposed({"teams/payments.yml": "title: Payments\nmembers: [paul]\n"}, by=office.pia)
    workflow.approve(change, office.piet, "yes", [item.digest for item in evaluate(change).plan.items])
    assert rights_of(office.rita).teams == {"payments"}
    workflow.merge(change, office.pia)
    assert rights_of(office.rita).teams == frozenset()


def test_nobody_has_rights_without_main_or_a_session(office, settings, tmp_path):
    assert rights_of(AnonymousUser()).teams == frozenset()
    office.rita.is_active = False
    settings.MERGEYARD_REPOSITORY = tmp_path / "nothing.git"
    assert rights_of(office.olga).owned_systems == frozenset()
