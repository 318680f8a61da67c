"""The teams of the main branch, and one team: its people, its resources, the systems it owns."""

from collections import Counter

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from changes.models import ChangeRequest, PlanRow, User
from changes.rights import main_snapshot
from changes.states import ChangeRequestState
from portal.access import rights
from portal.standing import counts_by, shares
from portal.views.history import with_summaries

RECENT = 8


def teams(request: HttpRequest) -> HttpResponse:
    rules, mine = main_snapshot(), rights(request).teams
    counts = counts_by("team")
    rows = [
        {
            "team": team,
            "mine": team.name in mine,
            "platform": team.name == rules.platform_team,
            "auditors": team.name == rules.auditors,
            "owns": sorted(system.name for system in rules.systems.values() if team.name in system.owners),
            "resources": counts.get(team.name, Counter()).total(),
        }
        for team in sorted(rules.teams.values(), key=lambda team: (team.name not in mine, team.name))
    ]
    return render(request, "teams/list.html", {"section": "teams", "rows": rows})


def team(request: HttpRequest, name: str) -> HttpResponse:
    rules = main_snapshot()
    found = rules.teams.get(name)
    if found is None:
        raise Http404
    known = {user.username: user for user in User.objects.filter(username__in=found.members)}
    counts = counts_by("team").get(name, Counter())
    numbers = PlanRow.objects.filter(team=name).order_by("-change_request").values("change_request").distinct()
    recent = ChangeRequest.objects.filter(pk__in=numbers).exclude(state=ChangeRequestState.DRAFT)
    context = {
        "section": "teams",
        "team": found,
        "platform": name == rules.platform_team,
        "auditors": name == rules.auditors,
        "members": [(username, known.get(username)) for username in found.members],
        "owns": sorted((one for one in rules.systems.values() if name in one.owners), key=lambda one: one.name),
        "shares": shares(counts),
        "quotas": [(kind, rules.holdings.get((name, kind), 0), most) for kind, most in sorted(found.quotas.items())],
        "total": counts.total(),
        "rows": with_summaries(list(recent.select_related("requester").order_by("-pk")[:RECENT])),
        "mine": name in rights(request).teams,
    }
    return render(request, "teams/detail.html", context)
