"""A bare mirror of the state repository on a host that is not the forge's.

Owns fetching (GitPython, for remotes only: its high-level calls refuse option-like arguments). The built-in forge's own
host needs none. Knows no documents.
"""

from pathlib import Path

import git

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
        mirror = git.Repo(self.repository.path)
        try:
            mirror.git.update_environment(**environment(protocols=self._protocols), GIT_DIR=str(self.repository.path))
            # Not forced: a main that was rewritten at the remote stops here instead of replacing ours.
            remote = git.Remote(mirror, "origin")
            if "origin" not in [known.name for known in mirror.remotes]:
                remote = mirror.create_remote("origin", self.url, allow_unsafe_protocols="file" in self._protocols)
            remote.fetch(refspec=self._refspec, no_tags=True)
        except (git.GitCommandError, git.UnsafeProtocolError) as problem:
            raise RepositoryError(f"fetching main from {self.url}: {problem}") from problem
        finally:
            mirror.close()
