"""Owns what a work item waits for in other rollouts: the order rule of DESIGN.md, written down as needs.

An item waits for an open one that is earlier and holds a resource of its own, or one that it rests on, or that still
refers to what it takes away. What a document refers to is recorded with its item, before and after the change, so a
deletion finds its referrers although the trees no longer show them. It must not know git, documents or the queue.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db.models import Q

from changes.plan import Operation
from changes.snapshot import IdentityKey
from executors.models import ItemNeed, ItemReference, ItemResource, WorkItem
from executors.states import ITEM_OPEN, ITEM_READY

BATCH = 400


@dataclass(frozen=True, slots=True)
class Holds:
    """What an item does to which identities."""

    changes: frozenset[IdentityKey]
    deletes: frozenset[IdentityKey]
    rests_on: frozenset[IdentityKey]  # what its new documents refer to
    refers_to: frozenset[IdentityKey]  # what its documents refer to, the old ones and the new ones


def earlier(rollout_id: int, holds: Holds) -> set[int]:
    """The open items of other rollouts that a new one has to wait for."""
    others = Q(item__state__in=ITEM_OPEN) & ~Q(item__rollout=rollout_id)
    return _resources(holds.changes | holds.rests_on, others) | _references(holds.deletes, others)


def hold_back_later(item: WorkItem) -> None:
    """An item that was opened again holds back later ones that did not begin yet, as if it had never ended."""
    later = Q(item__position__gt=item.position) | Q(item__position=item.position, item__rollout_id__gt=item.rollout_id)
    others = later & Q(item__state__in=ITEM_READY)
    holds = holds_of(item)
    found = _resources(holds.changes, others)
    found |= _resources(holds.refers_to, others & Q(operation=Operation.DELETE))
    found |= _references(holds.changes, others & Q(stays=True))
    ItemNeed.objects.bulk_create(
        [ItemNeed(item_id=pk, needs=item, must_succeed=False) for pk in sorted(found)],
        ignore_conflicts=True,
        batch_size=500,
    )


def holds_of(item: WorkItem) -> Holds:
    """What a recorded item holds."""
    rows = [
        (operation, (item.system, kind, identity))
        for operation, kind, identity in item.resources.values_list("operation", "kind", "identity")
    ]
    refers = [
        (stays, (system, kind, identity))
        for stays, system, kind, identity in item.references.values_list("stays", "system", "kind", "identity")
    ]
    return Holds(
        changes=frozenset(key for _, key in rows),
        deletes=frozenset(key for operation, key in rows if operation == Operation.DELETE),
        rests_on=frozenset(key for stays, key in refers if stays),
        refers_to=frozenset(key for _, key in refers),
    )


def _resources(keys: frozenset[IdentityKey], others: Q) -> set[int]:
    """Items that hold one of these."""
    return {
        pk
        for batch in batches(keys)
        for pk, *key in ItemResource.objects.filter(others, identity__in=batch).values_list(
            "item_id", "item__system", "kind", "identity"
        )
        if tuple(key) in keys
    }


def _references(keys: frozenset[IdentityKey], others: Q) -> set[int]:
    """Items that refer to one of these."""
    return {
        pk
        for batch in batches(keys)
        for pk, *key in ItemReference.objects.filter(others, identity__in=batch).values_list(
            "item_id", "system", "kind", "identity"
        )
        if tuple(key) in keys
    }


def batches(keys: Iterable[IdentityKey]) -> Iterator[list[str]]:
    """Their identities, as many as a query may name; rows of other systems and kinds may have the same ones."""
    identities = sorted({identity for _, _, identity in keys})
    return (identities[start : start + BATCH] for start in range(0, len(identities), BATCH))
