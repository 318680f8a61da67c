"""Composing a change request: one page, saved while a person types.

The draft in the database is the state of the page. Form and YAML are two ways to send the same document; whatever
arrives is stored first and judged afterwards, so that a closed browser loses nothing.
"""

from collections.abc import Callable
from functools import partial

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from changes import workflow
from changes.documents import MAX_FILE_BYTES, InvalidFile
from changes.editing import update_text
from changes.models import ChangeRequest, Edit, StateConflict
from changes.plain_secrets import no_reference, plain_secrets
from changes.repository import RepositoryError
from changes.states import ChangeRequestState
from portal import access
from portal.forms.document import read_post
from portal.forms.document import refusal as refusal_of
from portal.views.desk import Desk, Said, main_text, parse, seen

VIEWS = ("form", "yaml", "split")
CURRENT = "draft"  # the session's key of the draft that the catalogue adds to


def own_draft(request: HttpRequest, number: int) -> ChangeRequest:
    """A change request that this person may edit: their own draft, or an open one of theirs or their team's."""
    found = access.change_request(request, number)
    if not workflow.may_edit(found, access.signed_in(request)):
        raise PermissionDenied("Only who asked for this change, and the teams it touches, can edit it.")
    return found


def composing(change_request: ChangeRequest) -> bool:
    """Whether its edits can be changed here: a draft, or an open request whose edits were loaded again."""
    if change_request.state == ChangeRequestState.DRAFT:
        return True
    return change_request.state == ChangeRequestState.OPEN and change_request.edits.exists()


def page(request: HttpRequest, number: int, edit: int | None = None) -> HttpResponse:
    """The page with one edit selected, the first one if none is named."""
    draft = own_draft(request, number)
    if not composing(draft):
        return redirect("change", number)
    remember(request, draft)
    selected = get_object_or_404(draft.edits, pk=edit) if edit else draft.edits.first()
    if selected is None:
        return redirect("compose_add", number)
    return show(request, Desk(draft, selected))


def remember(request: HttpRequest, change_request: ChangeRequest) -> None:
    """The catalogue offers to add to the draft that was open last."""
    if change_request.state == ChangeRequestState.DRAFT:
        request.session[CURRENT] = change_request.number


def show(request: HttpRequest, desk: Desk, *, status: int = 200) -> HttpResponse:
    view = request.GET.get("view") or request.COOKIES.get("compose-view", "")
    return render(request, "compose/page.html", context(desk, view), status=status)


def context(desk: Desk, view: str = "") -> dict[str, object]:
    return {
        "desk": desk,
        "change_request": desk.change_request,
        "section": "changes",
        "view": view if view in VIEWS else "form",
        "oob": False,
    }


def save(request: HttpRequest, number: int, edit: int) -> HttpResponse:
    """Store what was typed in the form or in the YAML, and answer with the parts of the page that follow from it."""
    if request.method != "POST":
        return redirect("compose_edit", number, edit)
    draft = own_draft(request, number)
    selected = get_object_or_404(draft.edits, pk=edit)
    desk = Desk(draft, selected)
    if request.POST.get("seen") != seen(selected):
        return _stale(request, desk)
    try:
        again = _save_yaml(request, desk) if request.POST.get("source") == "yaml" else _save_form(request, desk)
    except (workflow.Refused, StateConflict) as refusal:
        return _answer(request, desk, failed=str(refusal))
    return _answer(request, again, failed=again.not_saved)


def _save_yaml(request: HttpRequest, desk: Desk) -> Desk:
    assert desk.selected is not None
    text = request.POST.get("text", "").replace("\r\n", "\n")
    if len(text.encode()) > MAX_FILE_BYTES:
        raise workflow.Refused(f"A file has at most {MAX_FILE_BYTES:,} bytes: split it.")
    if refused := _plain_secrets(desk, text):
        desk.refused, desk.unsaved = refused, text
        return desk
    return _store(request, desk, text)


def _plain_secrets(desk: Desk, text: str) -> list[Said]:
    """Why the text may not be stored: what stands for a secret and is no reference that this team may use."""
    assert desk.selected is not None
    path = desk.selected.path
    refusal: Callable[[str], str] = no_reference
    if desk.address:
        refusal = partial(refusal_of, prefixes=desk.secret_prefixes)
    found = list(plain_secrets(path, text.encode(), refusal=refusal))
    if found and not found[0].field:
        found += parse(Edit(path=path, text=text))[1]  # what has to be mended first
    return [Said(each.message, each.field, each.line, gap=False) for each in found]


def _save_form(request: HttpRequest, desk: Desk) -> Desk:
    assert desk.selected is not None
    document = desk.parsed[0]
    if document is None or desk.kind is None:
        raise workflow.Refused("The form cannot be saved while the YAML cannot be read: mend the YAML first.")
    reading = read_post(
        desk.kind, document, request.POST, prefixes=desk.secret_prefixes, name=desk.address.name if desk.address else ""
    )
    text = desk.selected.text
    if reading.document != document:
        try:
            text = update_text(text, reading.document)
        except InvalidFile as invalid:
            why = ": ".join(filter(None, (invalid.problems[0].field, invalid.problems[0].message)))
            raise workflow.Refused(f"Not saved: {why}") from invalid
    again = _store(request, desk, text)
    again.typed, again.said, again.focus = reading.typed, reading.problems, reading.focus
    return again


