"""Owns a directory of files that a server reads as a whole: one file per resource, none of them trusted until checked.

New files are checked by the server on a staged copy, put in place one by one without a half-written moment, taken by
the server, and put back as they were when it does not take them. A mark outlives a crash between files and server.
What a file says is a `Format`'s, how a server is asked is a `Server`'s. Only the standard library: it runs at the
system. It must not know any system.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ansible.module_utils.mergeyard.pairing import (  # type: ignore[import-not-found]
    Found,
    Outcome,
    Refused,
    Resource,
    Spec,
    shown,
)

HEADER = "# mergeyard: "
WARNING = "# Written by Mergeyard. What is changed here by hand is undone."
PENDING = "reload-pending"
MEMORY = "/dev/shm"  # a directory of which everything is copied for each check is made there in no time
STAGED = "mergeyard-check-"

Files = Mapping[str, "str | None"]  # name without suffix -> content; None: it goes


@dataclass(frozen=True)
class Complaint:
    """What a server has against a configuration, and the name of the file that it blames, if it does."""

    sentence: str
    name: str | None = None


class NotTried(str):
    """Why a server was not told at all: it uses what it used."""

    __slots__ = ()


class Format(Protocol):
    """How one kind's specs are files. Pure; what is written must have been matched against its place's alphabet."""

    def name_of(self, spec: Spec) -> str:
        """The file's name without suffix, for a spec whose identity is valid; raises Refused."""

    def is_name(self, name: str) -> bool:
        """Whether a file of this name is one of this kind."""

    def valid(self, spec: Spec) -> Spec:
        """The spec with defaults, every value fit for its place; raises Refused."""

    def lines(self, spec: Spec) -> Iterator[str]:
        """The lines of a valid spec."""

    def read(self, name: str, lines: list[str]) -> tuple[Spec, list[str]]:
        """The spec that a file shows, and the lines that we would never write."""


class Server(Protocol):
    """One server, within reach. `check` may raise SystemDown."""

    title: str
    suffix: str
    directory: Path

    def check(self, staged: Path) -> list[Complaint]:
        """What it has against its configuration with the files of `staged` in place of the directory's."""

    def placed(self) -> None:
        """The directory's files have changed: write what else follows from them."""

    def take(self, before: Files, files: Files, *, whole: bool) -> str:
        """Make it use what lies in the directory; what it said if it does not, or why it was `NotTried`.

        Only `files` differ from what it uses, and were `before`; `whole`: that is not known, so it takes everything.
        """


def render(form: Format, spec: Spec, marker: str) -> str:
    """The file of a valid spec."""
    if not marker.isprintable():
        raise Refused(f"{shown(marker)} cannot be the mark of a file.")
    return "".join(f"{line}\n" for line in (HEADER + marker, WARNING, *form.lines(spec)))


def parse(form: Format, name: str, content: str) -> Found:
    """A file as it is: its spec, who manages it, and what no spec can show."""
    given = content.splitlines()
    marker = given[0].removeprefix(HEADER) if given and given[0].startswith(HEADER) else None
    said = [line for line in given if line.strip() and line != WARNING and not line.startswith(HEADER)]
    spec, strange = form.read(name, said)
    remarks = [f"this was added by hand: {shown(line.strip())}" for line in strange]
    if marker and not remarks and not same_again(form, spec, said):
        remarks.append("its file is not as it would be written now")
    return Found(spec, marker, tuple(remarks))


def same_again(form: Format, spec: Spec, said: list[str]) -> bool:
    try:
        return [*form.lines(form.valid(spec))] == said
    except Refused:
        return True  # a value that we would never write differs from what is wanted, and is named by its field


