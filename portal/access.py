"""Who may see and do what on pages: fetches a row and authorises the person, or raises 404 / 403.

The rights themselves are computed in `changes.rights` from the files of the main branch.
"""

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404

from changes.models import ChangeRequest, User
from changes.rights import Rights, rights_of
from changes.states import ChangeRequestState

THEMES = ("auto", "light", "dark")


class Person(HttpRequest):
    """A request of a signed-in person, for type checkers."""

    user: User


def rights(request: HttpRequest) -> Rights:
    """The rights of the signed-in person, computed once for each page."""
    known = getattr(request, "_rights", None)
    if known is None:
        known = rights_of(signed_in(request))
        request._rights = known  # type: ignore[attr-defined]
    return known


def signed_in(request: HttpRequest) -> User:
    """The person behind the request; LoginRequiredMiddleware has seen to it that there is one."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def change_request(request: HttpRequest, number: int) -> ChangeRequest:
    """A change request that the person may see: every one, but a draft only when it is theirs."""
    found = get_object_or_404(ChangeRequest.objects.select_related("requester", "reverts"), pk=number)
    if found.state == ChangeRequestState.DRAFT and found.requester_id != signed_in(request).pk:
        raise Http404
    return found


def person(request: HttpRequest) -> dict[str, object]:
    """Context processor: what the frame of every page shows of the reader."""
    theme = request.COOKIES.get("theme", "auto")
    context: dict[str, object] = {"theme": theme if theme in THEMES else "auto"}
    if getattr(request, "user", None) is not None and request.user.is_authenticated:
        try:
            context["my_teams"] = sorted(rights(request).teams)
        except Exception:  # the frame is drawn on error pages too, where the repository may be what is broken
            context["my_teams"] = []
    return context
