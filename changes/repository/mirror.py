"""A bare mirror of the state repository on a host that is not the forge's.

Owns fetching (GitPython, for remotes only: its high-level calls refuse option-like arguments). The built-in forge's own
host needs none. Knows no documents.
"""

import fcntl
import os
import re
from pathlib import Path

import git
import pygit2

from changes.repository.git_environment import environment
from changes.repository.objects import MAIN_REF, Repository, RepositoryError


class Mirror:
    """Follows main of `url`; `ensure(commit)` fetches only when the commit is missing."""

    def __init__(
        self, path: Path, url: str, *, protocols: str = "https:http", refspec: str = f"{MAIN_REF}:{MAIN_REF}"
    ) -> None:
        self.repository = Repository(path)
        self.url = url
        self._protocols, self._refspec = protocols, refspec

    def ensure(self, commit: str) -> Repository:
        """The repository, with `commit` in it. Raises RepositoryError when the remote is away or does not have it."""
        if not self.repository.exists():
            self.repository = Repository.create(self.repository.path)
        if not self.repository.has(commit):
            self._fetch()
        if not self.repository.has(commit):
            raise RepositoryError(f"fetching commit {commit}: what was fetched from the remote does not contain it")
        return self.repository

    def _fetch(self) -> None:
        """One process of the host at a time: git would refuse the second one the lock of the ref."""
        with (self.repository.path / "mergeyard-fetch.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._fetch_alone()

    def _fetch_alone(self) -> None:
        mirror = git.Repo(self.repository.path)
        try:
            mirror.git.update_environment(**environment(protocols=self._protocols), GIT_DIR=str(self.repository.path))
            # Not forced: a main that was rewritten at the remote stops here instead of replacing ours.
            remote, unsafe = git.Remote(mirror, "origin"), "file" in self._protocols
            if "origin" not in [known.name for known in mirror.remotes]:
                remote = mirror.create_remote("origin", self.url, allow_unsafe_protocols=unsafe)
            elif self.url not in remote.urls:
                remote.set_url(self.url, allow_unsafe_protocols=unsafe)
            remote.fetch(refspec=self._refspec, no_tags=True)
        except (git.GitCommandError, git.UnsafeProtocolError) as problem:
            url = re.sub("//[^/]*@", "//", self.url)  # it may hold a token
            raise RepositoryError(f"fetching main from {url}: {problem}") from None
        finally:
            mirror.close()


class MirroredRepository(Repository):
    """The state repository of a host that is not the forge's, for reading: a commit it lacks is fetched when asked for.

    The address holds a token, so the mirror is its user's alone.
    """

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(path)
        self._mirror = Mirror(path, url, protocols=url.partition(":")[0])

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