class CheckedFiles:
    """The files of one kind in the directory of one server, as a resource module's host."""

    def __init__(self, server: Server, form: Format) -> None:
        self.server, self.form = server, form

    def gather(self) -> list[Found]:
        names = [name for name in all_names(self.server) if self.form.is_name(name)]
        return [found for name in names if (found := self.found(name))]

    def find(self, resource: Resource) -> Found | None:
        return self.found(self.form.name_of(resource.spec))

    def found(self, name: str) -> Found | None:
        content = content_of(self.server, name)
        if content is None:
            return None
        text = content.encode(errors="surrogateescape").decode(errors="replace")
        return self.seen(name, parse(self.form, name, text))

    def seen(self, name: str, found: Found) -> Found:
        """A subclass may add what the running server shows."""
        return found

    def after(self, resource: Resource, found: Found | None) -> Spec:
        wanted = self.form.valid(resource.spec)
        render(self.form, wanted, resource.path)
        return wanted

    def write(self, outcomes: list[Outcome], *, check: bool) -> None:
        changed = sorted((one for one in outcomes if one.changed), key=lambda one: one.after is not None)
        wanted = {self.form.name_of(outcome.resource.spec): outcome for outcome in changed}  # who goes makes room first
        files = accepted(self.server, {name: self.rendered(outcome) for name, outcome in wanted.items()}, wanted)
        if not check:
            apply(self.server, files, outcomes)

    def rendered(self, outcome: Outcome) -> str | None:
        return render(self.form, outcome.after, outcome.resource.path) if outcome.after is not None else None


def all_names(server: Server) -> list[str]:
    return sorted(path.name.removesuffix(server.suffix) for path in server.directory.glob(f"[!.]*{server.suffix}"))


