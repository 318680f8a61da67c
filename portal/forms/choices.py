"""Choices that come from the state repository: documents to refer to, teams, systems.

Reads one snapshot (the draft's own head, so that what this very request adds can be chosen); asks no database.
"""

import json
from dataclasses import dataclass, field

from changes.catalog import catalog
from changes.documents import Address
from changes.snapshot import Snapshot
from portal.forms.shapes import Schema, as_schema
from portal.forms.tree import Option

MOST = 500  # more are not listed; they can still be typed where choices are only suggestions


@dataclass(slots=True)
class RepositoryChoices:
    head: Snapshot
    address: Address
    in_draft: frozenset[str] = frozenset()  # paths that this request adds or edits
    _named: dict[tuple[str, str], list[Option]] = field(default_factory=dict)

    def __call__(self, schema: Schema) -> tuple[Option, ...]:
        if "x-reference" in schema:
            kind = str(as_schema(schema["x-reference"]).get("kind", ""))
            return tuple(self._of_kind(kind, self.address.system)[:MOST])
        wanted = schema.get("x-choices")
        if wanted == "teams":
            return tuple(Option(team.name, team.title) for _, team in sorted(self.head.teams.items()))
        if wanted == "documents":
            return self._documents()
        if wanted == "systems" or (isinstance(wanted, dict) and "systems" in wanted):
            type_name = wanted["systems"] if isinstance(wanted, dict) else None
            return tuple(
                Option(name, system.title)
                for name, system in sorted(self.head.systems.items())
                if type_name in (None, system.type)
            )
        if isinstance(wanted, dict) and isinstance(wanted.get("kind"), str):
            kind = str(wanted["kind"])
            return tuple(self._of_kind(kind, self.address.system if self._is_offered_here(kind) else "")[:MOST])
        if isinstance(wanted, dict) and "connection" in wanted and self.address.system in self.head.systems:
            listed = self.head.systems[self.address.system].connection.get(str(wanted["connection"]))
            return tuple(Option(str(value), str(value)) for value in listed) if isinstance(listed, list) else ()
        return ()

    def _is_offered_here(self, kind: str) -> bool:
        """Whether the document's own system has things of this kind; then those of others are of no use."""
        system, offered = self.head.systems.get(self.address.system), catalog().kinds.get(kind)
        return bool(system and offered and offered.type == system.type)

    def _of_kind(self, kind: str, system: str) -> list[Option]:
        """The native names of a kind's documents, on one system or on all."""
        if (system, kind) not in self._named:
            found: dict[tuple[bool, str], Option] = {}  # those of the document's own team first
            for (on, sort, identity), paths in self.head.by_identity.items():
                if sort == kind and (not system or on == system):
                    name = next(iter(json.loads(identity).values()))
                    note = "in this request" if self.in_draft.intersection(paths) else _team(paths[0])
                    others = not any(path.split("/")[1] == self.address.team for path in paths)
                    found[others, str(name)] = Option(str(name), str(name), note)
            self._named[system, kind] = [found[key] for key in sorted(found)]
        return self._named[system, kind]

    def _documents(self) -> tuple[Option, ...]:
        """Documents to depend on: of this request, of the same team, of the same system, then all others."""
        team, system = self.address.team, self.address.system

        def rank(path: str, found: Address) -> tuple[int, str]:
            near = path in self.in_draft, found.team == team, found.system == system
            return (near.index(True) if any(near) else 3, path)

        ordered = sorted(
            (rank(path, document.address), document.address.short)
            for path, document in self.head.documents.items()
            if document.address != self.address
        )
        return tuple(Option(short, short) for _, short in ordered[:MOST])


def _team(path: str) -> str:
    return f"of {path.split('/')[1]}"
