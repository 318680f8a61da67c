"""What a push may bring: which refs, which paths, which file modes, how much, and no plain value of a secret.

Owns the object policy; run as a script it is git's pre-receive hook (no Django, no database) and looks at the pushed
objects while they are still in quarantine. Whether a document makes sense is not asked here: that shows on the change
request's page.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_FILE_BYTES = 1_000_000
MAX_CHANGED_FILES = 20_000
MAX_COMMITS = 2_000
MAX_TREE_BYTES = 32_000_000
MAX_DEPTH = 5
MAX_PROBLEMS = 10
WITH_SECRETS = ("resources/", "systems/")
REGULAR = "100644"
FOLDER = "040000"
ZERO = "0" * 40

MAIN = "refs/heads/main"
BRANCH = re.compile(r"refs/heads/change/[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
NUMBERED = re.compile(r"refs/heads/change/[0-9]+(-[0-9]+)?", re.ASCII)  # made for requests of the portal's pages
_SLUG = r"[a-z0-9][a-z0-9.-]{0,62}"
_PATH = re.compile(
    rf"mergeyard\.yml|README\.md|LICENSE|CODEOWNERS|\.gitignore|(teams|systems|policies|releases)/{_SLUG}\.yml"
    rf"|resources/{_SLUG}/{_SLUG}/[A-Z][A-Za-z0-9]{{0,62}}/{_SLUG}\.yml",
    re.ASCII,
)
_MODES = {
    FOLDER: "a folder nested too deep",
    "120000": "a symbolic link",
    "160000": "a submodule",
    "100755": "an executable file",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as a commit has it. The path is bytes made printable; the mode is git's, as text."""

    path: str
    mode: str
    blob: str


def problems_of_entry(entry: Entry) -> list[str]:
    """Why this file may not be in the state repository."""
    if entry.mode != REGULAR:
        what = _MODES.get(entry.mode, f"an entry of mode {entry.mode}")
        return [f"{entry.path}: is {what}; only regular files (mode 100644) may be here."]
    if not _PATH.fullmatch(entry.path):
        return [
            f"{entry.path}: is not a path of the state repository. Documents are at "
            "resources/<team>/<system>/<Kind>/<name>.yml, in lower case but for the kind."
        ]
    return []


def problem_of_size(path: str, size: int) -> list[str]:
    if size <= MAX_FILE_BYTES:
        return []
    return [f"{path}: has {size:,} bytes, and {MAX_FILE_BYTES:,} are allowed: split it."]


def problems_of_ref(ref: str, old: str, new: str) -> list[str]:
    """Why this ref may not be pushed."""
    if ref == MAIN:
        return [
            "The main branch only moves when an approved change request is merged. Push your commits to a branch of "
            "their own and a change request opens by itself: git push origin HEAD:refs/heads/change/my-change"
        ]
    if not BRANCH.fullmatch(ref):
        return [
            f"{printable(os.fsencode(ref))}: only branches named change/<name> (letters, digits, dots, dashes, "
            "underscores) can be pushed: git push origin HEAD:refs/heads/change/my-change"
        ]
    if new == ZERO:
        return [
            f"{ref.removeprefix('refs/heads/')}: branches are kept as a record. Withdraw the change request instead."
        ]
    if old == ZERO and NUMBERED.fullmatch(ref):
        return [
            f"{ref.removeprefix('refs/heads/')}: such a name is kept for the change request of that number. Give your "
            "branch one with letters: git push origin HEAD:refs/heads/change/my-change"
        ]
    return []


def problems_of_moment(ref: str, old: str, heads: dict[str, str]) -> list[str]:
    """Who may push where was asked when the push began: what was made or moved since then was not looked at."""
    if old == heads.get(ref, ZERO):
        return []
    return [
        f"{ref.removeprefix('refs/heads/')}: the branch is being moved by somebody else: fetch it, then push again."
    ]


def printable(path: bytes) -> str:
    """A path as text that shows what is hidden: control characters, bad bytes and non-ASCII letters as escapes."""
    return "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in path)


TAKE_OUT = (
    "Nothing of it was kept. Take it out of every commit that has it, the earlier ones too: git commit --amend, or "
    "git rebase -i origin/main. Then push again."
)


class Objects:
    """Objects read one by one through `git cat-file --batch`: nothing is unfolded before it is asked for."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(["git", "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> "Objects":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def tree(self, name: str) -> dict[bytes, tuple[str, str]]:
        """The entries of a tree (an id, or `<commit>^{tree}`): name to mode and id. Raises TooLarge."""
        return dict(_tree_entries(self._read(name, b"tree", MAX_TREE_BYTES)))

    def file(self, blob: str) -> bytes:
        """The content of a file of allowed size."""
        return self._read(blob, b"blob", MAX_FILE_BYTES)

    def _read(self, name: str, kind: bytes, limit: int) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(name.encode("ascii") + b"\n")
        self._process.stdin.flush()
        header = self._process.stdout.readline().split()
        if len(header) != 3 or header[1] != kind:
            raise OSError(f"git cat-file: {name} is not a {kind.decode()}")
        size = int(header[2])
        if size > limit:
            raise TooLarge
        return self._process.stdout.read(size + 1)[:size]


class TooLarge(Exception):
    """A folder with more entries than anybody could mean."""


def _tree_entries(data: bytes) -> Iterator[tuple[bytes, tuple[str, str]]]:
    """Git's format of a tree: mode, space, name, NUL, twenty bytes of id."""
    at = 0
    while at < len(data):
        space = data.index(b" ", at)
        end = data.index(b"\0", space)
        yield data[space + 1 : end], (data[at:space].decode("ascii").zfill(6), data[end + 1 : end + 21].hex())
        at = end + 21