def _store(request: HttpRequest, desk: Desk, text: str) -> Desk:
    assert desk.selected is not None
    if text != desk.selected.text:
        workflow.put_edit(desk.change_request, access.signed_in(request), desk.selected.path, text)
    return Desk(desk.change_request, get_object_or_404(desk.change_request.edits, path=desk.selected.path))


def _stale(request: HttpRequest, desk: Desk) -> HttpResponse:
    failed = "Not saved: this draft was changed in another window. Reload the page to go on from there."
    return _answer(request, desk, failed=failed)


def _answer(request: HttpRequest, desk: Desk, *, failed: str = "") -> HttpResponse:
    """The changed parts for htmx; for a browser without scripts the page again."""
    if not request.htmx:  # type: ignore[attr-defined]
        if failed:
            messages.error(request, failed)
        elif not desk.said and "do" not in request.POST:
            return redirect("compose_edit", desk.change_request.number, desk.selected.pk if desk.selected else 0)
        return show(request, desk, status=409 if failed else 200)
    from_yaml = request.POST.get("source") == "yaml"
    given = {
        **context(desk),
        "oob": True,
        "failed": failed,
        "redraw": not failed and (from_yaml or desk.structure != request.POST.get("structure")) and desk.sections,
        "rewrite": not failed and not from_yaml,
    }
    return render(request, "compose/saved.html", given)


@require_POST
def remove(request: HttpRequest, number: int, edit: int) -> HttpResponse:
    """Take one edit out of the draft."""
    draft = own_draft(request, number)
    selected = get_object_or_404(draft.edits, pk=edit)
    try:
        workflow.drop_edit(draft, access.signed_in(request), selected.path)
        messages.success(request, f"{selected.path} is no longer part of this request.")
    except (workflow.Refused, StateConflict) as refusal:
        messages.error(request, str(refusal))
    return redirect("compose", number)


@require_POST
def settle(request: HttpRequest, number: int, edit: int) -> HttpResponse:
    """Main has another text of this file now: keep one's own (`take=mine`) or begin again from main's."""
    draft, user = own_draft(request, number), access.signed_in(request)
    selected = get_object_or_404(draft.edits, pk=edit)
    try:
        if request.POST.get("take") == "main":
            text = main_text(selected.path)
            workflow.put_edit(draft, user, selected.path, text, delete=not text)
        workflow.rebase_edit(draft, user, selected.path)
    except (workflow.Refused, StateConflict) as refusal:
        messages.error(request, str(refusal))
    return redirect("compose_edit", number, edit)


@require_POST
def discard(request: HttpRequest, number: int) -> HttpResponse:
    """Throw the draft away, or the revision of an open request, which then stays as it was proposed."""
    draft, user = own_draft(request, number), access.signed_in(request)
    try:
        if draft.state == ChangeRequestState.OPEN:
            workflow.stop_revising(draft, user)
            return redirect("change", number)
        workflow.withdraw(draft, user, "Discarded")
        messages.success(request, f"Draft {number} was discarded.")
    except (workflow.Refused, StateConflict) as refusal:
        messages.error(request, str(refusal))
        return redirect("compose", number)
    request.session.pop(CURRENT, None)
    return redirect("home")


@require_POST
def describe(request: HttpRequest, number: int) -> HttpResponse:
    """Store title and reason while they are typed."""
    draft = own_draft(request, number)
    failed = _describe(request, draft)
    if not request.htmx:  # type: ignore[attr-defined]
        if failed:
            messages.error(request, failed)
        return redirect("compose", number)
    return render(request, "compose/_saved_state.html", {"failed": failed, "oob": True, "saved": True})


def _describe(request: HttpRequest, draft: ChangeRequest) -> str:
    title, reason = (request.POST.get(name, "").strip() for name in ("title", "reason"))
    try:
        workflow.describe(draft, access.signed_in(request), " ".join(title.split())[:200], reason[:10_000])
    except (workflow.Refused, StateConflict) as refusal:
        return str(refusal)
    return ""


@require_POST
def propose(request: HttpRequest, number: int) -> HttpResponse:
    """Commit the draft on its branch and open it for review; a request without a title gets the suggested one."""
    draft = own_draft(request, number)
    if "title" in request.POST and (failed := _describe(request, draft)):
        messages.error(request, failed)
        return redirect("compose", number)
    user = access.signed_in(request)
    try:
        draft.refresh_from_db()
        if not draft.title and (suggested := Desk(draft).suggested_title):
            workflow.describe(draft, user, suggested[:200], draft.reason)
        workflow.propose(draft, user)
    except (workflow.Refused, StateConflict, RepositoryError) as refusal:
        messages.error(request, str(refusal))
        return redirect("compose", number)
    request.session.pop(CURRENT, None)
    return redirect("change", number)
