"""Rita of payments at the compose page."""

import pytest

from changes import setup
from changes.catalog import catalog
from tests.portal.compose.desks import FILES, Desk


@pytest.fixture
def rita(db, settings, tmp_path, client):
    catalog.cache_clear()
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()
    settings.MERGEYARD_REPOSITORY = tmp_path / "state.git"
    setup.initialise(settings.MERGEYARD_REPOSITORY, {path: text.encode() for path, text in FILES.items()})
    return Desk(client, "rita")
