"""Every address of the portal."""

from django.contrib.auth.views import LogoutView
from django.urls import include, path

from portal.views import (
    change,
    change_actions,
    errors,
    health,
    history,
    home,
    resources,
    search,
    session,
    systems,
    teams,
    tokens,
)

urlpatterns = [
    path("", home.home, name="home"),
    path("login/", session.Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("theme/", session.theme, name="theme"),
    path("search/", search.search, name="search"),
    path("history/", history.history, name="history"),
    path("changes/<int:number>/", change.change, name="change"),
    path("changes/<int:number>/approve/", change_actions.approve, name="change_approve"),
    path("changes/<int:number>/comment/", change_actions.comment, name="change_comment"),
    path("changes/<int:number>/merge/", change_actions.merge, name="change_merge"),
    path("changes/<int:number>/withdraw/", change_actions.withdraw, name="change_withdraw"),
    path("changes/<int:number>/reject/", change_actions.reject, name="change_reject"),
    path("changes/<int:number>/update/", change_actions.update, name="change_update"),
    path("changes/<int:number>/revise/", change_actions.revise, name="change_revise"),
    path("changes/<int:number>/revert/", change_actions.revert, name="change_revert"),
    path("systems/", systems.systems, name="systems"),
    path("systems/<str:name>/", systems.system, name="system"),
    path("resources/", resources.resources, name="resources"),
    path("resources/<str:team>/<str:system>/<str:kind>/<str:name>/", resources.resource, name="resource"),
    path("teams/", teams.teams, name="teams"),
    path("teams/<str:name>/", teams.team, name="team"),
    path("health/", health.page, name="health"),
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.ready, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("tokens/", tokens.tokens, name="tokens"),
    path("tokens/<int:pk>/revoke/", tokens.revoke, name="token_revoke"),
    path("", include("portal.urls_compose")),
    path("", include("portal.urls_live")),
]

handler400 = errors.bad_request
handler403 = errors.forbidden
handler404 = errors.not_found
handler500 = errors.server_error
