"""What people do to a change request. Each form carries the head its reader saw; a newer head refuses it.

A view authorises, calls one verb of `changes.workflow`, and says what came of it.
"""

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from changes import workflow
from changes.models import ChangeRequest, StateConflict, User
from changes.repository import RepositoryError
from changes.review import barred_from_approving
from changes.workflow import Refused
from executors import queues
from portal.access import change_request, signed_in

STALE = "It changed since you looked, so nothing was done. This is how it is now: look again, then decide."
Verb = Callable[[ChangeRequest, User], str]


def _act(request: HttpRequest, number: int, verb: Verb, *, tab: str = "", seen: bool = True) -> HttpResponseBase:
    """Do it and go back to the page; `verb` returns what is said then. `seen`: refuse a head that is not the form's."""
    found = change_request(request, number)
    page = reverse("change", args=[number]) + (f"?tab={tab}" if tab else "")
    if seen and request.POST.get("head", "") != found.head:
        messages.warning(request, STALE)
        return redirect(page)
    try:
        done = verb(found, signed_in(request))
    except Refused as refused:
        messages.error(request, str(refused))
    except StateConflict:
        messages.warning(request, STALE)
    except RepositoryError as problem:
        messages.error(request, f"Nothing was done: {problem}")
    else:
        if done:
            messages.success(request, done)
    return redirect(page)


@require_POST
def approve(request: HttpRequest, number: int) -> HttpResponseBase:
    """Say yes or no to plan items; the button says which."""
    decision = "no" if request.POST.get("decision") == "no" else "yes"
    digests = request.POST.getlist("items")
    tab = "checks" if request.POST.get("tab") == "checks" else "plan"

    def verb(found: ChangeRequest, user: User) -> str:
        if not digests:
            raise Refused("Choose at least one item to approve or to decline.")
        workflow.approve(found, user, decision, digests, request.POST.get("comment", "").strip())
        if decision == "yes" and user.username in barred_from_approving(found):
            return "Your no is taken back. Somebody else must approve it."
        count = f"{len(digests)} item{'' if len(digests) == 1 else 's'}"
        return f"You approved {count}." if decision == "yes" else f"You declined {count}. It cannot be merged as it is."

    return _act(request, number, verb, tab=tab)


@require_POST
def comment(request: HttpRequest, number: int) -> HttpResponseBase:
    def verb(found: ChangeRequest, user: User) -> str:
        workflow.comment(found, user, request.POST.get("text", "").strip())
        return ""

    return _act(request, number, verb, tab="discussion", seen=False)


@require_POST
def merge(request: HttpRequest, number: int) -> HttpResponseBase:
    def verb(found: ChangeRequest, user: User) -> str:
        workflow.merge(found, user)
        queues.wake()
        return ""  # the page becomes its rollout, which says all of it

    return _act(request, number, verb)


@require_POST
def withdraw(request: HttpRequest, number: int) -> HttpResponseBase:
    def verb(found: ChangeRequest, user: User) -> str:
        workflow.withdraw(found, user, request.POST.get("why", "").strip())
        return "Withdrawn. Nothing of it will be applied."

    return _act(request, number, verb, seen=False)


@require_POST
def reject(request: HttpRequest, number: int) -> HttpResponseBase:
    def verb(found: ChangeRequest, user: User) -> str:
        workflow.reject(found, user, request.POST.get("why", "").strip())
        return "Rejected. Nothing of it will be applied."

    return _act(request, number, verb)


@require_POST
def update(request: HttpRequest, number: int) -> HttpResponseBase:
    def verb(found: ChangeRequest, user: User) -> str:
        workflow.update_branch(found, user)
        return "The branch has main’s newest commits now. Approvals of items that did not change are kept."

    return _act(request, number, verb)


@require_POST
def revise(request: HttpRequest, number: int) -> HttpResponseBase:
    """Open it in compose again."""
    found = change_request(request, number)
    try:
        workflow.revise(found, signed_in(request))
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("change", number)
    return redirect("compose", number)


@require_POST
def revert(request: HttpRequest, number: int) -> HttpResponseBase:
    """A draft that undoes a merged request, to be looked at and proposed."""
    found = change_request(request, number)
    try:
        draft = workflow.revert(found, signed_in(request))
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("change", number)
    messages.info(request, f"This draft undoes change request {number}. Look at its plan, then propose it.")
    return redirect("compose", draft.pk)
