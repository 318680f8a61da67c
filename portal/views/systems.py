"""The systems, and one system: how it stands, what runs and waits there, who owns it, how it is reached."""

from collections import Counter

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from changes.catalog import catalog
from changes.documents import Json
from changes.models import User
from changes.rights import main_snapshot
from executors.models import Run, WorkItem
from executors.states import ITEM_OPEN
from portal.access import rights
from portal.standing import ORDER, UNWELL, counts_by, health, present, shares, work_by_system

RUNS = 12
RESOURCES = 200


def systems(request: HttpRequest) -> HttpResponse:
    rules, mine = main_snapshot(), rights(request).owned_systems
    counts, work = counts_by("system"), work_by_system()
    rows = [
        {
            "system": system,
            "mine": system.name in mine,
            "shares": shares(counts.get(system.name, Counter())),
            "total": rules.sizes.get(system.name, 0),
            "health": health(counts.get(system.name, Counter()), work.get(system.name, Counter())),
            "work": sorted(work.get(system.name, Counter()).items()),
        }
        for system in sorted(rules.systems.values(), key=lambda system: (system.type, system.environment, system.name))
    ]
    return render(request, "systems/list.html", {"section": "systems", "rows": rows})


def system(request: HttpRequest, name: str) -> HttpResponse:
    rules = main_snapshot()
    found = rules.systems.get(name)
    if found is None:
        raise Http404
    counts = counts_by("system").get(name, Counter())
    resources = list(present().filter(system=name).order_by("kind", "path")[: RESOURCES + 1])
    resources.sort(key=lambda row: ORDER.index(row.sync) if row.sync in UNWELL else len(ORDER))
    work = list(
        WorkItem.objects.filter(system=name, state__in=ITEM_OPEN)
        .select_related("rollout__commit")
        .order_by("position", "wave")[:50]
    )
    runs = list(Run.objects.filter(item__system=name).select_related("item__rollout__commit").order_by("-pk")[:RUNS])
    type = catalog().types.get(found.type)
    owners = [rules.teams[team] for team in found.owners if team in rules.teams]
    members = {username for team in owners for username in team.members}
    context = {
        "section": "systems",
        "system": found,
        "type": type,
        "shares": shares(counts),
        "total": rules.sizes.get(name, 0),
        "health": health(counts, Counter(item.state for item in work)),
        "resources": resources[:RESOURCES],
        "more": len(resources) > RESOURCES,
        "work": work,
        "runs": runs,
        "last_run": runs[0] if runs else None,
        "owners": owners,
        "people": {user.username: user for user in User.objects.filter(username__in=members)},
        "connection": flat(found.connection),
        "secrets": sorted(found.secrets.items()),
        "may_edit": rights(request).is_platform or rights(request).owns(name),
    }
    return render(request, "systems/detail.html", context)


def flat(value: Json, name: str = "") -> list[tuple[str, str]]:
    """Nested data as dotted names and values."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in flat(inner, f"{name}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [pair for index, inner in enumerate(value) for pair in flat(inner, f"{name}[{index}]")]
    return [(name, str(value))]
