"""Owns what a claimed item needs before its play: blobs to documents, secrets to values, the system as main has it.

The system's declaration is read from main as it was last discovered, not from the item's own commit: a connection that
was mended since is used. A file that an unapproved commit changed is refused. What was read is kept, so that the start
of the run can hold for it alone. It must not know Ansible or the queue.
"""

from contextlib import suppress
from dataclasses import dataclass, replace

from django.conf import settings
from django.db import transaction
from django.db.models import Subquery

from changes.catalog import catalog
from changes.crash_points import crash_point
from changes.declarations import System, Team, parse_system, parse_team
from changes.documents import Document, InvalidFile, SecretRef, parse_document
from changes.kinds import SystemType
from changes.repository import NotContent, RepositoryError, state
from changes.secret_refs import is_under
from executors import gates, results, secrets
from executors.inventory import Assigned, Handover, hand_over, reserved_key
from executors.models import Commit, Cursor, ItemResource, MadeSecret, Resource, WorkItem
from executors.processes import own_name


class CannotPrepare(Exception):
    """The item cannot be run as things stand, and a person can mend it; one sentence."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A play's input. `refused` are resources that are left out of it, each with the reason."""

    main: "Main"
    system_type: SystemType
    handover: Handover
    local_paths: tuple[str, ...]
    environment: str  # that the system names
    rows: tuple[ItemResource, ...]
    refused: dict[str, str]
    gates: gates.Gates
    masker: secrets.Masker


class Main:
    """Main as far as it was discovered, and which of its files a run depends on."""

    def __init__(self) -> None:
        self.commit = Cursor.objects.get(pk=1).sha
        self._blobs: dict[str, str | None] = {}
        self._teams: dict[str, Team | None] = {}

    def read(self, path: str) -> bytes | None:
        """Raises CannotPrepare if nobody approved what it says."""
        self._blobs[path] = state().blob_at(self.commit, path)
        return _approved(path, self.commit)

    def members(self, team: str) -> frozenset[str]:
        """Nobody, if there is no such team. Raises CannotPrepare if nobody approved what it says, or it is broken."""
        found = self._team(team)
        return frozenset(found.members) if found else frozenset()

    def prefixes(self, team: str) -> tuple[str, ...]:
        """Under which the team may refer to secrets. Raises as `members` does."""
        found = self._team(team)
        return found.secret_prefixes if found else ()

    def _team(self, name: str) -> Team | None:
        if name not in self._teams:
            path = f"teams/{name}.yml"
            data = self.read(path)
            try:
                self._teams[name] = parse_team(path, data) if data is not None else None
            except InvalidFile as error:
                raise CannotPrepare(str(error.problems[0])) from error
        return self._teams[name]

    def follow(self) -> bool:
        """Go on to what was discovered meanwhile; False if a file that was read says something else by now."""
        commit = Cursor.objects.get(pk=1).sha
        try:
            for path, blob in self._blobs.items():
                _approved(path, commit)
                if state().blob_at(commit, path) != blob:
                    return False
        except CannotPrepare:
            return False
        self.commit = commit
        return True


def missing_main() -> str:
    """Why this host does not have main as it was discovered and cannot get it; empty if it has."""
    try:
        state().info(Cursor.objects.get(pk=1).sha)
    except (RepositoryError, Cursor.DoesNotExist) as error:
        return str(error)
    return ""


def prepare(item: WorkItem, rows: list[ItemResource]) -> Prepared:
    """Raises CannotPrepare when nothing of the item can be run, secrets.Unavailable when it can be later."""
    with secrets.Resolver() as values:
        return _prepared(item, rows, values)


def _prepared(item: WorkItem, rows: list[ItemResource], values: secrets.Resolver) -> Prepared:
    main = Main()
    system = _system(item, main)
    system_type = catalog().types.get(system.type)
    if system_type is None:
        raise CannotPrepare(f"{system.name} is of the type {system.type}, which this worker's catalogue does not have.")
    problems = system_type.connection_problems(system.connection)
    if problems:
        raise CannotPrepare(f"The connection of {system.name} is not valid: {problems[0].field}: {problems[0].message}")
    try:
        system_secrets = {name: _of_system(ref, values, system.name) for name, ref in system.secrets.items()}
    except secrets.CannotResolve as error:
        raise CannotPrepare(str(error)) from error
    assigned: list[Assigned] = []
    approved = gates.look(item, main.members)
    refused = dict(approved.refused)
    managed = results.managed(item, rows)
    for row in rows:
        if row.path in refused:
            continue
        try:
            one = _assigned(row, system_type, values, main)
            assigned.append(replace(one, managed=(row.kind, row.identity) in managed))
        except (CannotPrepare, secrets.CannotResolve) as error:
            refused[row.path] = str(error)
    kinds = {name: catalog().kinds[name] for name in system_type.kinds}
    handover = hand_over(system, assigned, system_type=system_type, kinds=kinds, secrets=system_secrets)
    paths = system_type.local_paths(system.connection)
    masker = secrets.Masker(values.known)
    return Prepared(main, system_type, handover, paths, system.environment, tuple(rows), refused, approved, masker)


