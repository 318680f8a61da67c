"""Django's registration of the app."""

from django.apps import AppConfig


class Config(AppConfig):
    name = "executors"
