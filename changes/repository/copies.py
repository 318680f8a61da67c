"""Copies of the whole state repository as one pack and a list of refs, taken while people push to it.

Owns the order that makes a copy whole: a ref that is read names objects that were written before, so refs are read
first and every object afterwards, also those that no branch reaches any more (rows of the database name them).
Knows no rows and no documents.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from changes.repository.git_environment import GIT_TIMEOUT_SECONDS, GitFailed, environment, run_git
from changes.repository.objects import Repository
from changes.repository.trees import RepositoryError

COPY_SECONDS = 12 * GIT_TIMEOUT_SECONDS


def refs(repository: Repository) -> dict[str, str]:
    """Every ref, hidden ones too: full name to object id."""
    try:
        lines = run_git(repository.path, "for-each-ref", "--format=%(objectname) %(refname)").decode().splitlines()
    except GitFailed as problem:
        raise RepositoryError(str(problem)) from problem
    return {name: sha for sha, _, name in (line.partition(" ") for line in lines)}


def write_pack(repository: Repository, into: Path) -> None:
    """Every object that the repository has now, as one pack. No search for deltas: it takes as long as reading."""
    listing = ["git", f"--git-dir={repository.path}", "cat-file", "--batch-all-objects", "--unordered"]
    with into.open("wb") as pack:
        names = subprocess.Popen([*listing, "--batch-check=%(objectname)"], stdout=subprocess.PIPE, env=environment())
        try:
            _run(repository.path, "pack-objects", "-q", "--stdout", "--window=0", stdin=names.stdout, stdout=pack)
        finally:
            if names.stdout is not None:
                names.stdout.close()
            ended = names.wait(timeout=GIT_TIMEOUT_SECONDS)
    if ended:
        raise RepositoryError(f"listing the objects of {repository.path}: git ended with {ended}")


def from_pack(path: Path, pack: Path, heads: Mapping[str, str]) -> Repository:
    """A new bare repository at `path` with the pack's objects and these refs.

    Raises RepositoryError if anything that a ref reaches is missing.
    """
    Repository.create(path)
    with pack.open("rb") as objects:
        _run(path, "index-pack", "--stdin", stdin=objects, stdout=subprocess.DEVNULL)
    order = "".join(f"create {name} {sha}\n" for name, sha in sorted(heads.items()))
    try:
        run_git(path, "update-ref", "--stdin", stdin=order.encode())
        run_git(path, "rev-list", "--objects", "--all", "--quiet")
    except GitFailed as problem:
        raise RepositoryError(f"putting the repository together: {problem}") from problem
    return Repository(path)


def read_folder(folder: Path) -> dict[str, str]:
    """The texts of a folder's JSON files, by name; of one that vanishes meanwhile none."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        try:
            text = file.read_text()
            json.loads(text)
        except (FileNotFoundError, ValueError):
            continue
        found[file.name] = text
    return found


def write_folder(folder: Path, texts: Mapping[str, str]) -> None:
    if texts:
        folder.mkdir(mode=0o700)
    for name, text in texts.items():
        (folder / os.path.basename(name)).write_text(text)


def _run(path: Path, *arguments: str, stdin: IO[bytes] | None, stdout: IO[bytes] | int) -> None:
    command = ["git", f"--git-dir={path}", *arguments]
    try:
        done = subprocess.run(
            command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=environment(), timeout=COPY_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise RepositoryError(f"running git {arguments[0]}: {problem}") from problem
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise RepositoryError(f"running git {arguments[0]}: {said}")
