"""Addresses of rollouts, runs and their stream; `portal.urls` includes them."""

from django.urls import path

from portal.views import events, rollouts

urlpatterns = [
    path("events/", events.events, name="events"),
    path("rollouts/", rollouts.rollouts, name="rollouts"),
    path("rollouts/<int:pk>/", rollouts.rollout, name="rollout"),
    path("items/<int:pk>/retry/", rollouts.item_retry, name="item_retry"),
    path("items/<int:pk>/cancel/", rollouts.item_cancel, name="item_cancel"),
    path("runs/<int:pk>/log/", rollouts.run_log, name="run_log"),
    path("runs/<int:pk>/search/", rollouts.run_search, name="run_search"),
    path("runs/<int:pk>/log.txt", rollouts.run_download, name="run_download"),
]
