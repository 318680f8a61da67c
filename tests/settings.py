"""The portal's settings for tests: a private home, no fixed port anywhere."""

import os
import tempfile

if "MERGEYARD_HOME" not in os.environ:  # what a test starts is in its home, and makes none
    os.environ["MERGEYARD_HOME"] = tempfile.mkdtemp(prefix="mergeyard-tests-")
os.environ.setdefault("MERGEYARD_SECRET_KEY", "only-for-tests")
os.environ.setdefault("MERGEYARD_REDIS_URL", "unix:///nonexistent/redis.sock")

from portal.settings import *  # noqa: E402,F403

MERGEYARD_LEASE_SECONDS = int(os.environ.get("MERGEYARD_TEST_LEASE_SECONDS", 30))
MERGEYARD_RENEW_WITHIN_SECONDS = int(os.environ.get("MERGEYARD_TEST_RENEW_WITHIN_SECONDS", 20))

# A file: the shared in-memory database of Django's tests does not wait for locks, so threads fail in it.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # noqa: F405
    DATABASES["default"]["TEST"] = {"NAME": str(MERGEYARD_HOME / "tests.sqlite3")}  # noqa: F405
