"""What a check is given and what it gives back. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from changes.documents import Document
from changes.kinds import Catalog
from changes.plan import Plan, PlanItem
from changes.schema import line_of
from changes.secret_refs import SYSTEM_SECRETS
from changes.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Violation:
    """A reason against a plan: what is wrong (`message`), where, and what to do (`fix`)."""

    id: str
    message: str
    path: str
    field: str = ""
    line: int | None = None
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """All that a check may look at."""

    plan: Plan
    base: Snapshot
    head: Snapshot
    catalog: Catalog
    requester: str
    system_secrets: tuple[str, ...] = SYSTEM_SECRETS  # prefixes under which a system's references may lie

    def documents(self) -> Iterator[tuple[PlanItem, Document]]:
        """The plan's resources that exist after the change, with their documents."""
        for item in self.plan.items:
            if item.head:
                yield item, item.head


def at(document: Document, field: str, id: str, message: str, fix: str) -> Violation:
    """A violation at a field of a document."""
    return Violation(id, message, document.address.path, field, line_of(field, document.lines), fix)