def content_of(server: Server, name: str) -> str | None:
    try:
        return (server.directory / f"{name}{server.suffix}").read_text("utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def accepted(server: Server, files: Files, outcomes: Mapping[str, Outcome]) -> dict[str, str | None]:
    """The files that the server accepts; the outcomes of the others are failed. Nothing live is touched."""
    kept = dict(files)
    while kept and (complaints := staged(server, kept)):
        blamed = {one.name: one.sentence for one in complaints if one.name in kept}
        for name, sentence in blamed.items():
            refuse(server, outcomes[str(name)], sentence)
            del kept[str(name)]
        if not blamed:
            return {} if broken(server, kept, outcomes) else accepted_of(server, kept, outcomes)
    return kept


def broken(server: Server, files: Files, outcomes: Mapping[str, Outcome]) -> bool:
    """Whether the configuration is refused as it is, whatever we would change. Then no file can be told good."""
    complaints = staged(server, {})
    for complaint in complaints[:1]:
        whose = owner_of(server, complaint.name) if complaint.name else ""
        how = f"is not valid even without this, because of {whose}" if whose else "would not be valid"
        for name in files:
            outcomes[name].fail(f"{server.title}'s configuration {how}: {complaint.sentence}")
    return bool(complaints)


def owner_of(server: Server, name: str) -> str:
    """Whose a file of the directory is: its document, or its name if others wrote it; empty if it is not there."""
    content = content_of(server, name)
    if content is None:
        return ""
    first = content.partition("\n")[0]
    return shown(first.removeprefix(HEADER)) if first.startswith(HEADER) else f"{name}{server.suffix}"


def accepted_of(server: Server, files: Files, outcomes: Mapping[str, Outcome]) -> dict[str, str | None]:
    """The same where the server names no file: by halves, until what it refuses stands alone."""
    good: dict[str, str | None] = {}
    waiting = [[*files]]
    while waiting:
        names = waiting.pop()
        tried = {name: files[name] for name in names}
        complaints = staged(server, {**good, **tried})
        if not complaints:
            good.update(tried)
        elif len(names) == 1:
            refuse(server, outcomes[names[0]], complaints[0].sentence)
        else:
            middle = len(names) // 2
            waiting += [names[middle:], names[:middle]]
    return good


def refuse(server: Server, outcome: Outcome, sentence: str) -> None:
    outcome.fail(f"{server.title} refuses it: {sentence}")


def staged(server: Server, files: Files) -> list[Complaint]:
    """What the server has against its directory with these files changed. The copy is in memory where it has room."""
    if os.access(MEMORY, os.W_OK | os.X_OK):
        try:
            return staged_in(MEMORY, server, files)
        except OSError as full:
            if full.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
    return staged_in(None, server, files)


def staged_in(directory: str | None, server: Server, files: Files) -> list[Complaint]:
    forget(directory)
    with tempfile.TemporaryDirectory(dir=directory, prefix=STAGED) as place:
        for name in all_names(server):
            if name not in files:
                shutil.copyfile(server.directory / f"{name}{server.suffix}", Path(place, f"{name}{server.suffix}"))
        for name, content in files.items():
            if content is not None:
                Path(place, f"{name}{server.suffix}").write_text(content, "utf-8")
        return server.check(Path(place))


def forget(directory: str | None) -> None:
    """Copies of modules that were killed an hour ago and more: nobody else would take them out of memory."""
    for left in Path(directory).glob(f"{STAGED}*") if directory else ():
        with contextlib.suppress(OSError):
            status = left.lstat()
            if status.st_uid == os.geteuid() and status.st_mtime < time.time() - 3600:
                shutil.rmtree(left)


def apply(server: Server, files: Files, outcomes: list[Outcome]) -> None:
    pending = server.directory / PENDING
    whole = pending.exists()
    if not files and not whole:
        return
    concerned = [outcome for outcome in outcomes if outcome.changed or not files]
    before = {name: content_of(server, name) for name in files}
    try:
        pending.touch()  # outlives a crash between the files and the server, so that the next run makes it take them
        ready = written(server, files)
    except OSError as error:
        if not whole:
            pending.unlink(missing_ok=True)
        fail(concerned, f"{server.directory} cannot be written, so nothing was changed: {error.strerror}.")
        return
    try:
        place(server, ready)
        said = server.take(before, files, whole=whole)
    except OSError as error:  # as where what follows from the files finds no room
        said = f"its files cannot be put in place: {error.strerror}."
    if not said:
        pending.unlink(missing_ok=True)
        return
    sentence = f"{server.title} did not take the new configuration, the old one still serves: {said}"
    if files:
        try:
            place(server, written(server, before))
            if not isinstance(said, NotTried):
                server.take(files, before, whole=True)
            elif not whole:
                pending.unlink(missing_ok=True)
        except OSError as error:
            sentence += f" Its files cannot be put back ({error.strerror}): see to {server.directory} and try again."
    fail(concerned, sentence)


def fail(outcomes: list[Outcome], sentence: str) -> None:
    for outcome in outcomes:
        if not outcome.failure:
            outcome.fail(sentence)


def written(server: Server, files: Files) -> dict[Path, Path | None]:
    """Where each file belongs, and the new one beside it, on disk to its last byte; none where it goes."""
    ready: dict[Path, Path | None] = {}
    try:
        for name, content in files.items():
            path = server.directory / f"{name}{server.suffix}"
            ready[path] = new_of(path) if content is not None else None
            if content is not None:
                write(new_of(path), content)
    except OSError:
        for new in filter(None, ready.values()):
            new.unlink(missing_ok=True)
        raise
    return ready


def place(server: Server, ready: Mapping[Path, Path | None]) -> None:
    """All at once, as nearly as a directory can: a power cut or a reload of somebody's finds few half done."""
    for path, new in ready.items():
        if new is not None:
            new.replace(path)
    for path, new in ready.items():
        if new is None:
            path.unlink(missing_ok=True)
    server.placed()
    sync(server.directory)


def new_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def write(new: Path, content: str) -> None:
    with new.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.chmod(0o644)


def put_file(path: Path, content: str) -> None:
    """Whoever reads it sees the old content or the new one, after a power cut too."""
    write(new_of(path), content)
    new_of(path).replace(path)


def sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
