"""All resources, found by typed filters, and one resource: what it is, where it stands, how it came to be so."""

import re
from collections.abc import Mapping

from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from changes.catalog import catalog
from changes.documents import Address, Document, InvalidFile
from changes.models import ChangeRequest
from changes.repository import CommitInfo, RepositoryError, state
from changes.rights import main_snapshot
from changes.snapshot import Snapshot
from executors.models import ItemResource, Resource
from executors.states import SyncState
from executors.waiting import waits_of, work_for
from portal.access import rights
from portal.filters import Filters, from_query
from portal.pages import Page, keyset, link
from portal.standing import present

PAGE = 60
COMMITS = 20
RUNS = 15
KEYS = ("team", "system", "kind", "state")
STATES = [choice for choice in SyncState.choices if choice[0] != SyncState.DELETED]
SHA = re.compile(r"[0-9a-f]{40}")


def resources(request: HttpRequest) -> HttpResponse:
    filters = from_query(request.GET, keys=KEYS, states=[value for value, _ in STATES])
    page = keyset(matching(filters), request.GET, size=PAGE, field="path", newest_first=False)
    rules = main_snapshot()
    context = {
        "section": "resources",
        "filters": filters,
        "page": page,
        "states": STATES,
        "teams": sorted(rules.teams),
        "systems": sorted(rules.systems),
        "kinds": sorted(catalog().kinds),
        "any": bool(rules.documents),
    }
    return render(request, "resources/list.html", context)


def matching(filters: Filters) -> "QuerySet[Resource]":
    found = present()
    for column in ("team", "system", "kind"):
        if wanted := getattr(filters, column):
            found = found.filter(**{column: wanted})
    if filters.state:
        found = found.filter(sync=filters.state)
    for word in filters.words:
        found = found.filter(Q(path__icontains=word) | Q(identity__icontains=word))
    return found


def resource(request: HttpRequest, team: str, system: str, kind: str, name: str) -> HttpResponse:
    try:
        address = Address.from_short(f"{team}/{system}/{kind}/{name}")
    except InvalidFile as problem:
        raise Http404 from problem
    rules = main_snapshot()
    document = rules.documents.get(address.path)
    standing = _standing(address.path)
    commits = _commits(address.path, request.GET)
    if document is None and standing is None and not commits.rows:
        raise Http404
    work = work_for(standing) if standing and standing.sync == SyncState.PENDING else None
    context = {
        "section": "resources",
        "address": address,
        "document": document,
        "problems": rules.problems.get(address.path, ()),
        "kind": catalog().kinds.get(kind),
        "system": rules.systems.get(system),
        "identity": _identity(document),
        "standing": standing,
        "work": work,
        "waits": waits_of(work) if work else (),
        "text": _text(rules, address.path),
        "needs": [Address.parse(path) for path in rules.needs(document)] if document else [],
        "needed_by": [Address.parse(path) for path in sorted(rules.referrers_of(address.path))],
        "siblings": _siblings(rules, address),
        "commits": commits,
        "runs": keyset(_runs(address.path), request.GET, size=RUNS, field="pk", newest_first=True, name="runs-"),
        "may_see_runs": rights(request).can_see_logs(teams=[team], systems=[system]),
        "may_edit": rights(request).can_edit(team),
    }
    return render(request, "resources/detail.html", context)


def _standing(path: str) -> Resource | None:
    """The row of what the path describes now; else of what it described, and that is still to be deleted, or was."""
    rows = Resource.objects.filter(path=path).select_related("commit", "applied_commit", "last_run")
    return max(rows, key=lambda row: (row.blob != "", row.sync != SyncState.DELETED, row.changed_at), default=None)


def _text(rules: Snapshot, path: str) -> str:
    return state().text(rules.files.get(path))


def _identity(document: Document | None) -> str:
    kind = catalog().kinds.get(document.address.kind) if document else None
    return kind.shown_identity(document) if kind and document else ""


def _siblings(rules: Snapshot, address: Address) -> list[Address]:
    """The same thing on the other systems of the same type."""
    here = rules.systems.get(address.system)
    others = [name for name, other in rules.systems.items() if here and other.type == here.type and other is not here]
    found = [Address(address.team, other, address.kind, address.name) for other in sorted(others)]
    return [one for one in found if one.path in rules.documents]


def _commits(path: str, query: Mapping[str, str]) -> Page[tuple[CommitInfo, ChangeRequest | None]]:
    """The commits that changed the file, each with the change request it merged; newest first, from `?commits=` on."""
    begin = _on_main(query.get("commits", ""))
    found = state().commits_touching(path, limit=COMMITS + 1, until=begin)
    commits, older = found[:COMMITS], found[COMMITS:]
    merged = ChangeRequest.objects.filter(merge_commit__in=[one.sha for one in commits]).select_related("requester")
    by_sha = {request.merge_commit: request for request in merged}
    return Page(
        [(commit, by_sha.get(commit.sha)) for commit in commits],
        older=link(query, ("commits",), "commits", older[0].sha) if older else "",
        newer=link(query, ("commits",)) if begin else "",
    )


def _on_main(sha: str) -> str | None:
    """The commit, if main has it."""
    repository = state()
    try:
        return sha if SHA.fullmatch(sha) and repository.contains(repository.main(), repository.info(sha).sha) else None
    except RepositoryError:
        return None


def _runs(path: str) -> "QuerySet[ItemResource]":
    return ItemResource.objects.filter(path=path).select_related("run", "item__rollout__commit")
