"""The locks that killed processes left in a repository: git refuses every further move until they go.

Owns telling them from those in use: git holds one for milliseconds. Knows neither git nor the rest of this package.
"""

import contextlib
import os
import time
from pathlib import Path

LOCK_SECONDS = 60
OTHERS = ("HEAD.lock", "packed-refs.lock", "config.lock")  # whoever moves main holds that of HEAD too


def left_locks(repository: Path) -> list[Path]:
    """Those older than LOCK_SECONDS, of the bare repository at this path."""
    locks = [repository / name for name in OTHERS]
    for folder, _, names in os.walk(repository / "refs" / "heads"):
        locks += [Path(folder, name) for name in names if name.endswith(".lock")]  # no branch may be named so
    before, found = time.time() - LOCK_SECONDS, []
    for lock in locks:
        with contextlib.suppress(FileNotFoundError):
            found += [lock] if lock.stat().st_mtime < before else []
    return found
