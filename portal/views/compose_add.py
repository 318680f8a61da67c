"""Adding an edit to a draft: a new resource of a kind, an existing one to change or delete, any file by its path."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST

from changes import workflow
from changes.catalog import catalog
from changes.declarations import System
from changes.documents import NAME, Address, name_message
from changes.editing import update_text
from changes.kinds import Kind
from changes.models import ChangeRequest, StateConflict
from changes.states import ChangeRequestState
from portal import access
from portal.views.compose import CURRENT, composing, context, own_draft, remember
from portal.views.desk import Desk, main_text

SHOWN = 12  # existing resources listed under the search


@dataclass
class Adding:
    """What the page asks before the form of a new resource: kind, team, system, name."""

    desk: Desk
    teams: list[str]
    kind_name: str = ""
    team: str = ""
    system: str = ""
    name: str = ""

    @cached_property
    def kind(self) -> Kind | None:
        return catalog().kinds.get(self.kind_name)

    @cached_property
    def kinds(self) -> list[Kind]:
        """Every kind that some system offers."""
        offered = {system.type for system in self.desk.head.systems.values()}
        return sorted((kind for kind in catalog().kinds.values() if kind.type in offered), key=lambda kind: kind.title)

    @cached_property
    def systems(self) -> list[System]:
        if self.kind is None:
            return []
        found = [system for system in self.desk.head.systems.values() if system.type == self.kind.type]
        return sorted(found, key=lambda system: (system.environment, system.name))

    def settle(self) -> None:
        """Choose what there is only one of; drop what the kind does not offer."""
        if self.system not in [system.name for system in self.systems]:
            self.system = self.systems[0].name if len(self.systems) == 1 else ""
        if self.team not in self.teams:
            self.team = self.teams[0] if len(self.teams) == 1 else ""

    @property
    def address(self) -> Address | None:
        if not (self.kind and self.team and self.system and NAME.fullmatch(self.name)):
            return None
        return Address(self.team, self.system, self.kind.name, self.name)

    @property
    def name_error(self) -> str:
        """Why the name cannot be; empty while there is none."""
        if not self.name:
            return ""
        if not NAME.fullmatch(self.name):
            return name_message("resource", self.name)
        if self.address and self.address.path in self.desk.head.files:
            where = "in this request" if self.address.path in [e.path for e in self.desk.edits] else "already"
            return (
                f"{self.team} has a {self.address.kind} named {self.name} on {self.system} {where}: take another name."
            )
        return ""

    @property
    def missing(self) -> str:
        """The first thing that is still to be said."""
        if self.kind is None:
            return "Choose what you need."
        if not self.teams:
            return "You are in no team yet: ask the platform team to add you to one, then come back."
        if not self.team:
            return "Choose the team that will own it."
        if not self.system:
            return "Choose the system where it shall be." if self.systems else "No system offers this kind yet."
        return "" if self.name else "Give it a name."


def teams_of(request: HttpRequest, desk: Desk) -> list[str]:
    """The teams that this person may ask for; the platform team may ask for any."""
    rights = access.rights(request)
    return sorted(desk.main.teams if rights.is_platform else rights.teams)


def add(request: HttpRequest, number: int) -> HttpResponse:
    """Ask what to add, and add it."""
    draft = own_draft(request, number)
    if not composing(draft):
        return redirect("change", number)
    desk = Desk(draft)
    given = request.POST if request.method == "POST" else request.GET
    adding = Adding(
        desk, teams_of(request, desk), *(given.get(key, "").strip() for key in ("kind", "team", "system", "name"))
    )
    adding.settle()
    if request.method == "POST":
        return _added(request, draft, adding)
    remember(request, draft)
    query = request.GET.get("q", "").strip()
    shown = {
        **context(desk),
        "adding": adding,
        "query": query,
        "found": found(desk, query, adding.teams),
        "existing": "q" in request.GET,
    }
    target = request.headers.get("HX-Target", "")
    template = {"add-new": "compose/_add_new.html", "add-existing-list": "compose/_add_existing.html"}
    return render(request, template.get(target, "compose/add.html"), shown)


def _added(request: HttpRequest, draft: ChangeRequest, adding: Adding) -> HttpResponse:
    path, delete = request.POST.get("path", ""), "delete" in request.POST
    try:
        if path:
            return _open(request, draft, path, delete=delete)
        problem = adding.missing or adding.name_error
        if problem or adding.address is None or adding.kind is None:
            raise workflow.Refused(problem)
        text = update_text("", {"kind": adding.kind.name, "spec": {}})
        workflow.put_edit(draft, access.signed_in(request), adding.address.path, text)
    except (workflow.Refused, StateConflict) as refusal:
        messages.error(request, str(refusal))
        keys = {key: request.POST.get(key, "") for key in ("kind", "team", "system", "name")}
        return redirect(f"{reverse('compose_add', args=[draft.number])}?{urlencode(keys)}")
    return redirect("compose_edit", draft.number, draft.edits.get(path=adding.address.path).pk)


def _open(request: HttpRequest, draft: ChangeRequest, path: str, *, delete: bool) -> HttpResponse:
    """Take a file of main into the draft, to change it or to delete it."""
    known = draft.edits.filter(path=path).first()
    if known is None or delete:
        text = main_text(path)
        if not text and not access.rights(request).is_platform:
            raise workflow.Refused(f"{path} is not on the main branch: it may have been deleted meanwhile.")
        workflow.put_edit(draft, access.signed_in(request), path, "" if delete else text, delete=delete)
    return redirect("compose_edit", draft.number, draft.edits.get(path=path).pk)


def found(desk: Desk, query: str, teams: Iterable[str]) -> list[tuple[Address, Kind | None, bool]]:
    """Resources on main that this person may change and that fit every word of the query."""
    words = query.lower().split()
    allowed, taken = set(teams), {edit.path for edit in desk.edits}
    hits: list[tuple[Address, Kind | None, bool]] = []
    for path in sorted(desk.main.documents):
        address = desk.main.documents[path].address
        if address.team in allowed and all(word in path.lower() for word in words):
            hits.append((address, catalog().kinds.get(address.kind), path in taken))
            if len(hits) == SHOWN:
                break
    return hits


@require_POST
def new(request: HttpRequest) -> HttpResponse:
    """Start a draft, or go on with the current one, with ?kind= to add, ?edit= or ?delete= a path on main."""
    user = access.signed_in(request)
    draft = current(request) if "current" in request.POST else None
    draft = draft or workflow.start_draft(user)
    remember(request, draft)
    path = request.GET.get("edit") or request.GET.get("delete") or ""
    if path:
        try:
            return _open(request, draft, path, delete="delete" in request.GET)
        except (workflow.Refused, StateConflict) as refusal:
            messages.error(request, str(refusal))
            return redirect("compose_add", draft.number)
    keys = {key: request.GET[key] for key in ("kind", "system", "team") if request.GET.get(key)}
    return redirect(f"{reverse('compose_add', args=[draft.number])}?{urlencode(keys)}".rstrip("?"))


def current(request: HttpRequest) -> ChangeRequest | None:
    """The draft that this person was last composing, if it still is one."""
    number = int(request.session.get(CURRENT) or 0)
    return ChangeRequest.objects.filter(
        pk=number, requester=access.signed_in(request), state=ChangeRequestState.DRAFT
    ).first()
