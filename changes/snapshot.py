"""One tree of the state repository, parsed: documents and declarations with the indexes that checks need.

Pure data, never changed in place: `with_changes` makes the next one at the cost of the change. Knows no git; blobs
come as (id, bytes). A file that cannot be read is kept as its problems, so nothing is lost silently.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from changes.declarations import Policy, Site, System, Team, parse_policies, parse_site, parse_system, parse_team
from changes.documents import Document, InvalidFile, Json, Problem, canonical_json, parse_document
from changes.kinds import Catalog, Reference

SITE_FILE = "mergeyard.yml"
# Files that may lie in the repository and mean nothing to us.
UNREAD = frozenset({"README.md", "LICENSE", "CODEOWNERS", ".gitignore"})

IdentityKey: TypeAlias = tuple[str, str, str]  # system, kind, identity within them
Key = TypeVar("Key", bound=Hashable)
Blob: TypeAlias = tuple[str, bytes]
Parsed: TypeAlias = Document | Site | Team | System | tuple[Policy, ...]
# What a (path, blob id) was found to say; a caller may keep it for any number of snapshots of one catalogue.
ParsedFile: TypeAlias = tuple[Parsed | None, tuple[Problem, ...]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A parsed tree. Treat every dict as read-only."""

    catalog: Catalog
    files: dict[str, str]
    documents: dict[str, Document]
    systems: dict[str, System]
    teams: dict[str, Team]
    policies_by_file: dict[str, tuple[Policy, ...]]
    site: Site | None
    problems: dict[str, tuple[Problem, ...]]
    by_identity: dict[IdentityKey, tuple[str, ...]]
    wanted: dict[IdentityKey, frozenset[str]]  # an identity -> documents whose reference names it
    depended: dict[str, frozenset[str]]  # a path -> documents whose depends_on names it
    claimed: dict[IdentityKey, frozenset[str]]  # system, kind, field with value -> documents that claim or share it
    sizes: dict[str, int]  # a system -> how many documents it has
    holdings: dict[tuple[str, str], int]  # a team and a kind -> how many documents of it the team has

    @classmethod
    def empty(cls, catalog: Catalog) -> "Snapshot":
        return cls(catalog, {}, {}, {}, {}, {}, None, {}, {}, {}, {}, {}, {}, {})

    def with_changes(
        self,
        changed: Mapping[str, Blob | None],
        catalog: Catalog | None = None,
        *,
        parsed: Mapping[tuple[str, str], ParsedFile] | None = None,
    ) -> "Snapshot":
        """The snapshot after files were set or removed (None). `parsed` spares what was read before."""
        draft = _Draft(self if catalog in (None, self.catalog) else replace(self, catalog=catalog))
        for path, blob in sorted(changed.items()):
            draft.remove(path)
            if blob is not None:
                known = (parsed or {}).get((path, blob[0]))
                draft.add(path, blob[0], known or parse_file(path, blob[1], draft.catalog))
        return draft.snapshot()

    @property
    def policies(self) -> tuple[Policy, ...]:
        return tuple(policy for _, policies in sorted(self.policies_by_file.items()) for policy in policies)

    def identity_key(self, document: Document) -> IdentityKey | None:
        return identity_key(document, self.catalog)

    def holders(self, document: Document) -> tuple[str, ...]:
        """The paths of all documents with this one's remote identity."""
        key = self.identity_key(document)
        return self.by_identity.get(key, ()) if key else ()

    def references(self, document: Document) -> tuple[Reference, ...]:
        return references(document, self.catalog)

    def resolve(self, document: Document, reference: Reference) -> str | None:
        """The path of the document that a reference of `document` names."""
        paths = self.by_identity.get(wanted_key(document, reference, self.catalog), ())
        return paths[0] if paths else None

    def needs(self, document: Document) -> tuple[str, ...]:
        """The paths of existing documents that must be there first: references and depends_on."""
        found = [self.resolve(document, reference) for reference in self.references(document)]
        found += [address.path for address in document.depends_on if address.path in self.documents]
        return tuple(dict.fromkeys(path for path in found if path))

    def referrers_of(self, path: str) -> frozenset[str]:
        """The documents that need the one at `path`."""
        document = self.documents.get(path)
        key = self.identity_key(document) if document else None
        return self.depended.get(path, frozenset()) | (self.wanted.get(key, frozenset()) if key else frozenset())

    def teams_of(self, username: str) -> frozenset[str]:
        return frozenset(name for name, team in self.teams.items() if username in team.members)

    def members_of(self, teams: Iterable[str]) -> frozenset[str]:
        return frozenset(user for name in teams if name in self.teams for user in self.teams[name].members)

    @property
    def platform_team(self) -> str:
        return self.site.platform_team if self.site else ""

    def is_platform(self, username: str) -> bool:
        return username in self.members_of([self.platform_team])

    @property
    def auditors(self) -> str:
        return self.site.auditors if self.site else ""

    def is_auditor(self, username: str) -> bool:
        return username in self.members_of([self.auditors])

    def owners_of(self, system: str) -> frozenset[str]:
        """The members of the teams that own a system."""
        found = self.systems.get(system)
        return self.members_of(found.owners) if found else frozenset()


def identity_key(document: Document, catalog: Catalog) -> IdentityKey | None:
    """A document's remote identity, or None when its kind is not known."""
    kind = catalog.kinds.get(document.address.kind)
    return (document.address.system, kind.name, kind.identity_of(document)) if kind else None


