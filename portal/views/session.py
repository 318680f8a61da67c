"""Signing in and out, and the reader's colours."""

import contextlib

from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_not_required
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from portal.access import THEMES, within_site

A_YEAR = 365 * 24 * 3600
MAX_FAILURES = 10
WAIT_SECONDS = 300


class Login(auth_views.LoginView):
    """The sign-in page. After ten wrong passwords for a name it refuses that name for five minutes."""

    redirect_authenticated_user = True
    extra_context = {"section": ""}

    @property
    def _key(self) -> str:
        return "login-failures:" + self.request.POST.get("username", "").strip().lower()[:150].encode().hex()

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if self._tries() <= MAX_FAILURES:
            return super().post(request, *args, **kwargs)
        form = self.get_form_class()(request)
        context = self.get_context_data(form=form, throttled=True, tried=request.POST.get("username", ""))
        return self.render_to_response(context, status=429)

    def _tries(self) -> int:
        """Of this name, with this one. It counts before its password is looked at: others may be on their way."""
        for _ in range(3):
            cache.add(self._key, 0, WAIT_SECONDS)
            with contextlib.suppress(ValueError):  # it expired in between
                return cache.incr(self._key)
        return MAX_FAILURES + 1

    def form_valid(self, form: object) -> HttpResponse:
        cache.delete(self._key)
        return super().form_valid(form)  # type: ignore[arg-type]


@login_not_required
@require_POST
def theme(request: HttpRequest) -> HttpResponseBase:
    """Keep the reader's choice of colours in a cookie, and go back to where they were."""
    chosen = request.POST.get("theme", "auto")
    answer = redirect(within_site(request, request.POST.get("next", "/"), otherwise="/"))
    answer.set_cookie("theme", chosen if chosen in THEMES else "auto", max_age=A_YEAR, samesite="Lax")
    return answer
