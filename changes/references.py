"""Checks of what documents say of each other: references and depends_on lead somewhere, nowhere in a circle. Pure."""

from collections.abc import Iterator

from changes.documents import Address, Document, join
from changes.plan import PlanItem
from changes.snapshot import Snapshot
from changes.violations import Change, Violation, at


def missing_references(change: Change) -> Iterator[Violation]:
    """What a changed document names and is not in the tree."""
    for _, document in change.documents():
        for reference in change.head.references(document):
            if change.head.resolve(document, reference) is None:
                message = f"{reference.kind} {reference.value!r} is not there on {document.address.system}."
                fix = f"Add a {reference.kind} named {reference.value!r} to this request, or name one that exists."
                yield at(document, reference.field, "reference.missing", message, fix)
        for index, address in enumerate(document.depends_on):
            if address.path not in change.head.documents:
                message = f"depends_on names {address}, which does not exist."
                fix = "Add that document to this request, correct the name, or remove the line."
                yield at(document, join("depends_on", index), "reference.missing", message, fix)


def still_referenced(change: Change) -> Iterator[Violation]:
    """What the change takes away from documents that stay and still name it."""
    for item in change.plan.items:
        for path in sorted(_left_behind(item, change)):
            who = change.head.documents[path].address
            gone = Address.parse(item.old_path or item.path)
            message = f"{gone} is still needed by {who}."
            fix = f"Change or delete {who} in this request too, or keep this document."
            yield Violation("reference.in-use", message, item.path, fix=fix)


def _left_behind(item: PlanItem, change: Change) -> set[str]:
    """Documents the change does not touch that resolved in base to what the item takes away, and to nothing now."""
    if item.base is None:
        return set()
    old = item.base.address.path
    changed = {other.path for other in change.plan.items}
    users = {path for path in change.base.referrers_of(old) if path in change.head.documents} - changed
    return {path for path in users if old in change.base.needs(change.base.documents[path])} & {
        path for path in users if _lost(change.head, change.head.documents[path], item.base)
    }


def _lost(head: Snapshot, user: Document, gone: Document) -> bool:
    named = gone.address in user.depends_on and gone.address.path not in head.documents
    return named or any(head.resolve(user, reference) is None for reference in head.references(user))


def cycles(change: Change) -> Iterator[Violation]:
    """Circles of needs that a changed document is part of."""
    changed = [document.address.path for _, document in change.documents()]
    for circle in _circles(change.head, changed):
        first = min(set(circle).intersection(changed), default="")
        if first:
            names = " -> ".join(change.head.documents[path].address.short for path in (*circle, circle[0]))
            message = f"These documents need each other in a circle: {names}."
            fix = "Remove one of the references or depends_on lines of the circle."
            yield Violation("reference.cycle", message, first, fix=fix)


def _circles(head: Snapshot, starts: list[str]) -> Iterator[list[str]]:
    """The circles met on the way through all that the documents need; each document is gone through once."""
    done: set[str] = set()
    for start in starts:
        way, places, open_needs = [start], {start: 0}, [iter(head.needs(head.documents[start]))]
        while open_needs and start not in done:
            need = next(open_needs[-1], None)
            if need is None:
                open_needs.pop()
                done.add(way[-1])
                del places[way.pop()]
            elif need in places:
                yield way[places[need] :]
            elif need not in done:
                places[need] = len(way)
                way.append(need)
                open_needs.append(iter(head.needs(head.documents[need])))
