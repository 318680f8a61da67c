"""Who may see and do what on pages: fetches a row and authorises the person, or raises 404 / 403.

The rights themselves are computed in `changes.rights` from the files of the main branch.
"""

import logging
from collections.abc import Callable
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.http import url_has_allowed_host_and_scheme

from changes.models import ChangeRequest, User
from changes.repository import RepositoryError
from changes.rights import Rights, approved_snapshot, rights_of, rights_under
from changes.states import ChangeRequestState
from executors.models import WorkItem
from executors.rights import read_rights, teams_behind

log = logging.getLogger(__name__)

THEMES = ("auto", "light", "dark")
ROLES = "roles"  # in a session: those that its person had when they were last seen
ROLE_LOST = "What you may do here has changed since you signed in, so please sign in again."


def signed_in(request: HttpRequest) -> User:
    """The person behind the request; LoginRequiredMiddleware has seen to it that there is one."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def sessions_end_with_roles(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: who lost a role signs in anew, so that no open page of theirs goes on as if nothing had happened."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        if request.user.is_authenticated and (lost := _roles_lost(request)):
            log.info("The session of %s ends: no longer %s", request.user.get_username(), ", ".join(sorted(lost)))
            logout(request)
            messages.info(request, ROLE_LOST)
            return redirect_to_login(request.get_full_path() if request.method == "GET" else "/")
        return get_response(request)

    return answer


def _roles_lost(request: HttpRequest) -> set[str]:
    """Since the last request of this session. New ones are noted. Nothing is lost while main cannot be read."""
    try:
        found = rights_under(approved_snapshot(), signed_in(request).username)
    except RepositoryError:
        return set()
    request._rights = found  # type: ignore[attr-defined]
    now = {f"team {team}" for team in found.teams} | ({"auditor"} if found.is_auditor else set())
    before = set(request.session.get(ROLES, ()))
    if now > before:
        request.session[ROLES] = sorted(now)
    return before - now


def within_site(request: HttpRequest, address: str, *, otherwise: str) -> str:
    """Where to send a person who names the address: there if it is a page of ours, else `otherwise`.

    A word without a slash would be looked up as the name of a view.
    """
    here = url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=request.is_secure())
    return address if here and address.startswith(("/", "http")) and "/" in address else otherwise


def rights(request: HttpRequest) -> Rights:
    """The rights of the signed-in person, computed once for each page."""
    known = getattr(request, "_rights", None)
    if not isinstance(known, Rights):
        known = rights_of(signed_in(request))
        request._rights = known  # type: ignore[attr-defined]
    return known


def change_request(request: HttpRequest, number: int) -> ChangeRequest:
    """A change request that the person may see: every one, but a draft, discarded or not, only when it is theirs."""
    found = get_object_or_404(ChangeRequest.objects.select_related("requester", "reverts"), pk=number)
    if never_proposed(found) and found.requester_id != signed_in(request).pk:
        raise Http404
    return found


def never_proposed(found: ChangeRequest) -> bool:
    return found.state == ChangeRequestState.DRAFT or (found.state == ChangeRequestState.WITHDRAWN and not found.head)


def private_to_others(reader: int) -> Q:
    """Drafts of other people, discarded ones too."""
    drafts = Q(state=ChangeRequestState.DRAFT) | Q(state=ChangeRequestState.WITHDRAWN, head="")
    return drafts & ~Q(requester_id=reader)


def may_see_logs(user: User, item: WorkItem) -> bool:
    """Logs and outputs of a work item."""
    return read_rights(user, item.rollout)(item)


def log_readers(item: WorkItem) -> str:
    """Who may see them, as a sentence."""
    rules, teams = approved_snapshot(), ", ".join(sorted(teams_behind(item)))
    system = rules.systems.get(item.system)
    owners = ", ".join(system.owners) if system else "nobody any more"
    whose = "requesting team" if item.rollout.change_request_id else "resources’ team"
    readers = [f"the {whose} ({teams})"] if teams else []
    readers += [f"the owners of {item.system} ({owners})", "the platform team"]
    readers += [f"the auditors ({rules.auditors})"] if rules.auditors else []
    return f"Logs are for {', '.join(readers[:-1])} and {readers[-1]}."


def zone_of(request: HttpRequest) -> tzinfo:
    """The reader's time zone, which the script of every page notes in a cookie; else UTC."""
    try:
        return ZoneInfo(request.COOKIES.get("zone", "UTC")[:64])
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return UTC


def person(request: HttpRequest) -> dict[str, object]:
    """Context processor: what the frame of every page shows of the reader."""
    theme = request.COOKIES.get("theme", "auto")
    context: dict[str, object] = {"theme": theme if theme in THEMES else "auto"}
    if getattr(request, "user", None) is not None and request.user.is_authenticated:
        context["my_teams"] = sorted(rights(request).teams)
    return context
