"""Owns who may read what work puts out, and who may act on it.

The people of a change request count only for its merge: what else runs at a commit (a first rollout, one that is
applied again) is not that request's, and belongs to the teams of its resources. Of a rollout each question is asked
once, however many items it has. It must not know pages.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from django.db.models import Q

from changes.models import ChangeRequest, PlanRow, User
from changes.rights import rights_of
from executors.models import ItemResource, Rollout, WorkItem

Allowed: TypeAlias = Callable[[WorkItem], bool]


def read_rights(user: User, rollout: Rollout) -> Allowed:
    """Logs and outputs: who asked, the request's teams, the resources' teams, the system's owners, the platform team,
    auditors.
    """
    rights = rights_of(user)
    everything = rights.reads_all or _asked(user, rollout) or not rights.teams.isdisjoint(_request_teams(rollout))
    ours = frozenset() if everything else _items_of(rights.teams, rollout)
    return lambda item: everything or item.pk in ours or rights.owns(item.system)


def act_rights(user: User, rollout: Rollout) -> Allowed:
    """Retry and cancel: who asked, the teams of the item's own resources, the system's owners, the platform team."""
    rights = rights_of(user)
    everything = rights.is_platform or _asked(user, rollout)
    ours = frozenset() if everything else _items_of(rights.teams, rollout)
    return lambda item: everything or item.pk in ours or rights.owns(item.system)


def teams_behind(item: WorkItem) -> frozenset[str]:
    """The teams whose people may read what the item puts out: of its request's documents, else of its resources."""
    paths = item.resources.values_list("path", flat=True)
    own = frozenset(path.split("/")[1] for path in paths if path.count("/") == 4)
    return _request_teams(item.rollout) or own


def _asked(user: User, rollout: Rollout) -> bool:
    number = rollout.change_request_id
    return number is not None and ChangeRequest.objects.filter(pk=number, requester_id=user.pk).exists()


def _request_teams(rollout: Rollout) -> frozenset[str]:
    number = rollout.change_request_id
    if number is None:
        return frozenset()
    rows = PlanRow.objects.filter(change_request_id=number).exclude(team="")
    return frozenset(rows.values_list("team", flat=True).distinct())


def _items_of(teams: Iterable[str], rollout: Rollout) -> frozenset[int]:
    """The items of a rollout that have a resource of one of these teams."""
    theirs = Q()
    for team in teams:
        theirs |= Q(path__startswith=f"resources/{team}/")
    if not theirs:
        return frozenset()
    rows = ItemResource.objects.filter(theirs, item__rollout=rollout)
    return frozenset(rows.values_list("item_id", flat=True).distinct())
