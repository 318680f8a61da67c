"""What the compose page shows of one draft: its edits, the selected document's form and text, plan and checks.

Puts together what `changes` says; decides nothing and writes nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from changes.catalog import catalog
from changes.declarations import System
from changes.documents import NO_MAPPING, Address, InvalidFile, Json, Problem, read_yaml
from changes.kinds import Kind
from changes.models import ChangeRequest, Edit
from changes.plan import Operation, Plan, PlanItem
from changes.repository import state
from changes.review import Review, evaluate_draft
from changes.rights import main_snapshot
from changes.snapshot import Snapshot
from changes.violations import Violation
from portal.forms.choices import RepositoryChoices
from portal.forms.document import Section, Surroundings, secret_parts, sections, structure
from portal.forms.posted import Typed


@dataclass(frozen=True, slots=True)
class Row:
    """One edit in the list on the left."""

    edit: Edit
    address: Address | None
    kind: Kind | None
    operation: str
    problems: int
    selected: bool

    @property
    def title(self) -> str:
        return self.address.name if self.address else self.edit.path


@dataclass(frozen=True, slots=True)
class Said:
    """A problem as the page shows it: at which field, on which line, and whether it is only a gap to fill."""

    message: str
    field: str
    line: int | None
    gap: bool


def address_of(path: str) -> Address | None:
    try:
        return Address.parse(path)
    except InvalidFile:
        return None


def parse(edit: Edit) -> tuple[dict[str, Json] | None, tuple[Problem, ...]]:
    """The edit's text as plain data, or why it cannot be read."""
    try:
        value = read_yaml(edit.text.encode(), edit.path).value
    except InvalidFile as error:
        return None, error.problems
    if isinstance(value, dict):
        return value, ()
    return None, (Problem("document.shape", NO_MAPPING, edit.path, 1),)


def seen(edit: Edit) -> str:
    """Names the text that a page was drawn from, so that a second window cannot overwrite the first one's work."""
    return hashlib.sha256(edit.text.encode()).hexdigest()[:16]


