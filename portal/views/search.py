"""What the command palette finds: pages, resources, systems, teams, people, change requests."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from changes.catalog import catalog
from changes.models import ChangeRequest, User
from changes.rights import main_snapshot
from changes.snapshot import Snapshot
from portal.access import private_to_others, signed_in

PER_GROUP = 6
MAX_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Hit:
    title: str
    url: str
    icon: str
    hint: str = ""


def search(request: HttpRequest) -> HttpResponse:
    words = request.GET.get("q", "").replace("\0", "")[:MAX_LENGTH].lower().split()
    rules = main_snapshot()
    groups = [
        ("Go to", [hit for hit in _pages() if _all_in(words, hit.title)][:PER_GROUP]),
        ("Systems", list(_systems(rules, words))[:PER_GROUP]),
        ("Resources", _resources(rules, words)),
        ("Make", [hit for hit in _kinds() if words and _all_in(words, f"{hit.title} {hit.hint}")][:PER_GROUP]),
        ("Changes", _changes(words, signed_in(request))),
        ("Teams and people", _people(rules, words)),
    ]
    return render(request, "home/palette.html", {"groups": [group for group in groups if group[1]], "words": words})


def _all_in(words: list[str], text: str) -> bool:
    return all(word in text.lower() for word in words)


def _pages() -> Iterator[Hit]:
    yield Hit("New change", reverse("catalogue"), "plus", "c")
    yield Hit("Home: what waits for me", reverse("home"), "inbox", "g h")
    yield Hit("Changes", reverse("history"), "git-pull-request-arrow", "g c")
    yield Hit("Rollouts", reverse("rollouts"), "rocket", "g o")
    yield Hit("Systems", reverse("systems"), "server", "g s")
    yield Hit("Resources", reverse("resources"), "boxes", "g r")
    yield Hit("Tokens and git", reverse("tokens"), "key-round")


def _systems(rules: Snapshot, words: list[str]) -> Iterator[Hit]:
    types = catalog().types
    for name, system in sorted(rules.systems.items()):
        if _all_in(words, f"{name} {system.title} {system.environment} {system.type}"):
            icon = types[system.type].icon if system.type in types else "server"
            yield Hit(name, reverse("system", args=[name]), icon, system.title)


def _resources(rules: Snapshot, words: list[str]) -> list[Hit]:
    """Documents whose address has every word; those whose name begins with the first word come first."""
    if not words:
        return []
    found = [
        document.address for path, document in rules.documents.items() if all(word in path.lower() for word in words)
    ]
    found.sort(key=lambda address: (not address.name.startswith(words[0]), address.name, address.path))
    return [
        Hit(
            address.name,
            reverse("resource", args=[address.team, address.system, address.kind, address.name]),
            "box",
            f"{address.kind} · {address.system}",
        )
        for address in found[:PER_GROUP]
    ]


def _kinds() -> Iterator[Hit]:
    for kind in catalog().kinds.values():
        icon = kind.icon or catalog().types[kind.type].icon
        yield Hit(f"New {kind.title}", f"{reverse('catalogue')}?q={kind.name}", icon, " ".join(kind.keywords[:3]))


def _changes(words: list[str], reader: User) -> list[Hit]:
    if not words:
        return []
    said = Q()
    for word in words:
        says = Q(title__icontains=word)
        number = word.removeprefix("#")
        said &= says | Q(pk=int(number)) if number.isascii() and number.isdigit() and len(number) < 18 else says
    found = ChangeRequest.objects.filter(said).exclude(private_to_others(reader.pk)).order_by("-pk")
    return [
        Hit(one.shown_title, reverse("change", args=[one.pk]), "git-pull-request-arrow", f"#{one.pk}")
        for one in found[:PER_GROUP]
    ]


def _people(rules: Snapshot, words: list[str]) -> list[Hit]:
    if not words:
        return []
    teams = [
        Hit(team.title, reverse("team", args=[name]), "users", name)
        for name, team in sorted(rules.teams.items())
        if _all_in(words, f"{name} {team.title}")
    ]
    said = Q()
    for word in words:
        said &= Q(username__icontains=word) | Q(first_name__icontains=word) | Q(last_name__icontains=word)
    people = User.objects.filter(said, is_active=True).order_by("username")[:PER_GROUP]
    asked = [
        Hit(user.shown_name, f"{reverse('history')}?q=by:{user.username}", "user-round", "what they asked for")
        for user in people
    ]
    return (teams + asked)[:PER_GROUP]
