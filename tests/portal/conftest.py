"""The portal's process for tests of its live parts."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.portal.live import Portal


@pytest.fixture(scope="session")
def portal_process(django_db_blocker):
    directory = Path(tempfile.mkdtemp(prefix="portal-"))
    with django_db_blocker.unblock():
        started = Portal(directory)
        started.use_former()
    yield started
    with django_db_blocker.unblock():
        started.stop()
    shutil.rmtree(directory)


@pytest.fixture
def portal(portal_process, django_db_blocker):
    """A portal that runs; within the test the database is its own."""
    with django_db_blocker.unblock():
        portal_process.use_own()
        yield portal_process
        portal_process.use_former()
