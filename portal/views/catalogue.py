"""The catalogue: what can be asked for, found by what a person wants to do."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Max
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from changes.approvals import asked_for
from changes.catalog import catalog
from changes.documents import Address
from changes.editing import update_text
from changes.kinds import Kind, SystemType
from changes.models import PlanRow
from changes.repository import RepositoryError
from changes.rights import main_snapshot
from portal import access
from portal.forms.shapes import MISSING, Schema, as_schema, resolve, type_of
from portal.forms.tree import Drawing, Field
from portal.usual import Usual, usual_by_kind
from portal.views.compose_add import current

# How much a word counts where it is found.
WEIGHTS = (("title", 8), ("keywords", 6), ("summary", 3), ("type", 3), ("help", 1))
WHOLE_KEYWORD = 6
FILLER = re.compile(
    "a|an|and|be|can|for|get|give|i|in|is|it|make|may|me|my|need|new|of|on|or|our|so|some|somebody|someone|that|the|to|us|"
    "want|we|who|with"
)


@dataclass(frozen=True, slots=True)
class Card:
    """A kind as the catalogue shows it."""

    kind: Kind
    type: SystemType
    systems: int
    owners: tuple[str, ...]
    recent: bool
    usual: Usual | None

    @property
    def icon(self) -> str:
        return self.kind.icon or self.type.icon

    @property
    def example(self) -> str:
        return short_example(self.kind)


def short_example(kind: Kind) -> str:
    """One line of the kind's example: its first few fields."""
    parts = [f"{key}: {value}" for key, value in kind.example.items() if isinstance(value, str | int | float)]
    return ", ".join(parts[:3])


def cards(request: HttpRequest) -> list[Card]:
    """Every kind, what this person asked for lately first."""
    known = catalog()
    recent = recent_kinds(request)
    try:
        systems = list(main_snapshot().systems.values())
    except RepositoryError:
        systems = []
    usual = usual_by_kind()
    made = []
    for kind in known.kinds.values():
        offering = [system for system in systems if system.type == kind.type]
        owners = tuple(dict.fromkeys(team for system in offering for team in system.owners))
        type = known.types[kind.type]
        made.append(Card(kind, type, len(offering), owners, kind.name in recent, usual.get(kind.name)))
    order = {name: place for place, name in enumerate(recent)}

    def place(card: Card) -> tuple[bool, int, str, str]:
        return not card.systems, order.get(card.kind.name, len(order)), card.type.title, card.kind.title

    return sorted(made, key=place)


def recent_kinds(request: HttpRequest) -> list[str]:
    """The kinds of this person's last requests, newest first."""
    mine = PlanRow.objects.filter(change_request__requester=access.signed_in(request)).exclude(kind="")
    return list(mine.values_list("kind", flat=True).annotate(last=Max("change_request_id")).order_by("-last")[:3])


def score(card: Card, query: str) -> int:
    """How well a kind answers what a person wants; 0: not at all.

    Every word but fillers counts where a word begins with it, most where the whole of it is one of the keywords.
    """
    words = [word for word in re.findall(r"[a-z0-9]+", query.lower()) if not FILLER.fullmatch(word)]
    texts = {
        "title": card.kind.title,
        "keywords": " ".join(card.kind.keywords),
        "summary": card.kind.summary,
        "type": f"{card.type.title} {card.kind.name}",
        "help": card.kind.help,
    }
    lowered = {key: text.lower() for key, text in texts.items()}
    total = 0
    for word in words:
        stem = word[:-1] if len(word) > 3 and word.endswith("s") else word
        total += sum(weight for key, weight in WEIGHTS if re.search(rf"\b{stem}", lowered[key]))
    asked = [keyword for keyword in card.kind.keywords if keyword.lower() in query.lower()]
    return total + WHOLE_KEYWORD * len(asked) if total else 0


def fitting(found: list[Card], query: str) -> list[Card]:
    """Those that answer a query, the good ones first, and of these first what can be had here."""
    rated = [(score(card, query), card) for card in found]
    best = max((rate for rate, _ in rated), default=0)
    rated = [(rate, card) for rate, card in rated if rate and rate * 4 >= best]
    rated.sort(key=lambda pair: (pair[0] * 2 < best, not pair[1].systems, -pair[0]))
    return [card for _, card in rated]


def catalogue_page(request: HttpRequest) -> HttpResponse:
    query = request.GET.get("q", "").strip()
    shown = cards(request)
    if query:
        shown = fitting(shown, query)
    given = {"section": "catalogue", "query": query, "cards": shown, "draft": current(request)}
    template = "catalogue/_cards.html" if request.headers.get("HX-Target") == "cards" else "catalogue/page.html"
    return render(request, template, given)


def kind_page(request: HttpRequest, name: str) -> HttpResponse:
    """One kind: what it is, its fields, what cannot be changed later and what is risky, an example."""
    known = catalog()
    kind = known.kinds.get(name)
    if kind is None:
        raise Http404
    type = known.types[kind.type]
    rules = main_snapshot()
    systems = [system for system in rules.systems.values() if system.type == kind.type]
    username = access.signed_in(request).username
    team = min(rules.teams_of(username), default="")
    given = {
        "section": "catalogue",
        "kind": kind,
        "type": type,
        "icon": kind.icon or type.icon,
        "fields": documented(kind),
        "example": update_text("", {"kind": kind.name, "spec": kind.example}),
        "systems": [
            (system, asked_for(Address(team, system.name, kind.name, "x"), rules=rules, requester=username))
            for system in sorted(systems, key=lambda system: (system.environment, system.name))
        ],
        "usual": usual_by_kind().get(kind.name),
        "draft": current(request),
    }
    return render(request, "catalogue/kind.html", given)


@dataclass(frozen=True, slots=True)
class Documented:
    """A field of a kind, how deep it lies, and whether only some values of other fields ask for it."""

    field: Field
    path: str
    depth: int
    conditional: bool


def documented(kind: Kind) -> list[Documented]:
    """Every field of the kind in the order of its schema."""
    return list(_documented(kind.spec_schema, Drawing(root=kind.spec_schema), "", 0))


def _documented(schema: Schema, drawing: Drawing, within: str, depth: int) -> Iterator[Documented]:
    schema = resolve(schema, drawing.root)
    branches = [as_schema(schema.get(name)) for name in ("then", "else")]
    refused = {
        name for branch in branches for name, each in as_schema(branch.get("properties")).items() if each is False
    }
    added = {name: each for branch in branches for name, each in as_schema(branch.get("properties")).items() if each}
    own = as_schema(schema.get("properties"))
    required = schema.get("required")
    for name in dict.fromkeys([*own, *added]):
        each = {**as_schema(own.get(name)), **as_schema(added.get(name))}
        path = f"{within}{name}"
        needed = isinstance(required, list) and name in required
        found = drawing.draw(each, MISSING, name=path, required=needed)
        yield Documented(found, path, depth, conditional=name in refused)
        part = resolve(each, drawing.root)
        if type_of(part) == "object":
            yield from _documented(part, drawing, f"{path}.", depth + 1)
        elif isinstance(part.get("items"), dict):
            yield from _documented(as_schema(part["items"]), drawing, f"{path}[].", depth + 1)
