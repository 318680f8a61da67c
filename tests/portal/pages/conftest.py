"""Signed-in readers of a small company's portal, and work that has been done there."""

import functools

import pytest
from django.test import Client

from tests.changes.conftest import office, small_catalog
from tests.portal.pages.records import record_work

__all__ = ["office", "small_catalog"]


@pytest.fixture(autouse=True)
def static_root(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()


@pytest.fixture
def reader(office):
    """A browser of one of the office's people."""

    def signed_in(username):
        client = Client()
        client.force_login(getattr(office, username))
        return client

    return signed_in


@pytest.fixture
def work(office):
    """Puts on record what the executors would."""
    return functools.partial(record_work, office)