@dataclass
class Desk:
    """One draft with one of its edits selected. `typed`, `said` and `focus` come from a form that was just posted,
    `refused` and `unsaved` from a text that may not be stored.
    """

    change_request: ChangeRequest
    selected: Edit | None = None
    typed: dict[str, Typed] | None = None
    said: Sequence[tuple[str, str]] = ()
    focus: str = ""
    refused: Sequence[Said] = ()  # why the text in the browser was not stored
    unsaved: str = ""  # that text

    @cached_property
    def edits(self) -> list[Edit]:
        return list(self.change_request.edits.all())

    @cached_property
    def main(self) -> Snapshot:
        return main_snapshot()

    @cached_property
    def head(self) -> Snapshot:
        """Main with the draft's edits on it."""
        return self.main.with_changes(
            {
                each.path: None if each.deletes else (f"draft-{each.pk}-{seen(each)}", each.text.encode())
                for each in self.edits
            }
        )

    @cached_property
    def review(self) -> Review:
        return evaluate_draft(self.change_request)

    @property
    def plan(self) -> Plan:
        return self.review.plan

    @cached_property
    def items(self) -> dict[str, PlanItem]:
        return {item.path: item for item in self.plan.items}

    @property
    def item(self) -> PlanItem | None:
        return self.items.get(self.selected.path) if self.selected else None

    @property
    def stale(self) -> bool:
        """Whether main's file moved on since the selected edit was begun."""
        return self.selected is not None and self.selected.path in self.review.conflicts

    @property
    def main_text(self) -> str:
        return main_text(self.selected.path) if self.selected else ""

    @property
    def counts(self) -> list[tuple[str, int]]:
        words = {"create": "created", "update": "changed", "transfer": "moved", "delete": "deleted"}
        return [(words[operation], count) for operation, count in self.plan.counts().items() if count]

    @property
    def by_system(self) -> list[tuple[System, tuple[PlanItem, ...]]]:
        """The plan's resources by system; a system that is not declared is drawn by its name."""
        return [
            (self.head.systems.get(name) or System(name=name, type="", title=name), items)
            for name, items in self.plan.by_system().items()
        ]

    @property
    def checks(self) -> list[tuple[Violation, str, Row | None]]:
        """What stands against the request, each with what to do, and the edit it is about unless that is selected."""
        rows = {row.edit.path: row for row in self.rows if not row.selected}
        return [(each, "" if is_plain(each) else each.fix, rows.get(each.path)) for each in self.review.violations]

    @property
    def approvers(self) -> list[str]:
        """Who will be asked, in sentences, each once."""
        return list(dict.fromkeys(each.sentence for each in self.review.requirements))

    @cached_property
    def by_path(self) -> dict[str, list[Violation]]:
        found: dict[str, list[Violation]] = {}
        for violation in self.review.violations:
            found.setdefault(violation.path, []).append(violation)
        return found

    @cached_property
    def rows(self) -> list[Row]:
        return [self._row(each) for each in self.edits]

    def _row(self, edit: Edit) -> Row:
        address = address_of(edit.path)
        known = edit.path in self.main.files
        operation = Operation.DELETE if edit.deletes else Operation.UPDATE if known else Operation.CREATE
        return Row(
            edit=edit,
            address=address,
            kind=catalog().kinds.get(address.kind) if address else None,
            operation=operation,
            problems=len(self.by_path.get(edit.path, [])),
            selected=self.selected is not None and edit.pk == self.selected.pk,
        )

    @cached_property
    def address(self) -> Address | None:
        return address_of(self.selected.path) if self.selected else None

    @cached_property
    def kind(self) -> Kind | None:
        return catalog().kinds.get(self.address.kind) if self.address else None

    @cached_property
    def seen(self) -> str:
        return seen(self.selected) if self.selected else ""

    @cached_property
    def parsed(self) -> tuple[dict[str, Json] | None, tuple[Problem, ...]]:
        return (None, ()) if self.selected is None or self.selected.deletes else parse(self.selected)

    @property
    def exists(self) -> bool:
        return self.selected is not None and self.selected.path in self.main.files

    @cached_property
    def base(self) -> dict[str, Json] | None:
        """The selected document as it is on main, if it is there."""
        document = self.main.documents.get(self.selected.path) if self.selected else None
        return None if document is None else {"kind": document.address.kind, "spec": document.spec}

    @property
    def secret_prefixes(self) -> tuple[str, ...]:
        team = self.main.teams.get(self.address.team) if self.address else None
        return team.secret_prefixes if team else ()

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The form; empty where the document can only be written as YAML."""
        document = self.typed if self.typed is not None else self.parsed[0]
        if self.kind is None or self.address is None or document is None:
            return ()
        return sections(self.kind, document, self._surroundings(self.kind, self.address))

    def _surroundings(self, kind: Kind, address: Address) -> Surroundings:
        return Surroundings(
            choices=RepositoryChoices(self.head, address, frozenset(each.path for each in self.edits)),
            secret_prefixes=self.secret_prefixes,
            name=address.name,
            base=self.base,
            problems=[(each.field, each.message) for each in self.problems if not each.gap],
            lent={f"spec.{name}": address.name for name in kind.identity},
        )

    @cached_property
    def structure(self) -> str:
        return structure(self.sections)

    @cached_property
    def problems(self) -> list[Said]:
        """What is wrong with the selected document, the form's own problems first."""
        if self.selected is None or self.refused:
            return list(self.refused)
        found = [Said(message, where, None, gap=False) for where, message in self.said]
        unreadable = self.parsed[1]
        if unreadable:
            return [*found, *(Said(each.message, each.field, each.line, gap=False) for each in unreadable)]
        for violation in self.by_path.get(self.selected.path, []):
            if violation.id == "secrets.missing":
                continue  # told below, at the secret itself
            gap = violation.id.endswith("required")
            message = violation.message if is_plain(violation) else f"{violation.message} {violation.fix}".strip()
            found.append(Said(message, violation.field, violation.line, gap))
        return [*found, *self._missing_secrets()]

    def _missing_secrets(self) -> list[Said]:
        """The required secrets for which no place is given."""
        document = self.parsed[0]
        if document is None:
            return []
        written = document.get("secrets")
        given = written if isinstance(written, dict) else {}
        needed = self.kind.secrets.items() if self.kind else ()
        return [
            Said("Say where the value is kept.", f"secrets.{name}", None, gap=True)
            for name, secret in needed
            if secret.required and not secret_parts(given.get(name))[0]
        ]

    @property
    def not_saved(self) -> str:
        """Why the text in the browser was not stored; empty if it was."""
        if not self.refused:
            return ""
        first = self.refused[0]
        return f"Not saved: {first.field}. {first.message}" if first.field else f"Not saved. {first.message}"

    @property
    def gaps(self) -> list[tuple[str, str]]:
        """(field, title) of what is still to be filled in."""
        titles = {each.path: each.title for section in self.sections for part in section.fields for each in part.walk()}
        return [
            (each.field, titles.get(each.field) or each.field.rpartition(".")[2]) for each in self.problems if each.gap
        ]

    @property
    def faults(self) -> list[Said]:
        return [each for each in self.problems if not each.gap]

    @property
    def suggested_title(self) -> str:
        return suggested_title(self.plan)


def is_plain(violation: Violation) -> bool:
    """Whether a violation's message says all: what a file's schema has against a field."""
    return violation.id.startswith(("file.", "schema.", "yaml."))


VERBS = {
    Operation.CREATE: "Create",
    Operation.UPDATE: "Change",
    Operation.TRANSFER: "Move",
    Operation.DELETE: "Delete",
}


def suggested_title(plan: Plan) -> str:
    """A title that says what the plan does: Create orders on queues-prod; Change 3 resources on two systems."""
    if not plan.items:
        return ""
    operations = {item.operation for item in plan.items}
    verb = VERBS[operations.pop()] if len(operations) == 1 else "Change"
    systems = list(plan.by_system())
    where = f" on {', '.join(systems)}" if 0 < len(systems) <= 3 else f" on {len(systems)} systems" if systems else ""
    if len(plan.items) == 1:
        item = plan.items[0]
        kind = catalog().kinds.get(item.address.kind) if item.address else None
        noun = f"{lower_first(kind.title)} {item.address.name}" if kind and item.address else item.path
        return f"{verb} {noun}{where}"
    names = [item.address.name if item.address else item.path for item in plan.items]
    what = ", ".join(dict.fromkeys(names)) if len(plan.items) <= 3 else f"{len(plan.items)} resources"
    return f"{verb} {what}{where}"


def lower_first(text: str) -> str:
    """A title within a sentence; names like IPv6 keep their capitals."""
    return text if any(letter.isupper() for letter in text.split(" ")[0][1:]) else text


def main_text(path: str) -> str:
    """The file's text on main; empty when it is not there."""
    return state().text(main_snapshot().files.get(path))
