"""A state repository, a queue and a database of their own, outside of pytest: what the benchmarks of runs work on."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from tests.servers import start_postgresql, start_valkey

CATALOG = Path(__file__).parents[1] / "executors" / "catalog"


@contextlib.contextmanager
def open_yard(*, postgresql=False):
    """A `Yard` with Django set up for it, on SQLite if not on PostgreSQL; once per process."""
    directory = Path(tempfile.mkdtemp(prefix="bench-")).resolve()
    servers = [queue := start_valkey(directory / "queue")]
    if postgresql:
        server, os.environ["MERGEYARD_DATABASE_URL"] = start_postgresql(directory / "postgresql")
        servers.append(server)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "MERGEYARD_SECRET_KEY": "only-for-benchmarks",
        "MERGEYARD_HOME": str(directory),
        "MERGEYARD_REDIS_URL": queue.url,
        "MERGEYARD_LOCAL_PATHS": str(directory),
        "MERGEYARD_UNCONTAINED": "*",
        "MERGEYARD_LOG_LEVEL": "ERROR",
    }
    try:
        import django
        from django.conf import settings
        from django.core.management import call_command

        django.setup()
        settings.MERGEYARD_CATALOG = [CATALOG]
        call_command("migrate", verbosity=0)
        from executors.ansible.warm import sandboxes
        from tests.executors.conftest import Yard

        yield Yard(directory)
        sandboxes.end()
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(directory)
