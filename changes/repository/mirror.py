"""A bare mirror of the state repository on a host that is not the forge's.

Owns fetching (GitPython, for remotes only: its high-level calls refuse option-like arguments). The built-in forge's own
host needs none. Knows no documents.
"""

import fcntl
import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import git
import pygit2

from changes.repository.git_environment import GIT_TIMEOUT_SECONDS, environment
from changes.repository.locks import left_locks
from changes.repository.objects import MAIN_REF, RefMoved, Repository
from changes.repository.trees import RepositoryError

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds without another try after a fetch that failed, doubled each time
MAIN_ONLY = f"{MAIN_REF}:{MAIN_REF}"
FORMER = "refs/former/"
REWRITTEN = "it was rewritten there and does not go on from the one here"
FETCHED = "mergeyard-fetched"  # its time is that of the last good fetch


class Mirror:
    """Follows main of `url`; `ensure(commit)` fetches only when the commit is missing.

    While the remote is away it is asked less and less often; a question in between is answered by the last failure.
    """

    def __init__(self, path: Path, url: str, *, protocols: str = "https:http", refspec: str = MAIN_ONLY) -> None:
        self.repository = Repository(path)
        self.url = url
        self._protocols, self._refspec = protocols, refspec
        self._pause, self._again = 0.0, 0.0
        self._failure = ""

    def ensure(self, commit: str) -> Repository:
        """The repository, with `commit` in it. Raises RepositoryError when the remote is away or does not have it."""
        if not self.repository.exists():
            self.repository = Repository.create(self.repository.path)
        if not self.repository.has(commit):
            self._fetch(commit)
        if not self.repository.has(commit):
            raise RepositoryError(f"fetching commit {commit}: what was fetched from the remote does not contain it")
        return self.repository

    @property
    def trouble(self) -> str:
        """Why nothing is fetched, and for how long, as a sentence; empty if the last fetch went well."""
        if not self._failure:
            return ""
        fetched = self.repository.path / FETCHED
        when = datetime.fromtimestamp(fetched.stat().st_mtime, UTC) if fetched.exists() else None
        since = f"It last did on {when:%Y-%m-%d at %H:%M} UTC." if when else "It never did yet."
        return f"The forge does not answer this host: {self._failure}. {since} Work waits and no attempt is lost."

    def _fetch(self, commit: str) -> None:
        """One process of the host at a time: git would refuse the second one the lock of the ref."""
        if (left := self._again - time.monotonic()) > 0:
            raise RepositoryError(f"{self._failure}; it is tried again in {left:.0f} seconds")
        with (self.repository.path / "mergeyard-fetch.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                for lock in left_locks(self.repository.path):  # of a fetch that was killed: nobody else moves refs here
                    lock.unlink(missing_ok=True)
                self._fetch_alone()
            except RepositoryError as error:
                if not self._turned_to(commit):
                    self._failure = str(error)
                    self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
                    self._again = time.monotonic() + self._pause
                    raise
        (self.repository.path / FETCHED).touch()
        self._failure, self._pause, self._again = "", 0.0, 0.0

    def _turned_to(self, commit: str) -> bool:
        """Whether git only refused to leave our main: the remote went back, as a restore does, and on from there.

        Whoever asks for a commit has it from the database, which says what main is. Ours is kept as refs/former/ID.
        """
        ours = self.repository.head(MAIN_REF)
        if self._refspec != MAIN_ONLY or ours is None or not self.repository.has(commit):
            return False
        if self.repository.contains(commit, ours) or self.repository.contains(ours, commit):
            return False
        with suppress(RefMoved):
            if not self.repository.head(FORMER + ours):
                self.repository.swap_ref(FORMER + ours, ours, None)
            self.repository.swap_ref(MAIN_REF, commit, ours)
            return True
        return False

    def _fetch_alone(self) -> None:
        mirror = git.Repo(self.repository.path)
        try:
            mirror.git.update_environment(**environment(protocols=self._protocols), GIT_DIR=str(self.repository.path))
            # Not forced: a main that was rewritten at the remote stops here until somebody asks for what it has.
            remote, unsafe = git.Remote(mirror, "origin"), "file" in self._protocols
            if "origin" not in [known.name for known in mirror.remotes]:
                remote = mirror.create_remote("origin", self.url, allow_unsafe_protocols=unsafe)
            elif self.url not in remote.urls:
                remote.set_url(self.url, allow_unsafe_protocols=unsafe)
            remote.fetch(refspec=self._refspec, no_tags=True, kill_after_timeout=GIT_TIMEOUT_SECONDS)
        except (git.GitCommandError, git.UnsafeProtocolError) as problem:
            refused = REWRITTEN if getattr(problem, "status", 0) == 1 else str(problem)  # git's words on it get lost
            said = [line for line in (str(getattr(problem, "stderr", "")) or refused).splitlines() if line.strip(" '")]
            last = said[-1].strip().removeprefix("stderr: '").removesuffix("'") if said else "it said nothing"
            text = f"fetching main from {self.url}: {last.removeprefix('fatal: ').rstrip('.')}"
            raise RepositoryError(re.sub("//[^/]*@", "//", text)) from None  # the address may hold a token
        finally:
            mirror.close()


class MirroredRepository(Repository):
    """The state repository of a host that is not the forge's, for reading: a commit it lacks is fetched when asked for.

    The address holds a token, so the mirror is its user's alone.
    """

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(path)
        self._mirror = Mirror(path, url, protocols=url.partition(":")[0])

    @property
    def trouble(self) -> str:
        return self._mirror.trouble

    def ensure(self, commit: str) -> None:
        """Raises RepositoryError when the forge is away or does not have it."""
        if not self.exists():
            Repository.create(self.path)
            os.chmod(self.path, 0o700)
        self._mirror.ensure(commit)

    def _commit(self, sha: str) -> pygit2.Commit:
        self.ensure(sha)
        return super()._commit(sha)

    def _tree_id(self, revision: str | None) -> pygit2.Oid | None:
        if revision is not None:
            self.ensure(revision)
        return super()._tree_id(revision)