def references(document: Document, catalog: Catalog) -> tuple[Reference, ...]:
    kind = catalog.kinds.get(document.address.kind)
    return kind.references(kind.with_defaults(document.spec)) if kind and kind.reference_places else ()


def claims(document: Document, catalog: Catalog) -> Iterator[tuple[str, Json, IdentityKey]]:
    """Field, value and key of everything that no other document of its kind and system may have."""
    kind = catalog.kinds.get(document.address.kind)
    for field, value in kind.claims(document.spec) if kind else ():
        yield field, value, value_key(document, field, value)


def value_key(document: Document, field: str, value: Json) -> IdentityKey:
    """What a value of a field is known by among the documents of a kind on a system."""
    return document.address.system, document.address.kind, canonical_json([field, value])


def wanted_key(document: Document, reference: Reference, catalog: Catalog) -> IdentityKey:
    return document.address.system, reference.kind, catalog.reference_identity(reference)


def parse_file(path: str, data: bytes, catalog: Catalog) -> ParsedFile:
    """What one file says, and everything that is wrong with it. Never raises."""
    try:
        return _parse(path, data, catalog)
    except InvalidFile as error:
        return None, error.problems


def _parse(path: str, data: bytes, catalog: Catalog) -> ParsedFile:
    folder, _, name = path.partition("/")
    if folder == "resources":
        document = parse_document(path, data)
        kind = catalog.kinds.get(document.address.kind)
        lines, called = document.lines, document.address.name
        return document, kind.problems(document.spec, file=path, lines=lines, name=called) if kind else ()
    if path == SITE_FILE:
        return parse_site(path, data), ()
    if path in UNREAD:
        return None, ()
    if "/" not in name and name.endswith(".yml"):
        if folder == "teams":
            return parse_team(path, data), ()
        if folder == "policies":
            return parse_policies(path, data), ()
        if folder == "systems":
            system = parse_system(path, data)
            type = catalog.types.get(system.type)
            return system, type.connection_problems(system.connection, file=path, lines=system.lines) if type else ()
        if folder == "releases":
            message = "Releases are not supported by this version: remove the file."
            raise InvalidFile(Problem("path.releases", message, path))
    message = (
        "This path means nothing here: files are mergeyard.yml, teams/<team>.yml, systems/<system>.yml, "
        "policies/<name>.yml and resources/<team>/<system>/<Kind>/<name>.yml."
    )
    raise InvalidFile(Problem("path.unknown", message, path))


class _Draft:
    """The next snapshot while it is made: one copy of each dict, then changes only."""

    def __init__(self, base: Snapshot) -> None:
        self.catalog = base.catalog
        self.site = base.site
        self.files, self.documents = dict(base.files), dict(base.documents)
        self.systems, self.teams = dict(base.systems), dict(base.teams)
        self.policies, self.problems = dict(base.policies_by_file), dict(base.problems)
        self.by_identity, self.wanted = dict(base.by_identity), dict(base.wanted)
        self.depended, self.claimed = dict(base.depended), dict(base.claimed)
        self.sizes, self.holdings = dict(base.sizes), dict(base.holdings)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            self.catalog,
            self.files,
            self.documents,
            self.systems,
            self.teams,
            self.policies,
            self.site,
            self.problems,
            self.by_identity,
            self.wanted,
            self.depended,
            self.claimed,
            self.sizes,
            self.holdings,
        )

    def add(self, path: str, blob: str, known: ParsedFile) -> None:
        self.files[path] = blob
        value, problems = known
        if problems:
            self.problems[path] = problems
        match value:
            case Document():
                self.documents[path] = value
                self._index(value, present=True)
            case System():
                self.systems[value.name] = value
            case Team():
                self.teams[value.name] = value
            case Site():
                self.site = value
            case tuple():
                self.policies[path] = value

    def remove(self, path: str) -> None:
        self.files.pop(path, None)
        self.problems.pop(path, None)
        document = self.documents.pop(path, None)
        if document:
            self._index(document, present=False)
        folder, _, name = path.partition("/")
        name = name.removesuffix(".yml")
        if folder == "systems":
            self.systems.pop(name, None)
        elif folder == "teams":
            self.teams.pop(name, None)
        elif folder == "policies":
            self.policies.pop(path, None)
        elif path == SITE_FILE:
            self.site = None

    def _index(self, document: Document, *, present: bool) -> None:
        path, system = document.address.path, document.address.system
        key = identity_key(document, self.catalog)
        if key:
            holders = set(self.by_identity.pop(key, ())) - {path}
            if kept := sorted(holders | {path} if present else holders):
                self.by_identity[key] = tuple(kept)
        for reference in references(document, self.catalog):
            _mark(self.wanted, wanted_key(document, reference, self.catalog), path, present)
        for address in document.depends_on:
            _mark(self.depended, address.path, path, present)
        kind = self.catalog.kinds.get(document.address.kind)
        for field, value in (*kind.claims(document.spec), *kind.shares(document.spec)) if kind else ():
            _mark(self.claimed, value_key(document, field, value), path, present)
        _count(self.sizes, system, present)
        _count(self.holdings, (document.address.team, document.address.kind), present)


def _count(index: dict[Key, int], key: Key, present: bool) -> None:
    if number := index.pop(key, 0) + (1 if present else -1):
        index[key] = number


def _mark(index: dict[Key, frozenset[str]], key: Key, path: str, present: bool) -> None:
    kept = index.pop(key, frozenset()) - {path} | ({path} if present else frozenset())
    if kept:
        index[key] = kept