def _system(item: WorkItem, main: Main) -> System:
    """As main declares it; if it is gone from there, as its last work needs it."""
    path, commit = f"systems/{item.system}.yml", item.rollout.commit.sha
    data = main.read(path)
    for earlier in (commit, *state().info(commit).parents[:1]):
        data = data if data is not None else _approved(path, earlier)
    if data is not None:
        try:
            return parse_system(path, data)
        except InvalidFile as error:
            raise CannotPrepare(str(error.problems[0])) from error
    raise CannotPrepare(f"The system {item.system} is not declared: there is no {path} on main.")


def _approved(path: str, commit: str) -> bytes | None:
    """A file as it is at a commit, unless the last commit that changed it was never approved."""
    repository = state()
    blob = repository.blob_at(commit, path)
    if blob is not None and (by := _unapproved(path, blob, commit)):
        raise CannotPrepare(
            f"{path} was changed by commit {by[:10]} without an approved change request; "
            "propose that change again, or one that takes it back."
        )
    try:
        return repository.read_blob(blob) if blob is not None else None
    except NotContent as what:
        raise CannotPrepare(f"{path} cannot be read: {what}") from what


def _unapproved(path: str, blob: str, commit: str) -> str:
    """The last commit that changed a file, if it was never approved, else nothing.

    Looks at commits that were never approved; main is walked only if the file says what one of them made of it.
    """
    repository, at = state(), Commit.objects.filter(sha=commit).values("position")[:1]
    quarantined = Commit.objects.filter(quarantined=True, position__lte=Subquery(at)).order_by("-position")
    for sha in quarantined.values_list("sha", flat=True):
        before = repository.info(sha).parents[0]
        after = repository.blob_at(sha, path)
        if repository.blob_at(before, path) != after:
            if after != blob:
                return ""
            (last,) = repository.commits_touching(path, limit=1, until=commit)
            return sha if last.sha == sha else ""
    return ""


def _assigned(row: ItemResource, system_type: SystemType, values: secrets.Resolver, main: Main) -> Assigned:
    document = _document(row.path, row.blob)
    address = document.address
    if address.kind not in system_type.kinds:
        raise CannotPrepare(f"{address.kind} is not a kind that systems of the type {system_type.name} have.")
    if key := reserved_key(document.spec):
        raise CannotPrepare(f"The key {key} is reserved; use another one.")
    if row.operation == "delete":
        return Assigned(document, deleted=True)
    problems = catalog().kinds[address.kind].problems(document.spec, file=row.path, name=address.name)
    if problems:
        raise CannotPrepare(str(problems[0]))
    found = {
        name: _secret(secret, values, row, allowed=main.prefixes(address.team), team=address.team)
        for name, secret in document.secrets.items()
    }
    return Assigned(document, deleted=False, secrets=found)


def _document(path: str, blob: str) -> Document:
    try:
        return parse_document(path, state().read_blob(blob))
    except InvalidFile as error:
        raise CannotPrepare(str(error.problems[0])) from error
    except (RepositoryError, ValueError) as error:
        raise CannotPrepare(f"The document {path} cannot be read: {error}.") from error


def _of_system(ref: str, values: secrets.Resolver, system: str) -> str:
    places = settings.MERGEYARD_SYSTEM_SECRETS
    if not any(is_under(ref, place) for place in places):
        raise CannotPrepare(
            f"{system} may not use {ref}: MERGEYARD_SYSTEM_SECRETS of this worker names only {', '.join(places)}."
        )
    return values.resolve(ref)


def _secret(
    secret: SecretRef, values: secrets.Resolver, row: ItemResource, *, allowed: tuple[str, ...], team: str
) -> str:
    """What is missing is made only if it was neither made nor used before: another value would lock somebody out.

    It is on record whose draft is the value before any worker can read it, so whoever dies in between leaves no other.
    """
    ref = secret.ref
    if not any(is_under(ref, prefix) for prefix in allowed):
        raise CannotPrepare(f"{team} may not use {ref}: it is under none of the team's secret_prefixes.")
    try:
        return values.resolve(ref)
    except secrets.Missing:
        if not secret.generate:
            raise
    of = {"zone": row.item.zone, "ref": ref}
    made = MadeSecret.objects.filter(**of).first()
    if made is None and not _is_applied(ref, row):
        if not ref.startswith("file:"):
            return values.resolve(ref, generate=True)  # at one place for all workers
        draft = secrets.draft(ref)
        crash_point("secret: draft written")
        with transaction.atomic(durable=True):
            made, _ = MadeSecret.objects.get_or_create(**of, defaults={"worker": own_name(), "draft": draft})
        crash_point("secret: on record")
    if made is not None:
        secrets.finish(ref, made.draft)
        crash_point("secret: in its place")
        with suppress(secrets.Missing):
            return values.resolve(ref)
    raise CannotPrepare(
        f"The secret {ref} was made or used before{f' by worker {made.worker}' if made else ''}, and this worker does "
        "not find it; it makes no other value. Bring that one here, or name a reference that was never used."
    )


def _is_applied(ref: str, row: ItemResource) -> bool:
    """Whether the document that was applied last to this resource names the reference."""
    standing = Resource.objects.filter(system=row.item.system, kind=row.kind, identity=row.identity)
    blobs = standing.exclude(applied_blob="").values_list("applied_blob", flat=True)
    return any(secret.ref == ref for blob in blobs for secret in _document(row.path, blob).secrets.values())