def new_entries(
    objects: Objects, tree: str, parents: list[str], *, prefix: bytes = b"", depth: int = 1
) -> Iterator[Entry]:
    """Every file of a tree that no parent has at the same path with the same content. Deletions are left out."""
    known = [objects.tree(parent) for parent in parents]
    for name, (mode, blob) in objects.tree(tree).items():
        there = [entries[name] for entries in known if name in entries]
        if (mode, blob) in there:
            continue
        path = prefix + name
        if mode != FOLDER or depth >= MAX_DEPTH:
            yield Entry(printable(path), mode, blob)
        else:
            folders = [other for kind, other in there if kind == FOLDER]
            yield from new_entries(objects, blob, folders, prefix=path + b"/", depth=depth + 1)


def _git(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(["git", *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def problems_of_push(new: str) -> list[str]:
    """Why the commits that lead to `new` may not come in. Stops early when there is a lot."""
    listed = _git("rev-list", f"--max-count={MAX_COMMITS + 1}", "--parents", new, "--not", "--all").splitlines()
    if len(listed) > MAX_COMMITS:
        return [f"The push has more than {MAX_COMMITS:,} new commits: push them in several parts or squash them."]
    if not _shares_history(new):
        return ["The branch has no commit in common with main: begin it with `git switch -c my-change origin/main`."]
    problems: list[str] = []
    paths: dict[str, str] = {}
    try:
        for count, entry in enumerate(pushed_entries(listed), start=1):
            problems += problems_of_entry(entry)
            if not paths.get(entry.blob, "").startswith(WITH_SECRETS):
                paths[entry.blob] = entry.path
            if count > MAX_CHANGED_FILES:
                return [*problems, f"The push changes more than {MAX_CHANGED_FILES:,} files: split it."]
            if len(problems) >= MAX_PROBLEMS:
                return problems
    except TooLarge:
        return [*problems, "A folder of this push has too many files: split it."]
    return problems + problems_of_sizes(paths) or problems_of_secrets(paths)


def pushed_entries(listed: list[str]) -> Iterator[Entry]:
    """Every file that these commits bring (each a line with its parents), commit by commit."""
    with Objects() as objects:
        for line in listed:
            commit, *parents = (f"{sha}^{{tree}}" for sha in line.split())
            yield from new_entries(objects, commit, parents)


def problems_of_sizes(paths: dict[str, str]) -> list[str]:
    checked = _git("cat-file", "--batch-check=%(objectname) %(objectsize)", stdin="".join(f"{b}\n" for b in paths))
    problems: list[str] = []
    for line in checked.splitlines():
        blob, size = line.split(" ", 1)
        problems += problem_of_size(paths[blob], int(size)) if size.isdigit() else [f"{paths[blob]}: is missing."]
    return problems


def problems_of_secrets(paths: dict[str, str]) -> list[str]:
    """Where a value stands instead of a secret's reference: in git it would stay for ever, for everybody to read."""
    from changes.plain_secrets import plain_secrets  # with the reader of YAML, which a push without files need not load

    problems: list[str] = []
    with Objects() as objects:
        for blob, path in paths.items():
            problems += map(str, plain_secrets(path, objects.file(blob)))
            if len(problems) >= MAX_PROBLEMS:
                break
    if problems:
        problems = [*problems[: MAX_PROBLEMS - 1], TAKE_OUT]
    return problems


def _shares_history(new: str) -> bool:
    done = subprocess.run(["git", "merge-base", MAIN, new], capture_output=True, check=False)
    return done.returncode == 0


def write_note(file: str, pusher: str, refs: list[tuple[str, str, str]]) -> None:
    """Say on disk what is about to move, so that a push survives the death of the web process that serves it."""
    temporary = file + ".new"
    with open(temporary, "w", encoding="ascii") as stream:
        json.dump({"pusher": pusher, "refs": refs}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)


def main() -> int:
    """git's pre-receive hook: lines of `old new ref` on standard input, sentences on standard error."""
    refs: list[tuple[str, str, str]] = []
    problems: list[str] = []
    with open(os.environ["MERGEYARD_PUSH_LIMITS"], encoding="utf-8") as stream:
        limits = json.load(stream)
    heads, refused = limits["heads"], limits["refused"]
    for line in sys.stdin.read().splitlines():
        old, new, ref = line.split(" ", 2)
        found = [refused[ref]] if ref in refused else problems_of_ref(ref, old, new)
        problems += found or problems_of_moment(ref, old, heads) or problems_of_push(new)
        refs.append((ref, old, new))
    if problems:
        shown = problems[:MAX_PROBLEMS]
        sys.stderr.write("The push was refused and nothing was changed:\n" + "".join(f"- {line}\n" for line in shown))
        return 1
    write_note(os.environ["MERGEYARD_PUSH_NOTE"], os.environ["MERGEYARD_PUSHER"], refs)
    return 0


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[2]))  # the interpreter runs isolated and finds nothing of ours
    sys.exit(main())
