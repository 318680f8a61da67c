"""My tokens for git over HTTP: made, shown once, withdrawn; and how to clone and push with one."""

from datetime import timedelta

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from changes import tokens as access_tokens
from portal.access import signed_in

LIFETIMES = (("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "no end"))
MAX_TITLE = 100


@never_cache
def tokens(request: HttpRequest) -> HttpResponse:
    """The list; a POST makes a token and shows its secret on this one answer, which nobody keeps."""
    made, secret, error, title = None, "", "", ""
    if request.method == "POST":
        title = request.POST.get("title", "").replace("\0", "").strip()
        error = _problem(title)
        if not error:
            days = request.POST.get("days", "90")
            expires = timezone.now() + timedelta(days=int(days)) if days in ("30", "90", "365") else None
            made, secret = access_tokens.create(signed_in(request), title=title, expires_at=expires)
            title = ""
    base = request.build_absolute_uri("/git/state.git")
    scheme, _, rest = base.partition("://")
    context = {
        "section": "tokens",
        "tokens": access_tokens.of(signed_in(request)),
        "now": timezone.now(),
        "made": made,
        "secret": secret,
        "error": error,
        "title": title,
        "lifetimes": LIFETIMES,
        "clone_url": f"{scheme}://{signed_in(request).username}@{rest}",
    }
    return render(request, "tokens/list.html", context, status=422 if error else 200)


def _problem(title: str) -> str:
    if not title:
        return "Say where you will use it, like “laptop”: you will want to know which one to withdraw."
    if len(title) > MAX_TITLE:
        return f"The name has {len(title)} characters; {MAX_TITLE} are the most."
    return ""


@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponseBase:
    if access_tokens.revoke(signed_in(request), pk):
        messages.success(request, "The token is withdrawn: git refuses it from now on.")
    else:
        messages.warning(request, "There is no such token of yours; it may have been withdrawn already.")
    return redirect("tokens")
