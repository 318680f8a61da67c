"""Choices that come from the state repository: documents to refer to, teams, systems.

Reads one snapshot (the draft's own head, so that what this very request adds can be chosen); asks no database.
"""

import json
from dataclasses import dataclass, field

from changes.catalog import catalog
from changes.documents import Address
from changes.schema import values_at
from changes.snapshot import Snapshot
from portal.forms.shapes import Schema, as_schema
from portal.forms.tree import Option

MOST = 500  # more are not listed; they can still be typed where choices are only suggestions


@dataclass(slots=True)
class RepositoryChoices:
    head: Snapshot
    address: Address
    in_draft: frozenset[str] = frozenset()  # paths that this request adds or edits
    _named: dict[tuple[str, str, str], list[Option]] = field(default_factory=dict)

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
            system = self.address.system if self._is_offered_here(kind) else ""
            return tuple(self._of_kind(kind, system, str(wanted.get("field", "")))[:MOST])
        if isinstance(wanted, dict) and "connection" in wanted and self.address.system in self.head.systems:
            listed = self.head.systems[self.address.system].connection.get(str(wanted["connection"]))
            return tuple(Option(str(value), str(value)) for value in listed) if isinstance(listed, list) else ()
        return ()

    def _is_offered_here(self, kind: str) -> bool:
        """Whether the document's own system has things of this kind; then those of others are of no use."""
        system, offered = self.head.systems.get(self.address.system), catalog().kinds.get(kind)
        return bool(system and offered and offered.type == system.type)

    def _of_kind(self, kind: str, system: str, field: str = "") -> list[Option]:
        """What a kind's documents, on one system or on all, say in a field; without one, their native names."""
        if (system, kind, field) not in self._named:
            said: dict[str, list[str]] = {}  # value -> the paths that say it
            for (on, sort, identity), paths in self.head.by_identity.items():
                if sort == kind and (not system or on == system):
                    for value in (
                        self._values(paths[0], field) if field else {next(iter(json.loads(identity).values()))}
                    ):
                        said.setdefault(str(value), []).extend(paths)
            options = [self._option(value, paths) for value, paths in said.items()]
            # Those of the document's own team first.
            self._named[system, kind, field] = [option for _, option in sorted(options, key=lambda one: one[0])]
        return self._named[system, kind, field]

    def _values(self, path: str, field: str) -> set[str]:
        """The texts at a field (`groups.*.group`), and of a list there its items."""
        found = [value for _, value in values_at(self.head.documents[path].spec, tuple(field.split(".")), "")]
        each = [inner for value in found for inner in (value if isinstance(value, list) else [value])]
        return {value for value in each if isinstance(value, str)}

    def _option(self, value: str, paths: list[str]) -> tuple[tuple[bool, str], Option]:
        """Its rank and itself."""
        teams = sorted({path.split("/")[1] for path in paths}, key=lambda team: (team != self.address.team, team))
        note = f"of {teams[0]}" if len(teams) == 1 else f"of {teams[0]} and {len(teams) - 1} more"
        if self.in_draft.intersection(paths):
            note = "in this request"
        return (teams[0] != self.address.team, value), Option(value, value, note)

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
