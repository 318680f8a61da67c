"""The addresses of the catalogue and of composing a change request."""

from django.urls import path

from portal.views import catalogue, compose, compose_add

urlpatterns = [
    path("catalogue/", catalogue.catalogue_page, name="catalogue"),
    path("catalogue/<str:name>/", catalogue.kind_page, name="kind"),
    path("compose/", compose_add.new, name="compose_new"),
    path("changes/<int:number>/compose/", compose.page, name="compose"),
    path("changes/<int:number>/compose/add/", compose_add.add, name="compose_add"),
    path("changes/<int:number>/compose/describe/", compose.describe, name="compose_describe"),
    path("changes/<int:number>/compose/discard/", compose.discard, name="compose_discard"),
    path("changes/<int:number>/compose/propose/", compose.propose, name="compose_propose"),
    path("changes/<int:number>/compose/<int:edit>/", compose.page, name="compose_edit"),
    path("changes/<int:number>/compose/<int:edit>/save/", compose.save, name="compose_save"),
    path("changes/<int:number>/compose/<int:edit>/remove/", compose.remove, name="compose_remove"),
    path("changes/<int:number>/compose/<int:edit>/settle/", compose.settle, name="compose_settle"),
]
